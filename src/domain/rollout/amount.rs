//! `3` or `20%` of some nodes.

use crate::base::error::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    Nodes(usize),
    Percent(usize),
}

impl Amount {
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::usage(format!("\"{text}\" is no number of nodes"))
                .hint("Give a whole number, such as 2, or a share, such as 20%.")
        };
        match text.strip_suffix('%') {
            Some(share) => share.parse().ok().filter(|share| *share <= 100).map(Self::Percent).ok_or_else(bad),
            None => text.parse().map(Self::Nodes).map_err(|_| bad()),
        }
    }

    /// Returns how many of `all` it is; of a share, the whole nodes in it.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Nodes(n) => n,
            Self::Percent(share) => all * share / 100,
        }
    }
}
