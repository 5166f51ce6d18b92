//! Handlers: what is done once, at the end of a role, on the nodes where something changed.

use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::nearest;
use crate::domain::resource::kinds::{Run, Service, unit_name};
use crate::domain::resource::{Fact, Known, NodeReport, Outcome, Resource, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// What a handler does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Handler {
    Restart(String),
    Reload(String),
    /// A function of the role's main.rhai.
    Function(String),
}

impl Handler {
    /// Reads `restart nginx`, `reload nginx` or the name of a function.
    pub fn parse(text: &str) -> Self {
        match text.split_once(' ').map(|(verb, unit)| (verb, unit.trim())) {
            Some(("restart", unit)) if is_unit(unit) => Self::Restart(unit.to_owned()),
            Some(("reload", unit)) if is_unit(unit) => Self::Reload(unit.to_owned()),
            _ => Self::Function(text.to_owned()),
        }
    }

    /// The handler that does all that this one would: a unit that is restarted need not be reloaded.
    pub fn superseded_by(&self) -> Option<String> {
        if let Self::Reload(unit) = self { Some(format!("restart {unit}")) } else { None }
    }
}

fn is_unit(unit: &str) -> bool {
    !unit.is_empty() && !unit.starts_with('-') && !unit.contains(char::is_whitespace)
}

/// Refuses a handler that does not exist, when it is notified and not first when it is to be run. `functions` are those of
/// the role that take nodes and variables.
pub fn check(role: &str, functions: &BTreeSet<String>, handler: &str) -> Result<()> {
    let name = match Handler::parse(handler) {
        Handler::Function(name) => name,
        Handler::Restart(unit) | Handler::Reload(unit) => return unit_name(&unit).map(|_| ()),
    };
    if functions.contains(&name) {
        return Ok(());
    }
    let error = Error::new(Kind::Script, format!("role {role} has no handler \"{handler}\""));
    let verb = handler.split_whitespace().next().unwrap_or_default();
    let near = match (nearest(verb, ["restart", "reload"]), handler.contains(' ')) {
        (Some(near), true) => Some(handler.replacen(verb, near, 1)),
        _ => nearest(handler, functions.iter().map(String::as_str)).map(str::to_owned),
    };
    Err(match near {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!(
            "Handlers are \"restart UNIT\", \"reload UNIT\", and functions of its main.rhai: fn {}(nodes, vars) {{ … }}.",
            if handler.contains(' ') || handler.is_empty() { "name" } else { handler }
        )),
    })
}

/// Sorts handlers by where in the role they were first notified; those of an earlier run that nothing speaks of come last.
pub fn in_order(handlers: Vec<String>, reports: &[NodeReport]) -> Vec<String> {
    let mut first: BTreeMap<&str, (bool, usize, usize)> = BTreeMap::new();
    for report in reports {
        for (at, item) in report.items.iter().enumerate() {
            for (nth, handler) in item.notify.iter().enumerate() {
                let rank = (!matches!(item.outcome, Outcome::Changed), at, nth);
                let known = first.entry(handler).or_insert(rank);
                *known = rank.min(*known);
            }
        }
    }
    let rank = |handler: &str| first.get(handler).copied().unwrap_or((true, usize::MAX, 0));
    let mut sorted = handlers;
    sorted.sort_by_key(|h| rank(h));
    sorted
}

/// `restart UNIT` and `reload UNIT`, as something to bring about: it has to be done each time.
#[derive(Debug)]
pub struct UnitAction {
    name: String,
    service: Service,
}

impl UnitAction {
    pub fn new(unit: &str, restart: bool) -> Result<Self> {
        let verb = if restart { "restart" } else { "reload" };
        let run = Some(if restart { Run::Restarted } else { Run::Reloaded });
        Ok(Self { name: format!("{verb} {unit}"), service: Service { unit: unit_name(unit)?, run, enabled: None } })
    }
}

impl Resource for UnitAction {
    fn kind(&self) -> &'static str {
        "handler"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        self.service.needs()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        // A unit that does not run has nothing to reload; who wants it to run says so with `service`.
        let is_down = known.units.get(&self.service.unit).is_some_and(|u| matches!(u.active.as_str(), "inactive" | "failed"));
        if self.service.run == Some(Run::Reloaded) && is_down {
            return Ok(Verdict::Right);
        }
        self.service.decide(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_known_when_they_are_notified() {
        let functions: BTreeSet<String> = ["reload_cache".to_owned()].into();
        let says = |h: &str| {
            let error = check("web", &functions, h).unwrap_err();
            format!("{}; {}", error.message(), error.details().hints.join(" "))
        };
        assert!(check("web", &functions, "restart nginx").is_ok());
        assert!(check("web", &functions, "reload_cache").is_ok());
        assert_eq!(says("relaod nginx"), "role web has no handler \"relaod nginx\"; Did you mean \"reload nginx\"?");
        assert_eq!(says("reload_cahce"), "role web has no handler \"reload_cahce\"; Did you mean \"reload_cache\"?");
        assert!(says("flush").ends_with("of its main.rhai: fn flush(nodes, vars) { … }."));
        assert!(check("web", &functions, "restart --now").is_err());
        assert_eq!(Handler::parse("reload nginx").superseded_by().unwrap(), "restart nginx");
    }
}
