//! A file of systemd's: a unit, or a drop-in for one. systemd is told of every change.

use super::super::{Change, Fact, Known, Resource, Touch, UnitState, Verdict};
use super::absent::Absent;
use super::file::File;
use crate::base::error::Result;
use crate::base::shell::quote;

#[derive(Clone, Debug)]
pub struct Unit {
    /// The script function: `unit`, `timer`.
    pub kind: &'static str,
    /// As `unit_name` gives it.
    pub unit: String,
    /// Of the unit, or of the drop-in.
    pub file: File,
    /// A command that must succeed before anything is written.
    pub before: Option<String>,
}

const FOLDER: &str = "/etc/systemd/system";

/// Where the file of a unit is.
pub fn unit_path(unit: &str) -> String {
    format!("{FOLDER}/{unit}")
}

/// Where a drop-in of a unit is.
pub fn drop_in_path(unit: &str, name: &str) -> String {
    format!("{FOLDER}/{unit}.d/{name}.conf")
}

impl Unit {
    fn is_drop_in(&self) -> bool {
        self.file.path != unit_path(&self.unit)
    }

    /// What systemd makes of the unit once it has read the file.
    fn after(&self, is: &UnitState) -> UnitState {
        let mut after = UnitState { needs_reload: false, ..is.clone() };
        if !self.is_drop_in() {
            "loaded".clone_into(&mut after.load);
            let text = self.file.content.as_ref().map(|c| String::from_utf8_lossy(&c.bytes)).unwrap_or_default();
            let installs = text.lines().any(|l| l.trim() == "[Install]");
            if is.load == "not-found" {
                "inactive".clone_into(&mut after.active);
                if installs { "disabled" } else { "static" }.clone_into(&mut after.enabled);
            }
        }
        after
    }

    fn reload(&self) -> String {
        let unit = quote(&self.unit);
        let message = super::say(&format!("systemd cannot read {}", self.file.path));
        format!(
            "systemctl daemon-reload\n\
             case $(systemctl show -p LoadState --value -- {unit}) in bad-setting|error)\n  {message}\n  \
             systemctl status --no-pager -n 3 -- {unit} >&2 || :\n  \
             journalctl -q --no-pager -o cat -n 5 _PID=1 UNIT={unit} >&2 || :\n  exit 1;;\nesac\n"
        )
    }
}

impl Resource for Unit {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn name(&self) -> String {
        self.file.path.strip_prefix(&format!("{FOLDER}/")).unwrap_or(&self.unit).to_owned()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = self.file.needs();
        facts.push(Fact::Unit(self.unit.clone()));
        facts
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let is = known.unit(&self.unit)?;
        if is.load.is_empty() {
            return Ok(Verdict::Blocked("systemd does not run on this node".to_owned()));
        }
        let mut change = match self.file.decide(known)? {
            Verdict::Change(change) => change,
            // A run that broke after the file was written, or somebody's editor.
            Verdict::Right if is.needs_reload => Change { what: vec!["read by systemd".to_owned()], ..Change::default() },
            other => return Ok(other),
        };
        let before = self.before.as_ref().map(|b| format!("{{ {b}\n}} </dev/null\n")).unwrap_or_default();
        change.script = format!("{before}{}{}", change.script, self.reload());
        change.touches.push(Touch::Unit(self.unit.clone()));
        change.leaves.units.insert(self.unit.clone(), self.after(is));
        Ok(Verdict::Change(change))
    }
}

/// No file of this unit in systemd's folder for the administrator. What ran by it is stopped first.
#[derive(Clone, Debug)]
pub struct NoUnit {
    pub kind: &'static str,
    pub unit: String,
    pub path: String,
}

impl NoUnit {
    fn absent(&self) -> Absent {
        Absent::file(self.path.as_str())
    }
}

impl Resource for NoUnit {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn name(&self) -> String {
        self.path.strip_prefix(&format!("{FOLDER}/")).unwrap_or(&self.unit).to_owned()
    }

    fn needs(&self) -> Vec<Fact> {
        self.absent().needs()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let mut change = match self.absent().decide(known)? {
            Verdict::Change(change) => change,
            other => return Ok(other),
        };
        let unit = quote(&self.unit);
        if self.path == unit_path(&self.unit) {
            // A unit that systemd cannot read can be neither stopped nor disabled.
            let stop = format!("systemctl -q disable --now -- {unit} </dev/null || systemctl stop -- {unit} </dev/null || :\n");
            change.script = format!("{stop}{}", change.script);
        }
        change.script.push_str(&format!("systemctl daemon-reload\nsystemctl reset-failed -- {unit} 2>/dev/null || :\n"));
        change.touches.push(Touch::Unit(self.unit.clone()));
        Ok(Verdict::Change(change))
    }
}
