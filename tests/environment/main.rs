//! Environments of an application, through the real binary.

#[path = "../common/lab.rs"]
mod lab;
mod notify;
