//! What opsrun does, without scripts and without a terminal.

pub mod compare;
pub mod config;
pub mod deployment;
pub mod fleet;
pub mod hdr;
pub mod job;
pub mod node;
pub mod runs;
pub mod template;
pub mod yaml_edit;
