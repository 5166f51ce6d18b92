//! Stacks of environments: CloudFormation, through change sets.

use super::environment::Handle as Environment;
use crate::base::error::{Error, Result};
use crate::domain::formation::Template;
use crate::domain::stack::status::{self, Step, Verb};
use crate::domain::stack::{self, Applied, Status, Wanted, explain, show};
use crate::script::convert::from_json;
use crate::script::roles::Call;
use crate::script::{Host, Options, Placed, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, ImmutableString, Map};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A stack as scripts hold it: cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub stack: Arc<stack::Stack>,
    pub environment: Environment,
}

/// A plan as scripts hold it, with the stack it is for.
#[derive(Clone)]
pub struct Planned {
    of: Handle,
    plan: Arc<stack::Plan>,
    template: Arc<Template>,
}

pub(super) fn open(host: &Host, environment: &Environment) -> Result<Handle> {
    let stack = host.block_on(stack::Stack::open(environment))?;
    Ok(Handle { stack: Arc::new(stack), environment: environment.clone() })
}

fn check(host: &Host, environment: &Environment) -> Result<()> {
    let template = environment.template()?;
    environment.values(&template, &environment.baked())?;
    open(host, environment)?.stack.check_size(&template.to_yaml()?)
}

/// What a change set is made of.
pub(super) struct Wish {
    /// The ID of the image of each group that is baked.
    pub images: BTreeMap<String, String>,
    pub replace: Vec<String>,
}

impl Wish {
    fn read(options: Map) -> Result<Self> {
        let mut options = Options::new("change_set", options);
        let images = options.map("images")?.unwrap_or_default();
        let replace = options.strings("replace")?.unwrap_or_default();
        options.finish()?;
        Ok(Self { images: images.into_iter().map(|(group, id)| (group.to_string(), id.to_string())).collect(), replace })
    }
}

pub(super) fn plan(host: &Host, of: &Handle, wish: Wish) -> Result<Planned> {
    let template = of.environment.template()?;
    let values = of.environment.values_with(&template, &wish.images)?;
    let wanted = Wanted { template: template.clone(), values, replace: wish.replace };
    let plan = host.block_on_to_the_end(of.stack.plan(&wanted, &host.cx))?;
    Ok(Planned { of: of.clone(), plan: Arc::new(plan), template: Arc::new(template) })
}

/// Whatever was done must have ended well.
fn ended(applied: Applied, goal: Option<Status>, template: Option<&Template>) -> Result<Dynamic> {
    let well = goal.map_or_else(|| applied.succeeded(), |goal| applied.status == goal);
    if !well {
        return Err(explain::failure(&applied.events, template));
    }
    let outputs = applied.outputs.into_iter().map(|o| (o.name.into(), o.value.into())).collect::<Map>();
    Ok(outputs.into())
}

fn verb_of(name: &str) -> Result<Verb> {
    let known = Verb::ALL.into_iter().find(|v| v.name() == name);
    let names = Verb::ALL.map(Verb::name).join(", ");
    known.ok_or_else(|| Error::usage(format!("\"{name}\" is no verb that works on stacks")).hint(format!("They are {names}.")))
}

fn step(host: &Host, of: &Handle, verb: &str) -> Result<ImmutableString> {
    let verb = verb_of(verb)?;
    let look = host.block_on(of.stack.look(&host.cx))?;
    // A stack that is not there is one that is gone.
    let status = look.map_or(Status::DeleteComplete, |l| l.status);
    match status::step(verb, status) {
        Step::Refuse(refusal) => Err(refusal.error(verb, &of.stack.name, status, &of.environment.name)),
        step => Ok(step.name().into()),
    }
}

fn join(host: &Host, of: &Handle) -> Result<()> {
    let Some(look) = host.block_on(of.stack.look(&host.cx))? else { return Ok(()) };
    let Some(goal) = status::goal(look.status) else { return Ok(()) };
    let Some(applied) = host.block_on_to_the_end(of.stack.follow(&host.cx))? else { return Ok(()) };
    ended(applied, Some(goal), of.environment.template().ok().as_ref()).map(|_| ())
}

/// How long a drift detection may take.
const DRIFT: Duration = Duration::from_secs(15 * 60);

