//! The `:commands`, which are about the session and not part of a script.

use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::ui::style::Style;

/// What a person may type after `:`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Help(String),
    Nodes(String),
    Doc(String),
    Load(String),
    Save(String),
    Vars,
    Time(String),
    History(String),
    Clear,
    Reset,
    Quit,
}

/// Name, argument, what it does.
const ALL: [(&str, &str, &str); 11] = [
    ("help", "[NAME]", "this list, or what a function does"),
    ("doc", "NAME", "what a function, method, type or module does, with an example"),
    ("nodes", "[SELECTOR]", "the nodes of the deployment: their groups and addresses"),
    ("vars", "", "variables, functions and imports of this session"),
    ("time", "EXPRESSION", "run it, and say how long it took"),
    ("load", "FILE", "run a script here: what it declares stays"),
    ("save", "FILE", "write the lines that worked as a script"),
    ("history", "[TEXT]", "the last lines typed, or those with the text in them"),
    ("clear", "", "clear the screen"),
    ("reset", "", "forget all variables, functions and imports"),
    ("quit", "", "leave; Ctrl-D does the same"),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, ..)| *name)
}

/// Reads a line that begins with `:`. A command may be cut short where that is not ambiguous: `:q`.
pub fn parse(line: &str) -> Result<Command> {
    let line = line.trim().trim_start_matches(':');
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim().to_owned();
    let name = match names().filter(|n| n.starts_with(word)).collect::<Vec<_>>().as_slice() {
        _ if names().any(|n| n == word) => word,
        [only] if !word.is_empty() => *only,
        [] => match word {
            "exit" => "quit",
            "?" => "help",
            _ => return Err(unknown(word)),
        },
        several => {
            return Err(Error::usage(format!("\":{word}\" is the beginning of several commands"))
                .hint(format!("There is: {}.", several.iter().map(|n| format!(":{n}")).collect::<Vec<_>>().join(", "))));
        }
    };
    let needs = |rest: String| {
        if !rest.is_empty() {
            return Ok(rest);
        }
        let wants = ALL.iter().find(|(n, ..)| *n == name).map_or("", |(_, wants, _)| *wants);
        Err(Error::usage(format!(":{name} needs something after it")).hint(format!("Write :{name} {wants}.")))
    };
    Ok(match name {
        "help" => Command::Help(rest),
        "doc" => Command::Doc(needs(rest)?),
        "nodes" => Command::Nodes(unquoted(&rest)),
        "vars" => Command::Vars,
        "time" => Command::Time(needs(rest)?),
        "load" => Command::Load(unquoted(&needs(rest)?)),
        "save" => Command::Save(unquoted(&needs(rest)?)),
        "history" => Command::History(rest),
        "clear" => Command::Clear,
        "reset" => Command::Reset,
        _ => Command::Quit,
    })
}

fn unknown(word: &str) -> Error {
    let error = Error::usage(format!("there is no command \":{word}\""));
    let error = match did_you_mean(word, names()) {
        Some(hint) => error.hint(hint.replace('"', "").replace("Did you mean ", "Did you mean :")),
        None => error,
    };
    error.hint(":help lists them all.")
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    inner.unwrap_or(text).to_owned()
}

/// What `:help` prints.
pub fn help(style: Style, deployment: Option<&str>) -> String {
    let mut out = String::from(
        "Type a line of a script; its value is shown, and _ is the last one. Variables, functions and imports stay.\n",
    );
    if deployment.is_some() {
        out.push_str("d is the deployment: d.nodes(\"server\").sh(\"uptime\")\n");
    }
    out.push('\n');
    for (name, wants, about) in ALL {
        let call = format!(":{name} {wants}");
        out.push_str(&format!(
            "  {}{} {about}\n",
            style.cyan(call.trim_end()),
            " ".repeat(18_usize.saturating_sub(call.trim_end().len()))
        ));
    }
    out.push_str(
        "\n  Tab completes names, nodes, option keys and paths; F1 shows the manual of what is at the cursor.
  A line goes on while a bracket is open. A ; at its end keeps its value from being shown.
  Ctrl-C stops the running line, and the commands it runs on nodes; the session stays. Ctrl-R searches the history.
  Files: paths are relative to where you are for :load and :save, and to the project for scripts.",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_commands() {
        assert_eq!(parse(":doc  sleep ").unwrap(), Command::Doc("sleep".into()));
        assert_eq!(parse(":q").unwrap(), Command::Quit);
        assert_eq!(parse(":exit").unwrap(), Command::Quit);
        assert_eq!(parse(":save \"a b.rhai\"").unwrap(), Command::Save("a b.rhai".into()));
        assert_eq!(parse(":nodes \"server\"").unwrap(), Command::Nodes("server".into()));
        let error = parse(":hlep").unwrap_err();
        assert_eq!(error.message(), "there is no command \":hlep\"");
        assert_eq!(error.details().hints[0], "Did you mean :help?");
        assert!(parse(":h").unwrap_err().details().hints[0].contains(":help, :history"));
        assert_eq!(parse(":doc").unwrap_err().details().hints, ["Write :doc NAME."]);
    }
}
