//! The Rhai host: how scripts are compiled, run, given functions, and told what went wrong.

pub mod api;
pub mod callback;
pub mod check;
pub mod convert;
pub mod diagnostics;
mod elsewhere;
pub mod engine;
pub mod host;
mod lines;
pub mod object;
pub mod options;
pub mod parallel;
pub mod params;
pub mod reference;
pub mod resolver;
pub mod roles;
pub mod run;
mod secrets;
pub mod signatures;
pub mod sources;
pub mod stdlib;
pub mod syntax;
pub mod verbs;
pub mod wanting;
mod wording;

pub use convert::{Placed, ScriptResult};
pub use host::{Host, HostSettings};
pub use options::Options;

#[cfg(test)]
mod tests;
