//! The script host: Rhai and all that scripts can call.

pub mod api;
