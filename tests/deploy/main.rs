//! `opsrun deploy` and roles, through the real binary on real nodes: directories of this machine where a file is enough,
//! Debian machines where a service is needed (`machines`).

#[path = "../common/lab.rs"]
mod lab;

mod exchange;
mod failures;
mod handlers;
mod machines;
mod mistakes;
mod roles;
mod rollout;
mod secrets;
