//! Calls that change something in a cloud are written down before they are made, so that a later command finds what one that
//! was killed had begun. Who keeps them is the domain's business: providers only see this.

use crate::base::error::Result;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// One call, and what is known of its end.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: Uuid,
    pub at: Timestamp,
    /// `RunInstances`, …
    pub name: String,
    /// All that it takes to make it again.
    pub request: Value,
    /// None: it may have been made or not.
    pub reply: Option<Reply>,
    /// When the reply was written down.
    pub replied: Option<Timestamp>,
}

/// What came of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The IDs of what it made.
    Made(Vec<String>),
    Refused(String),
}

/// Calls of a work that anyone can do again from what there is: nothing is kept of them beyond it.
#[derive(Debug, Default)]
pub struct Unwritten(Mutex<Vec<Call>>);

impl Calls for Unwritten {
    fn begin(&self, name: &str, request: Value) -> Result<Uuid> {
        let id = Uuid::new_v4();
        let call = Call { id, at: Timestamp::now(), name: name.to_owned(), request, reply: None, replied: None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        Ok(id)
    }

    fn end(&self, id: Uuid, reply: Reply) -> Result<()> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.iter_mut().find(|c| c.id == id) {
            call.reply = Some(reply);
            call.replied = Some(Timestamp::now());
        }
        Ok(())
    }

    fn all(&self) -> Result<Vec<Call>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Where calls are written down.
pub trait Calls: Send + Sync {
    /// Durable when this returns.
    fn begin(&self, name: &str, request: Value) -> Result<Uuid>;
    fn end(&self, id: Uuid, reply: Reply) -> Result<()>;
    /// Every call so far, oldest first.
    fn all(&self) -> Result<Vec<Call>>;
}
