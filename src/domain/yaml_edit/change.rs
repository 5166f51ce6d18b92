//! The bytes that an edit changes.

use super::path::Step;
use super::tree::{Document, Kind, Layout, Node, line_end, line_start, next_line, skip_space};
use super::{At, Parent, render};
use crate::base::error::{Error, Result};
use serde_json::Value;
use std::ops::Range;

fn splice(text: &str, range: Range<usize>, with: &str) -> String {
    let mut out = String::with_capacity(text.len() + with.len());
    out.push_str(&text[..range.start]);
    out.push_str(with);
    out.push_str(&text[range.end..]);
    out
}

/// The line break this text uses.
fn eol(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Spaces up to the column that this byte stands in.
fn column(text: &str, at: usize) -> String {
    " ".repeat(text[line_start(text, at)..at].chars().filter(|c| *c != '\u{feff}').count())
}

fn starts_line(text: &str, at: usize) -> bool {
    text[line_start(text, at)..at].chars().all(|c| c == ' ' || c == '\u{feff}')
}

/// Gives an existing value another content.
pub fn replace(text: &str, document: &Document, at: &At, value: &Value) -> String {
    let node = at.value();
    let old = match &node.kind {
        Kind::Scalar { style, .. } => Some(*style),
        _ => None,
    };
    let (in_flow, colon, key_end) = match at {
        At::Entry { map, entry, .. } => (map.is_flow_collection(), entry.colon, entry.key.end),
        At::Item { seq, .. } => (seq.is_flow_collection(), true, node.start),
    };
    if in_flow {
        let new = match value {
            Value::Array(_) | Value::Object(_) => render::flow(value),
            scalar => render::scalar(scalar, old, true),
        };
        return match (colon, node.is_blank()) {
            (false, _) => splice(text, key_end..key_end, &format!(": {new}")),
            (true, true) => splice(text, node.slot..node.slot, &format!(" {new}")),
            (true, false) => splice(text, node.start..node.end, &new),
        };
    }
    let inline = render::inline(value, old).or_else(|| node.is_flow_collection().then(|| render::flow(value)));
    if let Some(new) = inline {
        return put_inline(text, node, &new);
    }
    let mut block = render::block(value);
    let indent = match at {
        At::Entry { map, entry, .. } => {
            let step = if block.header.is_empty() { indent_step(text, document) } else { "  ".to_owned() };
            let base = match &map.kind {
                Kind::Map { entries, .. } => entries.first().map_or(entry.key.start, |e| e.key.start),
                _ => entry.key.start,
            };
            format!("{}{step}", column(text, base))
        }
        At::Item { item, .. } => {
            if block.header.is_empty() && !block.lines.is_empty() {
                block.header = block.lines.remove(0);
            }
            format!("{}  ", column(text, item.start))
        }
    };
    put_block(text, node, &block, &indent)
}

/// Replaces a value in block style by one that stands on its key's line.
fn put_inline(text: &str, node: &Node, new: &str) -> String {
    if node.is_block_collection() {
        let first_line = line_end(text, node.slot);
        let rest = text[node.slot..first_line].trim_start();
        let below = rest.is_empty() || rest.starts_with('#');
        let kept = if below { &text[node.slot..first_line] } else { "" };
        return splice(text, node.slot..line_end(text, node.end), &format!(" {new}{kept}"));
    }
    if node.start == node.slot {
        splice(text, node.start..node.end, &format!(" {new}"))
    } else {
        splice(text, node.start..node.end, new)
    }
}

/// Replaces a value in block style by lines below its key; a comment behind the old value stays behind the key.
fn put_block(text: &str, node: &Node, block: &render::Block, indent: &str) -> String {
    let nl = eol(text);
    let mut below = String::new();
    for line in &block.lines {
        below.push_str(nl);
        below.push_str(&render::indented(line, indent));
    }
    let header = if block.header.is_empty() { String::new() } else { format!(" {}", block.header) };
    let (comment, end) = if node.is_block_collection() {
        let first_line = line_end(text, node.slot);
        let rest = &text[node.slot..first_line];
        let kept = if rest.trim_start().starts_with('#') { rest } else { "" };
        (kept, line_end(text, node.end))
    } else {
        let end = line_end(text, node.end);
        (text[node.end..end].trim_end(), end)
    };
    splice(text, node.slot..end, &format!("{header}{comment}{below}"))
}

/// How far maps are indented in this document: the first example in it decides.
fn indent_step(text: &str, document: &Document) -> String {
    fn seek(text: &str, node: &Node) -> Option<usize> {
        let Kind::Map { entries, layout: Layout::Block } = &node.kind else { return None };
        let own = column(text, entries.first()?.key.start).len();
        entries.iter().find_map(|entry| match &entry.value.kind {
            Kind::Map { entries: inner, layout: Layout::Block } => {
                column(text, inner.first()?.key.start).len().checked_sub(own).filter(|n| (1..=8).contains(n))
            }
            _ => seek(text, &entry.value),
        })
    }
    " ".repeat(document.root.as_ref().and_then(|root| seek(text, root)).unwrap_or(2))
}

/// Adds an entry or item to a container that does not have it.
pub fn insert(text: &str, document: &Document, parent: Option<Parent>, step: &Step, value: &Value) -> Result<String> {
    let whole = || match step {
        Step::Key(key) => Value::Object([(key.clone(), value.clone())].into_iter().collect()),
        Step::Index(_) => Value::Array(vec![value.clone()]),
    };
    let lines = || match step {
        Step::Key(key) => render::entry(key, value),
        Step::Index(_) => render::item(value),
    };
    let Some(Parent { node, at }) = parent else {
        return Ok(at_top(text, document, &lines(), step));
    };
    match (&node.kind, at) {
        (Kind::Map { layout: Layout::Pair, .. }, _) => {
            Err(Error::config(format!("cannot add a key to the map without braces at line {}", node.line))
                .hint("Set the whole list that it stands in."))
        }
        (Kind::Seq { flow: true, .. } | Kind::Map { layout: Layout::Flow, .. }, _) => {
            let inner = render::flow(&whole());
            Ok(into_flow(text, node, &inner[1..inner.len() - 1]))
        }
        (Kind::Map { .. } | Kind::Seq { .. }, None) => Ok(at_top(text, document, &lines(), step)),
        (Kind::Map { entries, .. }, Some(_)) => {
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                return Err(Error::internal("a YAML map in block style without entries"));
            };
            Ok(below(text, &last.value, &lines(), &column(text, first.key.start)))
        }
        (Kind::Seq { items, .. }, Some(_)) => {
            let (Some(first), Some(last)) = (items.first(), items.last()) else {
                return Err(Error::internal("a YAML list in block style without items"));
            };
            Ok(below(text, &last.value, &lines(), &column(text, first.start)))
        }
        // Nothing, or `~`: the container is made.
        (_, Some(at)) => Ok(replace(text, document, &at, &whole())),
        (_, None) if node.is_blank() => Ok(at_top(text, document, &lines(), step)),
        (_, None) => Ok(splice(text, node.start..node.end, &lines().join(eol(text)))),
    }
}

