//! Plain data that knows nothing of the rest: errors, cancellation, events, units, config text.

pub mod asking;
pub mod cancel;
pub mod capture;
pub mod checksum;
pub mod command;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod host;
pub mod money;
pub mod network;
pub mod project;
pub mod secret;
pub mod shell;
pub mod stage;
pub mod suggest;
pub mod units;
