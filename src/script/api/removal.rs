//! The end of stacks: what a deletion would do, the deletion, and the proof that nothing is left.

use super::stack::Handle as Stack;
use crate::base::error::Result;
use crate::domain::stack::Removal;
use crate::script::convert::from_json;
use crate::script::roles::Call;
use crate::script::{Host, Options, Placed, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};
use serde_json::json;
use std::sync::Arc;

/// What a deletion of a stack would do, as scripts hold it.
#[derive(Clone)]
pub struct Removing {
    of: Stack,
    removal: Arc<Removal>,
}

fn delete(context: &NativeCallContext, removal: &Removing, options: Map) -> Result<()> {
    let host = Host::of(context);
    let mut options = Options::new("delete", options);
    let retain = options.strings("retain")?.unwrap_or_default();
    let typed = options.string("typed")?.unwrap_or_default();
    options.finish()?;
    let agreed = removal.removal.confirm(&typed)?;
    host.must_act(context, &Call::changes("delete", &removal.removal.stack))?;
    host.block_on_to_the_end(removal.of.stack.delete(&removal.removal, &retain, agreed, &host.cx)).map(|_| ())
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// What a deletion of a stack would do; `delete` has it done.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().removal().text);
    /// ```
    pub type StackRemoval = Removing;

    /// Finds out what a deletion of the stack would do: what goes, what its policies keep, what leaves a snapshot.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let removal = environment("staging").stack().removal();
    /// print(removal.text);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn removal(context: NativeCallContext, s: &mut Stack) -> ScriptResult<StackRemoval> {
        let host = Host::of(&context);
        let removal = host.block_on(s.stack.removal(&host.cx)).here(&context)?;
        Ok(Removing { of: s.clone(), removal: Arc::new(removal) })
    }

    /// All of it for people.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().removal().text);
    /// ```
    #[rhai_fn(get = "text", pure)]
    pub fn removal_text(r: &mut StackRemoval) -> String {
        r.removal.text()
    }

    /// All of it as data.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().removal().data.snapshots);
    /// ```
    #[rhai_fn(get = "data", pure)]
    pub fn removal_data(r: &mut StackRemoval) -> Dynamic {
        from_json(&json!(*r.removal))
    }

    /// Whether there is no stack to delete.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().removal().is_empty);
    /// ```
    #[rhai_fn(get = "is_empty", pure)]
    pub fn removal_is_empty(r: &mut StackRemoval) -> bool {
        r.removal.is_empty()
    }

    /// What must be typed to have it deleted, for a stack that is protected; `()` where a yes is enough.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("production").stack().removal().typed);
    /// ```
    #[rhai_fn(get = "typed", pure)]
    pub fn removal_typed(r: &mut StackRemoval) -> Dynamic {
        r.removal.typed.clone().map_or(Dynamic::UNIT, Into::into)
    }

    /// Deletes the stack, and follows that to its end. Throws with the causes when something could not be deleted.
    ///
    /// Options: `retain` (resources that an earlier deletion could not delete and that stay where they are, by logical ID),
    /// `typed` (what was typed, for a stack that is protected).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let removal = environment("staging").stack().removal();
    /// confirm("Delete it?");
    /// removal.delete(#{});
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn removal_delete(context: NativeCallContext, r: &mut StackRemoval, options: Map) -> ScriptResult<()> {
        delete(&context, r, options).here(&context)
    }

    /// All that still carries the environment's tags, wherever in AWS: maps with `what, arn, why, command`. The proof that
    /// nothing is left is an empty array.
    ///
    /// # Example
    /// ```rhai,no_run
    /// for left in environment("staging").stack().left_over() { log(`${left.what}: ${left.why}`); }
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn left_over(context: NativeCallContext, s: &mut Stack) -> ScriptResult<Array> {
        let host = Host::of(&context);
        let left = host.block_on(s.stack.left_over(&host.cx)).here(&context)?;
        Ok(left.iter().map(|l| from_json(&json!(l))).collect())
    }

    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show_removal(r: &mut StackRemoval) -> String {
        r.removal.text()
    }
}
