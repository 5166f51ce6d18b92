//! The engine every script runs in, with its limits and its house rules.

use super::host::{self, Host};
use super::resolver::Resolver;
use super::{api, object, syntax};
use crate::base::event::Event;
use rhai::{Dynamic, Engine, OptimizationLevel};
use std::sync::Arc;

/// The stack of a thread that runs scripts: enough for `CALL_LEVELS` in a debug build.
pub const STACK_SIZE: usize = 256 << 20;

/// The stack of each thread of `parallel` and `task`.
pub const WORKER_STACK_SIZE: usize = 64 << 20;

/// Rhai's own defaults differ between debug and release builds, so that a script could work in one only.
const CALL_LEVELS: usize = 100;
const EXPRESSION_DEPTH: usize = 128;

/// Makes the engine for one script run.
pub fn new(host: &Arc<Host>) -> Engine {
    let mut engine = Engine::new();
    engine
        .set_strict_variables(true)
        // Not `on_map_missing_property`, which could name the nearest key: Rhai asks it for `map.new_key = value` too.
        .set_fail_on_invalid_map_property(true)
        // `Full` would run native functions with constant arguments while compiling.
        .set_optimization_level(OptimizationLevel::Simple)
        // The interner is one lock for all threads.
        .set_max_strings_interned(0)
        .set_max_call_levels(CALL_LEVELS)
        .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
        .set_default_tag(Dynamic::from(host.clone()));
    let events = host.cx.events.clone();
    engine.on_print(move |text| events.send(Event::Print { text: text.to_owned() }));
    let events = host.cx.events.clone();
    engine.on_debug(move |text, source, position| {
        let place = source.map(|s| format!("{s}:{position:?}: ")).unwrap_or_default();
        events.debug(format!("{place}{text}"));
    });
    // Looking at the signal costs more than most operations.
    engine.on_progress(|operations| (operations % 64 == 0 && host::is_cancelled()).then_some(Dynamic::UNIT));
    engine.set_module_resolver(Resolver::default());
    syntax::register(&mut engine);
    object::register(&mut engine);
    api::register(&mut engine);
    engine
}
