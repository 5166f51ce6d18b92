//! What a file is to hold, with its checksum: computed once, however many nodes it is compared with.

use crate::base::checksum::sha256;
use std::fmt;
use std::sync::Arc;

#[derive(Clone)]
pub struct Content {
    pub bytes: Arc<[u8]>,
    /// In lower-case hexadecimal digits.
    pub sha256: Arc<str>,
}

impl<B: Into<Arc<[u8]>>> From<B> for Content {
    fn from(bytes: B) -> Self {
        let bytes = bytes.into();
        Self { sha256: sha256(&bytes).into(), bytes }
    }
}

impl fmt::Debug for Content {
    /// It may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}
