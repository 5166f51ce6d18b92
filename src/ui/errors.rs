//! How an error looks: what failed, where, on which nodes, what the command said, what to try.

use super::style::Style;
use crate::base::error::{Details, Error, Kind, Location};
use crate::domain::fleet::fold_names;
use std::fmt::Write;

/// Nodes that failed in the same way are listed together; at most this many different ways are shown in full.
const WAYS_SHOWN: usize = 5;
/// More names than these are written short: `server-[0-99]`.
const NAMES_SHOWN: usize = 8;

/// Returns the error as lines for a terminal, ending in a newline.
pub fn render(error: &Error, style: Style) -> String {
    let details = error.details();
    let mut out = String::new();
    let title = if details.kind == Kind::Cancelled { style.yellow("stopped:") } else { style.red("error:") };
    let node = details.node.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
    let _ = writeln!(out, "{title} {node}{}", style.bold(&indent_rest(&details.message, 7)));
    body(&mut out, details, None, style, "  ");
    hints(&mut out, shared_hints(details).iter().chain(&details.hints), style, "");
    out
}

/// All that is known beyond the message, but for what the error above, which sums up this one and others, says already.
fn body(out: &mut String, details: &Details, above: Option<&Details>, style: Style, indent: &str) {
    facts(out, details, above.and_then(|a| a.command.as_deref()), style, indent);
    let ways = ways(details, style, &format!("{indent}  "));
    for way in ways.iter().take(WAYS_SHOWN) {
        let message = indent_rest(&way.message, indent.len() + 2);
        let _ = writeln!(out, "{indent}{} {message}", style.cyan(&format!("{}:", names(&way.nodes))));
        out.push_str(&way.body);
    }
    let others: Vec<String> = ways.into_iter().skip(WAYS_SHOWN).flat_map(|w| w.nodes).collect();
    if !others.is_empty() {
        let _ = writeln!(out, "{indent}{} failed in other ways", style.cyan(&names(&others)));
    }
    for context in &details.context {
        let _ = writeln!(out, "{indent}{} {context}", style.dim("while"));
    }
    for (depth, place) in details.places.iter().filter(|p| above.is_none_or(|a| !a.places.contains(p))).enumerate() {
        location(out, place, depth, style, indent);
    }
}

