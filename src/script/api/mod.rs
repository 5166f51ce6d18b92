//! What scripts can call: one file per noun, all registered here, in one list.
//!
//! A file is an `#[export_module]` whose functions carry their manual as `///` (see `control.rs` for the pattern):
//! - they take `NativeCallContext` first when they need the host (`Host::of(&context)`),
//! - an option map is a second function of the same name (`#[rhai_fn(name = "…")]`), read with `Options`,
//! - they return `ScriptResult<T>` and use `?` on our `Result`s,
//! - methods that do not change their object are `pure`, or calls on `const` values fail,
//! - functions that a script hands over go through `parallel::map` (many calls at once) or `Callback` (kept for later).
//!
//! The first line of the manual is one sentence; then details; then `# Example` with a fenced `rhai` block, which a test runs.

pub mod accounts;
pub mod addresses;
pub mod amounts;
pub mod baking;
pub mod commands;
pub mod control;
pub mod data;
pub mod deployment;
pub mod each;
pub mod editing;
pub mod environment;
pub mod fetching;
pub mod files;
pub mod forward;
pub mod hosts;
pub mod http;
pub mod image;
pub mod jobs;
pub mod library;
pub mod local;
pub mod machines;
pub mod nodes;
pub mod notify;
pub mod objects;
pub mod outcome;
pub mod output;
pub mod packages;
pub mod program;
pub mod remote;
pub mod removal;
pub mod resources;
pub mod roles;
pub mod secrets;
pub mod services;
pub mod stack;
pub mod stats;
pub mod system;
pub mod text;
pub mod transfer;
pub mod units;
pub mod waiting;

use crate::domain::node::NodeSet;
use rhai::{Engine, exported_module};

/// The types of ours that scripts know by name; `fn Name.method()` of any other name declares a class.
pub const TYPES: &[&str] = &[
    "Deployment",
    "Environment",
    "Forward",
    "Jobs",
    "Nodes",
    "Object",
    "Outcome",
    "Secret",
    "Stack",
    "StackPlan",
    "StackRemoval",
    "Task",
];

/// Registers everything scripts can call without an import.
pub fn register(engine: &mut Engine) {
    engine
        .register_global_module(exported_module!(accounts::module).into())
        .register_global_module(exported_module!(addresses::module).into())
        .register_global_module(exported_module!(amounts::module).into())
        .register_global_module(exported_module!(baking::module).into())
        .register_global_module(exported_module!(commands::module).into())
        .register_global_module(exported_module!(control::module).into())
        .register_global_module(exported_module!(data::module).into())
        .register_global_module(exported_module!(deployment::module).into())
        .register_global_module(exported_module!(each::module).into())
        .register_global_module(exported_module!(editing::module).into())
        .register_global_module(exported_module!(environment::module).into())
        .register_global_module(exported_module!(fetching::module).into())
        .register_global_module(exported_module!(forward::module).into())
        .register_global_module(exported_module!(hosts::module).into())
        .register_global_module(exported_module!(http::downloads).into())
        .register_global_module(exported_module!(image::module).into())
        .register_global_module(exported_module!(jobs::module).into())
        .register_global_module(exported_module!(library::module).into())
        .register_global_module(exported_module!(local::module).into())
        .register_global_module(exported_module!(machines::module).into())
        .register_global_module(exported_module!(nodes::module).into())
        .register_global_module(exported_module!(notify::module).into())
        .register_global_module(exported_module!(objects::module).into())
        .register_global_module(exported_module!(outcome::module).into())
        .register_global_module(exported_module!(output::module).into())
        .register_global_module(exported_module!(packages::module).into())
        .register_global_module(exported_module!(program::module).into())
        .register_global_module(exported_module!(remote::module).into())
        .register_global_module(exported_module!(removal::module).into())
        .register_global_module(exported_module!(resources::module).into())
        .register_global_module(exported_module!(roles::module).into())
        .register_global_module(exported_module!(secrets::module).into())
        .register_global_module(exported_module!(services::module).into())
        .register_global_module(exported_module!(stack::module).into())
        .register_global_module(exported_module!(stats::comparison).into())
        .register_global_module(exported_module!(system::module).into())
        .register_global_module(exported_module!(text::module).into())
        .register_global_module(exported_module!(transfer::module).into())
        .register_global_module(exported_module!(units::module).into())
        .register_global_module(exported_module!(waiting::module).into());
    engine
        .register_static_module("file", exported_module!(files::module).into())
        .register_static_module("hdr", exported_module!(stats::module).into())
        .register_static_module("http", exported_module!(http::module).into());
    engine.register_iterator::<NodeSet>();
}
