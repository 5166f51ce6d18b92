//! A unit of systemd that runs or does not, now and at boot.

use super::super::{Change, Fact, Known, Resource, Touch, UnitState, Verdict};
use crate::base::error::{Error, Result};
use crate::base::shell::quote;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    Started,
    Stopped,
    /// Every time.
    Restarted,
    /// Every time: reloaded where the unit can, else restarted.
    Reloaded,
}

#[derive(Clone, Debug)]
pub struct Service {
    /// As `unit_name` gives it.
    pub unit: String,
    pub run: Option<Run>,
    pub enabled: Option<bool>,
}

/// The name of a unit with its ending: `nginx` is `nginx.service`.
pub fn unit_name(given: &str) -> Result<String> {
    const ENDINGS: [&str; 11] =
        ["service", "socket", "timer", "target", "path", "mount", "automount", "swap", "slice", "scope", "device"];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if given.is_empty() || given.starts_with('-') || given.starts_with('.') || !given.bytes().all(plain) {
        return Err(Error::usage(format!("\"{}\" is no name of a unit", given.escape_debug()))
            .hint("Units are named with letters, digits and \":-_.\\@\", such as \"nginx\" or \"backup.timer\"."));
    }
    let has_ending = given.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending));
    Ok(if has_ending { given.to_owned() } else { format!("{given}.service") })
}

/// Shell: `up VERB UNIT` starts a unit and stays until it is plain that it runs; else says what it wrote to the journal.
const UP: &str = r#"up() {
  [ "$(systemctl show -p NeedDaemonReload --value -- "$2")" != yes ] || systemctl daemon-reload
  since=$(date '+%Y-%m-%d %H:%M:%S')
  if systemctl "$1" -- "$2" 2>/dev/null </dev/null; then
    # A simple service counts as started before its program has read its configuration.
    case $(systemctl show -p Type --value -- "$2") in simple|exec|idle) sleep 0.3;; esac
    case $(systemctl show -p ActiveState --value -- "$2")/$(systemctl show -p Result --value -- "$2") in
      failed/*|activating/exit-code|activating/signal|activating/core-dump|activating/timeout|inactive/exit-code) ;;
      *) return 0;;
    esac
  fi
  get() { systemctl show -p "$1" --value -- "$2"; }
  case $(get LoadState "$2")/$(get Result "$2") in
    loaded/exit-code) why="its program ended with exit code $(get ExecMainStatus "$2")";;
    loaded/signal|loaded/core-dump) why="its program was ended by signal $(get ExecMainStatus "$2")";;
    loaded/timeout) why="it took longer than its unit allows";;
    loaded/start-limit-hit) why="it was tried too often in a short time";;
    loaded/success) why="it is $(get ActiveState "$2") ($(get SubState "$2"))";;
    loaded/*) why="systemd says $(get Result "$2")";;
    */*) why="its unit is $(get LoadState "$2")";;
  esac
  printf 'opsrun: %s does not %s: %s\n' "$2" "$1" "$why" >&2
  printf 'opsrun-hint: Its journal: journalctl -u %s\n' "$2" >&2
  journalctl --no-pager -q -o cat -n 15 -u "$2" --since "$since" >&2 || true
  return 1
}
"#;

impl Service {
    /// Whether it is to be up, and how; in words, and as a verb of systemctl.
    fn running(&self, is: &UnitState) -> Option<(&'static str, &'static str)> {
        let up = matches!(is.active.as_str(), "active" | "reloading" | "refreshing");
        match self.run? {
            // Where its conditions do not hold, it is as up as it can be.
            Run::Started if up || is.unmet => None,
            Run::Stopped if matches!(is.active.as_str(), "inactive" | "failed") => None,
            Run::Stopped => Some(("stopped", "stop")),
            Run::Restarted => Some(("restarted", "restart")),
            Run::Reloaded if up => Some(("reloaded", "reload-or-restart")),
            Run::Started | Run::Reloaded => Some(("started", "start")),
        }
    }

    /// Whether it is to be started at boot, where that is not so.
    fn at_boot(&self, is: &UnitState) -> Option<bool> {
        let now = matches!(is.enabled.as_str(), "enabled" | "enabled-runtime");
        match self.enabled? {
            // Started by others, or made for this boot alone: there is nothing to enable.
            true if matches!(is.enabled.as_str(), "static" | "indirect" | "generated" | "alias" | "transient") => None,
            wanted => (wanted != now).then_some(wanted),
        }
    }

    fn blocked(&self, is: &UnitState) -> Option<String> {
        let down = self.run.is_none_or(|r| r == Run::Stopped) && self.enabled != Some(true);
        match is.load.as_str() {
            "" => Some("systemd does not run on this node".to_owned()),
            "not-found" if !down => Some(format!("there is no unit {}", self.unit)),
            "masked" if !down => Some(format!("{} is masked", self.unit)),
            "bad-setting" | "error" if !down => Some(format!("systemd cannot read {}: systemctl status {0} says why", self.unit)),
            _ => None,
        }
    }
}

impl Resource for Service {
    fn kind(&self) -> &'static str {
        "service"
    }

    fn name(&self) -> String {
        self.unit.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        vec![Fact::Unit(self.unit.clone())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let is = known.unit(&self.unit)?;
        if let Some(why) = self.blocked(is) {
            return Ok(Verdict::Blocked(why));
        }
        if is.load == "not-found" {
            return Ok(Verdict::Right);
        }
        let (running, at_boot) = (self.running(is), self.at_boot(is));
        let unit = quote(&self.unit);
        let mut change = Change::default();
        let mut after = is.clone();
        if let Some(enabled) = at_boot {
            let (verb, word) = if enabled { ("enable", "enabled") } else { ("disable", "disabled") };
            change.what.push(word.to_owned());
            change.script.push_str(&format!("systemctl -q {verb} -- {unit} </dev/null\n"));
            word.clone_into(&mut after.enabled);
        }
        match running {
            Some((word, "stop")) => {
                change.what.push(word.to_owned());
                change.script.push_str(&format!("systemctl stop -- {unit} </dev/null\n"));
                "inactive".clone_into(&mut after.active);
            }
            Some((word, verb)) => {
                change.what.push(word.to_owned());
                change.script = format!("{UP}{}up {verb} {unit}\n", change.script);
                "active".clone_into(&mut after.active);
                after.needs_reload = false;
            }
            None => {}
        }
        if change.what.is_empty() {
            return Ok(Verdict::Right);
        }
        change.touches.push(Touch::Unit(self.unit.clone()));
        change.leaves.units.insert(self.unit.clone(), after);
        Ok(Verdict::Change(change))
    }
}