/// Adds lines below the last value of a container in block style.
fn below(text: &str, last: &Node, lines: &[String], indent: &str) -> String {
    let nl = eol(text);
    let lines: Vec<String> = lines.iter().map(|l| render::indented(l, indent)).collect();
    let lines = lines.join(nl);
    // A block scalar that keeps its line breaks owns the blank lines after it.
    if last.keeps && text[..last.full_end].ends_with('\n') {
        let at = last.full_end;
        return splice(text, at..at, &format!("{lines}{nl}"));
    }
    let at = line_end(text, last.end);
    splice(text, at..at, &format!("{nl}{lines}"))
}

fn into_flow(text: &str, node: &Node, inner: &str) -> String {
    let last = match &node.kind {
        Kind::Seq { items, .. } => items.last().map(|i| i.value.end),
        Kind::Map { entries, .. } => entries.last().map(|e| e.value.end.max(e.key.end)),
        _ => None,
    };
    let Some(end) = last else {
        let open = node.end - 1;
        return splice(text, open..open, inner);
    };
    let after = skip_space(text, end);
    if text[after..].starts_with(',') {
        splice(text, after + 1..after + 1, &format!(" {inner}"))
    } else {
        splice(text, end..end, &format!(", {inner}"))
    }
}

/// Adds a key at the top level: below its commented-out form if there is one, else at the end.
fn at_top(text: &str, document: &Document, lines: &[String], step: &Step) -> String {
    let nl = eol(text);
    let joined = lines.join(nl);
    let spot = match step {
        Step::Key(key) => commented_out(text, document, key),
        Step::Index(_) => None,
    };
    let indent = match document.root.as_ref().map(|r| &r.kind) {
        Some(Kind::Map { entries, .. }) => entries.first().map_or_else(String::new, |e| column(text, e.key.start)),
        Some(Kind::Seq { items, .. }) => items.first().map_or_else(String::new, |i| column(text, i.start)),
        _ => String::new(),
    };
    let joined =
        if indent.is_empty() { joined } else { lines.iter().map(|l| render::indented(l, &indent)).collect::<Vec<_>>().join(nl) };
    let at = spot.unwrap_or(document.end);
    let before = if at == 0 || text[..at].ends_with('\n') || &text[..at] == "\u{feff}" { "" } else { nl };
    let after = if at == text.len() && !text.is_empty() && !text.ends_with('\n') { "" } else { nl };
    splice(text, at..at, &format!("{before}{joined}{after}"))
}

