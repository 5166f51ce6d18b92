//! Ways to reach machines and to keep what we know of them. Siblings here do not import each other.

pub mod process;
pub mod provider;
pub mod ssh;
pub mod state;
