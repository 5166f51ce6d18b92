//! What opsrun does, without scripts and without a terminal.

pub mod compare;
pub mod config;
pub mod deployment;
pub mod download;
pub mod environment;
pub mod files;
pub mod fleet;
pub mod formation;
pub mod hdr;
pub mod http;
pub mod image;
pub mod job;
pub mod node;
pub mod notify;
pub mod pattern;
pub mod resource;
pub mod role;
pub mod rollout;
pub mod runs;
pub mod stack;
pub mod template;
pub mod yaml_edit;
