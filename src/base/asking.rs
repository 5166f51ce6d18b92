//! Questions to the person at the keyboard: what an answer means, and what it means that nobody is there.

use super::error::{Error, Kind};

/// Whether an answer agrees. Whatever is not clearly a yes is a no.
pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// There is no terminal to ask on; `hint` says how to answer beforehand.
pub fn nobody(question: &str, hint: &str) -> Error {
    Error::new(Kind::Usage, format!("there is no terminal to ask on: {question}")).hint(hint)
}