fn drift(host: &Host, of: &Handle, options: Map) -> Result<Dynamic> {
    let mut options = Options::new("drift", options);
    let deadline = options.duration("timeout")?.unwrap_or(DRIFT);
    options.finish()?;
    let template = of.environment.template().ok();
    let report = host.block_on(of.stack.drift(template.as_ref(), deadline, &host.cx))?;
    let mut told = json!(report);
    told["text"] = report.text().into();
    told["is_empty"] = report.is_empty().into();
    Ok(from_json(&told))
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// The CloudFormation stack of an environment. What is known of it is what AWS says: nothing is kept here.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let stack = environment("staging").stack();
    /// let now = stack.look();
    /// print(if now == () { "there is none" } else { now.status });
    /// ```
    pub type Stack = Handle;

    /// What would become of a stack, as AWS sees it. It waits in AWS, as a change set, to be applied or discarded.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let plan = environment("staging").stack().change_set(#{ images: #{ web: "ami-0123456789abcdef0" } });
    /// print(plan.text);
    /// plan.discard();
    /// ```
    pub type StackPlan = Planned;

    /// Its stack, which may not be there yet. Nothing is asked of AWS by this.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().name);
    /// ```
    #[rhai_fn(name = "stack", pure, return_raw)]
    pub fn of_environment(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Stack> {
        open(&Host::of(&context), e).here(&context)
    }

    /// Reads its formations and the values of their parameters, and throws when AWS would not take them; asks nobody.
    ///
    /// A verb begins with it: bad input then ends the program with 2, and nothing was touched.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/right.yml", "app: shop\nregion: eu-central-1\nformations: [network]\n");
    /// environment("right").check();
    /// ```
    #[rhai_fn(name = "check", pure, return_raw)]
    pub fn check_environment(context: NativeCallContext, e: &mut Environment) -> ScriptResult<()> {
        check(&Host::of(&context), e).map_err(|e| e.exit_with(2)).here(&context)
    }

    /// What would become of its stack with the files as they are; nothing is left waiting in AWS.
    ///
    /// For an image that is still to be baked stands its base.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").plan()
    /// ```
    #[rhai_fn(name = "plan", pure, return_raw)]
    pub fn plan_of_environment(context: NativeCallContext, e: &mut Environment) -> ScriptResult<StackPlan> {
        let host = Host::of(&context);
        let of = open(&host, e)?;
        let images = super::super::baking::ids(&host, e).here(&context)?;
        let planned = plan(&host, &of, Wish { images, replace: Vec::new() }).here(&context)?;
        host.block_on_to_the_end(of.stack.discard(&planned.plan, &host.cx)).here(&context)?;
        Ok(planned)
    }

    /// Its name.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().name);
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn stack_name(s: &mut Stack) -> String {
        s.stack.name.clone()
    }

    /// It as it is now, a map with `id, status, reason, outputs, parameters, tags, protected, created, updated`; `()` when
    /// there is none.
    ///
    /// Throws when there is one of this name that belongs to somebody else.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let now = environment("staging").stack().look();
    /// if now != () { print(now.status); }
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn look(context: NativeCallContext, s: &mut Stack) -> ScriptResult<Dynamic> {
        let host = Host::of(&context);
        let look = host.block_on(s.stack.look(&host.cx)).here(&context)?;
        Ok(look.map_or(Dynamic::UNIT, |look| from_json(&json!(look))))
    }

    /// What a verb (`commission`, `update`, `plan`, `deploy`, `status`, `decommission`) does with the stack in its present
    /// status, in a word; throws where it does nothing, and says which verb would.
    ///
    /// The words are `make`, `review`, `change`, `join` (wait for the end of what is under way, then ask again), `make_anew`,
    /// `ask_make_anew`, `from_template`, `update_or_roll_back`, `continue_rollback`, `deploy`, `show`, `delete`,
    /// `delete_retaining` and `gone`. docs/stack-statuses.md has the table.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let stack = environment("staging").stack();
    /// while stack.step("update") == "join" { stack.join(); }
    /// ```
    #[rhai_fn(name = "step", pure, return_raw)]
    pub fn step_of(context: NativeCallContext, s: &mut Stack, verb: &str) -> ScriptResult<ImmutableString> {
        step(&Host::of(&context), s, verb).here(&context)
    }

    /// Follows what is under way in the stack to its end. Throws, with the causes, when it ends badly.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").stack().join();
    /// ```
    #[rhai_fn(name = "join", pure, return_raw)]
    pub fn join_stack(context: NativeCallContext, s: &mut Stack) -> ScriptResult<()> {
        join(&Host::of(&context), s).here(&context)
    }

    /// Finds out by a change set what would become of the stack; `apply` it or `discard` it.
    ///
    /// Options: `images` (a map of groups to the ID of their image, for groups that are baked), `replace` (logical IDs of
    /// resources with data that may be replaced or deleted). What must be named and is not fails at `check` and `apply`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let plan = environment("staging").stack().change_set(#{ replace: ["Database"] });
    /// defer(|| plan.discard());
    /// print(plan.text);
    /// ```
    // Not `plan`, though it is one: within a file that has a verb `plan(env)`, that would be called.
    #[rhai_fn(name = "change_set", pure, return_raw)]
    pub fn change_set(context: NativeCallContext, s: &mut Stack, options: Map) -> ScriptResult<StackPlan> {
        plan(&Host::of(&context), s, Wish::read(options)?).here(&context)
    }

    /// Whether all is as it should be.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").plan().is_empty);
    /// ```
    #[rhai_fn(get = "is_empty", pure)]
    pub fn plan_is_empty(p: &mut StackPlan) -> bool {
        p.plan.is_empty()
    }

    /// `create`, `update` or `none`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").plan().kind);
    /// ```
    #[rhai_fn(get = "kind", pure)]
    pub fn plan_kind(p: &mut StackPlan) -> Dynamic {
        from_json(&json!(p.plan.kind))
    }

    /// All of it for people: what is lost first, then what changes, parameters, the template's diff.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").plan().text);
    /// ```
    #[rhai_fn(get = "text", pure)]
    pub fn plan_text(p: &mut StackPlan) -> String {
        show::text(&p.plan)
    }

    /// Shows it to the person at the keyboard, on stderr, in colours.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").plan().show();
    /// ```
    #[rhai_fn(name = "show", pure)]
    pub fn plan_show(context: NativeCallContext, p: &mut StackPlan) {
        let host = Host::of(&context);
        host.cx.events.info(host.painted(&p.plan).trim_end());
    }

    /// What becomes of each resource, the worst first: maps with `name, kind, physical_id, effect, policy, causes, loses_data, refused`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let lost = environment("staging").plan().changes.filter(|c| c.loses_data);
    /// print(lost.map(|c| c.name));
    /// ```
    #[rhai_fn(get = "changes", pure)]
    pub fn plan_changes(p: &mut StackPlan) -> Array {
        p.plan.changes.iter().map(|c| from_json(&json!(c))).collect()
    }

    /// The whole plan as data.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").plan().data.parameters);
    /// ```
    #[rhai_fn(get = "data", pure)]
    pub fn plan_data(p: &mut StackPlan) -> Dynamic {
        from_json(&json!(*p.plan))
    }

    /// Throws when a resource with data would be lost that `replace` does not name.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").plan().check();
    /// ```
    #[rhai_fn(name = "check", pure, return_raw)]
    pub fn plan_check(context: NativeCallContext, p: &mut StackPlan) -> ScriptResult<()> {
        p.plan.check().here(&context)
    }

    /// Has it done, and follows the stack until it rests; returns the outputs, a map.
    ///
    /// Throws when it fails: the first cause first, with its place in the formations. Nothing is done when the stack changed
    /// since the plan was made.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let plan = environment("staging").stack().change_set(#{});
    /// print(plan.apply().Address);
    /// ```
    #[rhai_fn(name = "apply", pure, return_raw)]
    pub fn plan_apply(context: NativeCallContext, p: &mut StackPlan) -> ScriptResult<Dynamic> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("apply", &p.plan.stack)).here(&context)?;
        let applied = host.block_on_to_the_end(p.of.stack.apply(&p.plan, &host.cx)).here(&context)?;
        ended(applied, None, Some(&p.template)).here(&context)
    }

    /// Takes the change set back, and with it a stack that was only there to carry it. After `apply` it does nothing.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let plan = environment("staging").stack().change_set(#{});
    /// defer(|| plan.discard());
    /// ```
    #[rhai_fn(name = "discard", pure, return_raw)]
    pub fn plan_discard(context: NativeCallContext, p: &mut StackPlan) -> ScriptResult<()> {
        let host = Host::of(&context);
        host.block_on_to_the_end(p.of.stack.discard(&p.plan, &host.cx)).here(&context)
    }

    /// What was changed by hand: a map with `drifted, in_sync, unchecked, text, is_empty`. It takes AWS minutes.
    ///
    /// What AWS cannot check, nested stacks among it, is named under `unchecked`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().drift().text);
    /// ```
    #[rhai_fn(name = "drift", pure, return_raw)]
    pub fn drift_of(context: NativeCallContext, s: &mut Stack) -> ScriptResult<Dynamic> {
        drift(&Host::of(&context), s, Map::new()).here(&context)
    }

    /// Options: `timeout` ("15m").
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").stack().drift(#{ timeout: "5m" }).drifted);
    /// ```
    #[rhai_fn(name = "drift", pure, return_raw)]
    pub fn drift_with(context: NativeCallContext, s: &mut Stack, options: Map) -> ScriptResult<Dynamic> {
        drift(&Host::of(&context), s, options).here(&context)
    }

    /// Takes back a creation or an update that stopped half way, and follows that to its end.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").stack().roll_back();
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn roll_back(context: NativeCallContext, s: &mut Stack) -> ScriptResult<()> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("roll_back", &s.stack.name)).here(&context)?;
        host.block_on_to_the_end(s.stack.roll_back(&host.cx)).here(&context).map(|_| ())
    }

    /// Goes on with a rollback that got stuck; the resources of the array stay as they are, by logical ID. Nothing is deleted.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").stack().continue_rollback(["Cache"]);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn continue_rollback(context: NativeCallContext, s: &mut Stack, skip: Array) -> ScriptResult<()> {
        let host = Host::of(&context);
        let skip: Vec<String> = skip.iter().map(ToString::to_string).collect();
        host.must_act(&context, &Call::changes("continue_rollback", &s.stack.name)).here(&context)?;
        host.block_on_to_the_end(s.stack.continue_rollback(&skip, &host.cx)).here(&context).map(|_| ())
    }

    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show_plan(p: &mut StackPlan) -> String {
        show::text(&p.plan)
    }

    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show_stack(s: &mut Stack) -> String {
        s.stack.name.clone()
    }
}
