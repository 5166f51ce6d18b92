//! opsrun: lab procedures as short scripts. See `CONTRIBUTING.md` for the storeys of the house.

pub mod base;
pub mod cli;
pub mod domain;
pub mod repl;
pub mod script;
pub mod transport;
pub mod ui;
