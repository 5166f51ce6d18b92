//! How an error looks: what failed, where, on which nodes, what the command said, what to try.

use super::style::Style;
use crate::base::error::{Details, Error, Kind, Location};
use std::fmt::Write;

/// Nodes that failed in the same way are listed together; at most this many different ways are shown in full.
const WAYS_SHOWN: usize = 5;

/// Returns the error as lines for a terminal, ending in a newline.
pub fn render(error: &Error, style: Style) -> String {
    let details = error.details();
    let mut out = String::new();
    let title = if details.kind == Kind::Cancelled { style.yellow("stopped:") } else { style.red("error:") };
    let node = details.node.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
    let _ = writeln!(out, "{title} {node}{}", style.bold(&indent_rest(&details.message, 7)));
    facts(&mut out, details, None, style, "  ");
    for (way, nodes) in ways(&details.failed).into_iter().take(WAYS_SHOWN) {
        let _ = writeln!(out, "  {} {}", style.cyan(&format!("{}:", nodes.join(", "))), way.message);
        facts(&mut out, way, details.command.as_deref(), style, "    ");
        for hint in way.hints.iter().filter(|h| !details.hints.contains(h)) {
            let _ = writeln!(out, "    {} {hint}", style.green("hint:"));
        }
    }
    let more = ways(&details.failed).len().saturating_sub(WAYS_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "  … and {more} more kinds of failure");
    }
    for context in &details.context {
        let _ = writeln!(out, "  {} {context}", style.dim("while"));
    }
    for (depth, place) in details.places.iter().enumerate() {
        location(&mut out, place, depth, style);
    }
    for hint in &details.hints {
        let _ = writeln!(out, "{} {}", style.green("hint:"), indent_rest(hint, 6));
    }
    out
}

/// The failed command, unless it is the one named already, and the tail of its stderr.
fn facts(out: &mut String, details: &Details, named: Option<&str>, style: Style, indent: &str) {
    if let Some(command) = details.command.as_ref().filter(|c| Some(c.as_str()) != named) {
        let _ = writeln!(out, "{indent}{} {}", style.dim("command"), indent_rest(command.trim_end(), indent.len() + 8));
    }
    if let Some(stderr) = &details.stderr {
        for line in stderr.lines() {
            let _ = writeln!(out, "{indent}{} {line}", style.dim("|"));
        }
    }
}

/// The place with its line of source and a caret; deeper places (callers) only by name and line of source.
fn location(out: &mut String, place: &Location, depth: usize, style: Style) {
    let arrow = if depth == 0 { "-->" } else { "called from" };
    let _ = writeln!(out, "  {} {place}", style.cyan(arrow));
    let Some(source) = &place.source else { return };
    let number = place.line.to_string();
    let _ = writeln!(out, "  {} {source}", style.cyan(&format!("{number} |")));
    if depth == 0 && place.column > 0 {
        // Tabs are kept, so that the caret stands under its character whatever the tab width.
        let pad: String = source.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(out, "  {} {pad}{}", style.cyan(&format!("{} |", " ".repeat(number.len()))), style.red("^"));
    }
}

/// The different ways in which nodes failed, each with its nodes, in the order of their first node.
fn ways(failed: &[Error]) -> Vec<(&Details, Vec<String>)> {
    let mut ways: Vec<(&Details, Vec<String>)> = Vec::new();
    for error in failed {
        let details = error.details();
        let node = details.node.clone().unwrap_or_else(|| "?".to_owned());
        match ways
            .iter_mut()
            .find(|(d, _)| d.message == details.message && d.stderr == details.stderr && d.command == details.command)
        {
            Some((_, nodes)) => nodes.push(node),
            None => ways.push((details, vec![node])),
        }
    }
    ways
}

fn indent_rest(text: &str, by: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(by)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_nodes_and_hints() {
        let on = |node: &str| {
            let mut e = Error::new(Kind::Command, "command failed with exit code 3").on_node(node);
            e.details_mut().stderr = Some("no such table".to_owned());
            e
        };
        let error = Error::new(Kind::Command, "2 of 3 nodes failed")
            .with_failed(vec![on("server-0"), on("server-2")])
            .at(Location { file: "a.rhai".into(), line: 4, column: 3, source: Some("\tn.sh(\"x\");".into()) })
            .at(Location::line("b.rhai", 9))
            .context("starting the cluster")
            .hint("Look at the log.");
        assert_eq!(
            render(&error, Style::plain()),
            "error: 2 of 3 nodes failed\n  server-0, server-2: command failed with exit code 3\n    | no such table\n  while starting the cluster\n  --> a.rhai:4:3\n  4 | \tn.sh(\"x\");\n    | \t ^\n  called from b.rhai:9\nhint: Look at the log.\n"
        );
    }
}
