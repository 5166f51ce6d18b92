//! A command run by systemd at times of the calendar: the texts of its two units.

use crate::base::error::{Error, Result};
use crate::base::shell::quote;

#[derive(Clone, Debug)]
pub struct Timer {
    /// Without an ending.
    pub name: String,
    /// As `systemd.time` has it: `daily`, `Mon *-*-* 04:00`.
    pub on_calendar: String,
    /// A line for `/bin/sh`.
    pub command: String,
    pub user: Option<String>,
    pub description: Option<String>,
    /// Run at once what was missed while the machine was off.
    pub persistent: bool,
    /// Wait a random while up to this: `5m`.
    pub random_delay: Option<String>,
}

impl Timer {
    pub fn check(&self) -> Result<()> {
        let texts = [
            ("on_calendar", Some(&self.on_calendar)),
            ("user", self.user.as_ref()),
            ("description", self.description.as_ref()),
            ("random_delay", self.random_delay.as_ref()),
        ];
        for (what, text) in texts.iter().filter_map(|(w, t)| t.map(|t| (w, t))) {
            if text.trim().is_empty() || text.chars().any(char::is_control) {
                return Err(Error::usage(format!("option \"{what}\" of timer cannot be \"{}\"", text.escape_debug())));
            }
        }
        if self.command.trim().is_empty() || self.command.contains('\0') {
            return Err(Error::usage("the command of the timer is empty or has a zero byte in it"));
        }
        Ok(())
    }

    /// Shell that refuses times that systemd does not understand.
    pub fn precheck(&self) -> String {
        let message = super::say(&format!("systemd does not understand the time \"{}\"", self.on_calendar));
        let hint = "printf 'opsrun-hint: Times look like \"daily\" or \"Mon..Fri 04:30\"; try one with: systemd-analyze calendar TIME\\n' >&2";
        let time = quote(&self.on_calendar);
        format!(
            "said=$(systemd-analyze calendar -- {time} 2>&1) || {{ printf '%s\\n' \"$said\" >&2; {message}; {hint}; exit 1; }}"
        )
    }

    fn described(&self) -> String {
        specifiers(self.description.as_deref().unwrap_or(&self.name))
    }

    pub fn service_text(&self) -> String {
        let user = self.user.as_ref().map(|u| format!("User={}\n", specifiers(u))).unwrap_or_default();
        format!(
            "[Unit]\nDescription={}\n\n[Service]\nType=oneshot\n{user}ExecStart=/bin/sh -c {}\n",
            self.described(),
            word(&self.command)
        )
    }

    pub fn timer_text(&self) -> String {
        let delay = self.random_delay.as_ref().map(|d| format!("RandomizedDelaySec={}\n", specifiers(d))).unwrap_or_default();
        format!(
            "[Unit]\nDescription={}\n\n[Timer]\nOnCalendar={}\nPersistent={}\n{delay}\n[Install]\nWantedBy=timers.target\n",
            self.described(),
            specifiers(&self.on_calendar),
            self.persistent
        )
    }
}

/// `%` begins a specifier in unit files.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a command line in a unit file: quoted, with neither specifiers nor variables.
fn word(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '%' => out.push_str("%%"),
            '$' => out.push_str("$$"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