fn names(nodes: &[String]) -> String {
    if nodes.len() <= NAMES_SHOWN {
        return nodes.join(", ");
    }
    fold_names(&nodes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What all failures that an error sums up say to try, and the error itself does not: told once.
fn shared_hints(details: &Details) -> Vec<String> {
    let Some((first, rest)) = details.failed.split_first() else { return Vec::new() };
    let own = |h: &&String| !details.hints.contains(h);
    let shared = first.details().hints.iter().filter(own);
    shared.filter(|h| !rest.is_empty() && rest.iter().all(|e| e.details().hints.contains(h))).cloned().collect()
}

fn hints<'a>(out: &mut String, hints: impl IntoIterator<Item = &'a String>, style: Style, indent: &str) {
    for hint in hints {
        let _ = writeln!(out, "{indent}{} {}", style.green("hint:"), indent_rest(hint, indent.len() + 6));
    }
}

/// The failed command, unless it is the one named already, and the tail of its stderr.
fn facts(out: &mut String, details: &Details, named: Option<&str>, style: Style, indent: &str) {
    if let Some(command) = details.command.as_ref().filter(|c| Some(c.as_str()) != named) {
        let _ = writeln!(out, "{indent}{} {}", style.dim("command"), indent_rest(command.trim_end(), indent.len() + 8));
    }
    // One line of it is often all there is to say, and the message.
    if let Some(stderr) = details.stderr.as_ref().filter(|s| !details.message.ends_with(s.as_str())) {
        for line in stderr.lines() {
            let _ = writeln!(out, "{indent}{} {line}", style.dim("|"));
        }
    }
}

/// The place with its line of source and a caret; deeper places (callers) only by name and line of source.
fn location(out: &mut String, place: &Location, depth: usize, style: Style, indent: &str) {
    let arrow = if depth == 0 { "-->" } else { "called from" };
    let _ = writeln!(out, "{indent}{} {place}", style.cyan(arrow));
    let Some(source) = &place.source else { return };
    let number = place.line.to_string();
    let _ = writeln!(out, "{indent}{} {source}", style.cyan(&format!("{number} |")));
    if depth == 0 && place.column > 0 {
        // Tabs are kept, so that the caret stands under its character whatever the tab width.
        let pad: String = source.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(out, "{indent}{} {pad}{}", style.cyan(&format!("{} |", " ".repeat(number.len()))), style.red("^"));
    }
}

/// How some nodes (or parallel calls) failed.
struct Way {
    message: String,
    body: String,
    nodes: Vec<String>,
}

/// The different ways in which they failed, in the order of their first node.
fn ways(details: &Details, style: Style, indent: &str) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    let told = [shared_hints(details), details.hints.clone()].concat();
    for error in &details.failed {
        let mut failure = error.details().clone();
        // What was being done is told once for all: on each node it has other names, and nodes could not be listed together.
        failure.context.clear();
        let mut shown = String::new();
        body(&mut shown, &failure, Some(details), style, indent);
        let own = [shared_hints(&failure), failure.hints].concat();
        hints(&mut shown, own.iter().filter(|h| !told.contains(h)), style, indent);
        let node = failure.node.unwrap_or_else(|| "?".to_owned());
        match ways.iter_mut().find(|w| w.message == failure.message && w.body == shown) {
            Some(way) => way.nodes.push(node),
            None => ways.push(Way { message: failure.message, body: shown, nodes: vec![node] }),
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

    #[test]
    fn every_node_is_named_however_many_failed() {
        let on = |n: usize, message: String| Error::new(Kind::Connection, message).on_node(format!("n-{n}")).hint("Is it up?");
        let all = |failed: Vec<Error>| render(&Error::new(Kind::Connection, "failed").with_failed(failed), Style::plain());
        assert_eq!(
            all((0..100).map(|n| on(n, "refused".to_owned())).collect()),
            "error: failed\n  n-[0-99]: refused\nhint: Is it up?\n"
        );
        let each = all((0..100).map(|n| on(n, format!("{n} refused"))).collect());
        assert!(each.ends_with("  n-4: 4 refused\n  n-[5-99] failed in other ways\nhint: Is it up?\n"), "{each}");
    }

    #[test]
    fn failures_within_failures_are_told_whole() {
        let place = |line: usize| Location { file: "a.rhai".into(), line, column: 1, source: Some(format!("line {line}")) };
        let of = |command: &str, nodes: [&str; 2]| {
            let on = |node: &str| Error::new(Kind::Command, "command failed with exit code 3").on_node(node);
            let mut sum = Error::new(Kind::Command, "2 of 2 nodes failed").with_failed(nodes.map(on).to_vec()).at(place(2));
            sum.details_mut().command = Some(command.to_owned());
            sum
        };
        let failed = vec![
            of("false", ["a-0", "a-1"]).on_node("a"),
            Error::new(Kind::Thrown, "other").context("looking").hint("Look again.").at(place(3)).on_node("b"),
            of("false", ["a-0", "a-1"]).on_node("c"),
        ];
        let error = Error::new(Kind::Thrown, "3 of 3 parallel calls failed").with_failed(failed).at(place(1));
        assert_eq!(
            render(&error, Style::plain()),
            "error: 3 of 3 parallel calls failed\n\
             \x20 a, c: 2 of 2 nodes failed\n\
             \x20   command false\n\
             \x20   a-0, a-1: command failed with exit code 3\n\
             \x20   --> a.rhai:2:1\n\
             \x20   2 | line 2\n\
             \x20     | ^\n\
             \x20 b: other\n\
             \x20   --> a.rhai:3:1\n\
             \x20   3 | line 3\n\
             \x20     | ^\n\
             \x20   hint: Look again.\n\
             \x20 --> a.rhai:1:1\n\
             \x20 1 | line 1\n\
             \x20   | ^\n"
        );
    }
}
