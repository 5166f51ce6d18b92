//! What scripts can call: one file per noun, all registered here, in one list.
//!
//! A file is an `#[export_module]` whose functions carry their manual as `///` (see `control.rs` for the pattern):
//! - they take `NativeCallContext` first when they need the host (`Host::of(&context)`),
//! - an option map is a second function of the same name (`#[rhai_fn(name = "…")]`), read with `Options`,
//! - they return `ScriptResult<T>` and use `?` on our `Result`s,
//! - methods that do not change their object are `pure`, or calls on `const` values fail.
//!
//! The first line of the manual is one sentence; then details; then `# Example` with a fenced `rhai` block, which a test runs.

pub mod control;
pub mod deployment;
pub mod jobs;
pub mod nodes;
pub mod remote;
pub mod transfer;
pub mod waiting;

use crate::domain::node::NodeSet;
use rhai::{Engine, exported_module};

/// Registers everything scripts can call without an import.
pub fn register(engine: &mut Engine) {
    engine.register_global_module(exported_module!(control::module).into());
    engine.register_global_module(exported_module!(deployment::module).into());
    engine.register_global_module(exported_module!(nodes::module).into());
    engine.register_global_module(exported_module!(remote::module).into());
    engine.register_global_module(exported_module!(transfer::module).into());
    engine.register_global_module(exported_module!(waiting::module).into());
    engine.register_global_module(exported_module!(jobs::module).into());
    engine.register_iterator::<NodeSet>();
}
