//! One exchange with a node: a program for its shell, and how its words are understood while they come.

use super::Change;
use super::read::{FUNCTIONS, Reading};
use crate::base::command::Command;
use crate::base::shell::quote;
use bytes::Bytes;
use std::sync::Arc;

const CHANGING: &str = include_str!("change.sh");

/// Where opsrun keeps what it has to remember of a machine.
const LIBRARY: &str = "/var/lib/opsrun";
/// And of a local node, whose machine is not its own.
const LOCAL_LIBRARY: &str = "$HOME/.opsrun";

/// What is done on a node in one exchange.
#[derive(Debug)]
pub(super) struct Program {
    /// In every mark: nothing that a node has or prints can be taken for one.
    pub nonce: String,
    body: String,
    changes: bool,
    uploads: Vec<Arc<[u8]>>,
}

impl Program {
    pub fn new() -> Self {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        Self { nonce, body: String::new(), changes: false, uploads: Vec::new() }
    }

    /// Adds a change. Those before it must have gone well.
    pub fn change(&mut self, number: usize, change: &Change, role: Option<&str>, notify: &[String]) {
        let mut script = String::new();
        if let Some(role) = role.filter(|_| !notify.is_empty() && !change.passive) {
            // Intent first: a run that breaks from here on has the node remember.
            let folder = pending_folder(role);
            script.push_str(&format!("[ -d {folder} ] || mkdir -p -- {folder}\n"));
            for handler in notify {
                script.push_str(&format!(": > {}\n", pending_file(role, handler)));
            }
        }
        script.push_str(&change.script);
        if !change.uploads.is_empty() && self.uploads.is_empty() {
            self.body.push_str("o_begin_uploads\n");
        }
        let sizes: String = change.uploads.iter().map(|upload| format!(" {}", upload.len())).collect();
        self.body
            .push_str(&format!("o_change {number} {}{sizes}\n[ \"$o_r\" = 0 ] || {{ o_s end; return 0; }}\n", quote(&script)));
        self.uploads.extend(change.uploads.iter().cloned());
        self.changes = true;
    }

    /// Adds a reading. It is done if all changes before it went well.
    pub fn read(&mut self, reading: &Reading, role: Option<&str>) {
        self.body.push_str("o_s read\n");
        self.body.push_str(&reading.script());
        if let Some(role) = role {
            let folder = pending_folder(role);
            self.body.push_str(&format!(
                "o_s pending\nfor o_x in {folder}/*; do [ -e \"$o_x\" ] && printf '%s\\n' \"${{o_x##*/}}\"; done\n"
            ));
        }
    }

    /// Forgets handlers that have run.
    pub fn forget(&mut self, role: &str, handlers: &[String]) {
        let files = handlers.iter().map(|handler| pending_file(role, handler));
        let (files, folder) = (files.collect::<Vec<_>>().join(" "), pending_folder(role));
        self.body.push_str(&format!("rm -f -- {files} || return\nrmdir -- {folder} 2>/dev/null\n"));
    }

    /// The command to run, and its input: the program, so that nothing of it is in a process list, then the uploads.
    ///
    /// A program that arrived in part does nothing: all of it is a function, called by the last line. A `local` node is a
    /// directory of this machine: nothing there is done as another user.
    pub fn command(&self, local: bool) -> (Command, Vec<Bytes>) {
        let library = if local { LOCAL_LIBRARY } else { LIBRARY };
        let functions = if self.changes { CHANGING } else { "" };
        let text = format!(
            "{FUNCTIONS}{functions}o_main() {{\no_n={}\n{}o_s end\n}}\n\
             LC_ALL=C PATH=${{PATH:-/usr/bin:/bin}}:/usr/local/sbin:/usr/sbin:/sbin\nexport LC_ALL PATH\numask 022\no_lib=\"{library}\"\n\
             exec 3>&1 6<&0 </dev/null\no_main\n",
            self.nonce, self.body
        );
        let command = Command { sudo: !local, ..Command::new(format!("eval \"$(head -c {})\"", text.len())) };
        let uploads = self.uploads.iter().map(|upload| Bytes::from_owner(upload.clone()));
        (command, std::iter::once(Bytes::from(text)).chain(uploads).collect())
    }
}

/// Where a node remembers handlers that are still to be run, as a word of shell.
fn pending_folder(role: &str) -> String {
    format!("\"$o_lib\"/pending/{}", quote(&file_name(role)))
}

fn pending_file(role: &str, handler: &str) -> String {
    format!("{}/{}", pending_folder(role), quote(&file_name(handler)))
}

/// A name that any word can have as a file's, and be read back from: `reload%20nginx`.
fn file_name(word: &str) -> String {
    let plain = |at: usize, b: u8| b.is_ascii_alphanumeric() || b"_-@".contains(&b) || (b == b'.' && at > 0);
    word.bytes().enumerate().map(|(at, b)| if plain(at, b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The handler that a file stands for.
pub(super) fn handler_of(file: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = file.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let code = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (code, part.get(2..)) {
            (Some(code), Some(rest)) => {
                bytes.push(code);
                bytes.extend_from_slice(rest.as_bytes());
            }
            _ => bytes.extend_from_slice(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_handler_has_a_file_and_any_file_its_handler(word in "\\PC{1,20}") {
            let file = file_name(&word);
            proptest::prop_assert!(!file.contains('/') && !file.starts_with('.') && file.is_ascii());
            proptest::prop_assert_eq!(handler_of(&file), word);
        }
    }
}