/// Behind the line `# key: …` between top-level keys, and the more indented comment lines that follow it.
fn commented_out(text: &str, document: &Document, key: &str) -> Option<usize> {
    let Some(Kind::Map { entries, layout: Layout::Block }) = document.root.as_ref().map(|r| &r.kind) else { return None };
    let mut at = 0;
    while at < text.len() {
        let line = &text[at..line_end(text, at)];
        let next = next_line(text, at);
        let body = line.strip_prefix('#').map(str::trim_start);
        let is_it = body.and_then(|b| b.strip_prefix(key)).is_some_and(|rest| rest == ":" || rest.starts_with(": "));
        let inside = entries.iter().any(|e| (e.key.start..e.value.full_end.max(e.value.end)).contains(&at));
        if is_it && !inside {
            let depth = |line: &str| line[1..].len() - line[1..].trim_start().len();
            let own = depth(line);
            let mut end = next;
            while end < text.len() {
                let follower = &text[end..line_end(text, end)];
                let belongs = follower.starts_with('#') && follower.len() > 1 && depth(follower) > own;
                if !belongs {
                    break;
                }
                end = next_line(text, end);
            }
            return Some(end);
        }
        at = next;
    }
    None
}

/// Takes an entry or item out of its container.
pub fn remove(text: &str, document: &Document, at: &At) -> Result<String> {
    let (container, count, start) = match at {
        At::Entry { map, entry, .. } => {
            let Kind::Map { entries, layout } = &map.kind else { return Err(Error::internal("an entry outside a map")) };
            if *layout == Layout::Pair {
                return Err(Error::config(format!("cannot remove the only key of the map without braces at line {}", map.line))
                    .hint("Remove the item of the list that it stands in."));
            }
            if *layout == Layout::Block && text[..entry.key.start].trim_end().ends_with('?') {
                return Err(Error::config(format!("cannot remove the key at line {}: it is written with \"?\"", entry.key.line)));
            }
            (*map, entries.len(), entry.key.start)
        }
        At::Item { seq, item, .. } => {
            let Kind::Seq { items, .. } = &seq.kind else { return Err(Error::internal("an item outside a list")) };
            (*seq, items.len(), item.start)
        }
    };
    let value = at.value();
    let is_root = document.root.as_ref().is_some_and(|root| std::ptr::eq(root, container));
    if container.is_flow_collection() {
        return Ok(remove_from_flow(text, at, start));
    }
    if count == 1 && !is_root {
        let empty = if matches!(container.kind, Kind::Map { .. }) { "{}" } else { "[]" };
        return Ok(put_inline(text, container, empty));
    }
    let end = if value.keeps { value.full_end } else { next_line(text, value.end) };
    if starts_line(text, start) {
        let from = line_start(text, start).max(if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 });
        let out = splice(text, from..end, "");
        // The last line had no line break: take the one before it.
        let bare = end == text.len() && !text.ends_with('\n') && from > 0;
        return Ok(if bare { out[..out.trim_end_matches(['\n', '\r']).len()].to_owned() } else { out });
    }
    // The first key of `- a: 1`, or the first item of `- - x`.
    match next_start(at) {
        Some(next) => {
            let between = &text[line_end(text, value.end)..next];
            if between.contains('#') {
                let dash_end = text[..start].trim_end().len();
                Ok(splice(text, dash_end..line_end(text, value.end), ""))
            } else {
                Ok(splice(text, start..next, ""))
            }
        }
        None => Err(Error::config(format!("cannot remove the value at line {}", value.line))),
    }
}

/// Where the entry or item after this one starts.
fn next_start(at: &At) -> Option<usize> {
    match at {
        At::Entry { map: Node { kind: Kind::Map { entries, .. }, .. }, index, .. } => entries.get(index + 1).map(|e| e.key.start),
        At::Item { seq: Node { kind: Kind::Seq { items, .. }, .. }, index, .. } => items.get(index + 1).map(|i| i.start),
        _ => None,
    }
}

fn remove_from_flow(text: &str, at: &At, start: usize) -> String {
    if let Some(next) = next_start(at) {
        return splice(text, start..next, "");
    }
    let end = match at {
        At::Entry { entry, .. } => entry.value.end.max(entry.key.end),
        At::Item { item, .. } => item.value.end,
    };
    let after = skip_space(text, end);
    let end = if text[after..].starts_with(',') { after + 1 } else { end };
    let before = text[..start].trim_end();
    // On one line the comma before goes too; over several lines it stays, with the comment behind it.
    match before.strip_suffix(',') {
        Some(kept) if !text[before.len()..start].contains('\n') => splice(text, kept.len()..end, ""),
        _ => splice(text, start..end, ""),
    }
}
