//! The Rhai host: how scripts are compiled, run, given functions, and told what went wrong.

pub mod api;
pub mod convert;
pub mod engine;
pub mod host;
pub mod options;

pub use convert::ScriptResult;
pub use host::{Host, HostSettings};
pub use options::Options;
