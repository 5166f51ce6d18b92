//! New values written as YAML.

use super::model::resolve;
use super::tree::Style;
use serde_json::Value;
use std::fmt::Write;

/// On one line: for `[…]` and `{…}`, and for scalars anywhere.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let pairs: Vec<_> = map.iter().map(|(k, v)| format!("{}: {}", string(k, None, true), flow(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        scalar => self::scalar(scalar, None, true),
    }
}

/// A value that fits on the line of its key in block style: none for collections with content and text of many lines.
pub fn inline(value: &Value, old: Option<Style>) -> Option<String> {
    match value {
        Value::Array(items) if !items.is_empty() => None,
        Value::Object(map) if !map.is_empty() => None,
        Value::Array(_) => Some("[]".to_owned()),
        Value::Object(_) => Some("{}".to_owned()),
        Value::String(text) if fits_literal(text) && !matches!(old, Some(Style::Single | Style::Double)) => None,
        scalar => Some(self::scalar(scalar, old, false)),
    }
}

/// The lines of a value in block style; the first belongs behind the key when the value is text (`|`).
pub struct Block {
    /// Goes behind `key:`; empty for collections.
    pub header: String,
    pub lines: Vec<String>,
}

/// A value that does not fit on one line.
pub fn block(value: &Value) -> Block {
    match value {
        Value::Object(map) => Block { header: String::new(), lines: map.iter().flat_map(|(k, v)| entry(k, v)).collect() },
        Value::Array(items) => Block { header: String::new(), lines: items.iter().flat_map(item).collect() },
        Value::String(text) => {
            let header = if text.ends_with('\n') { "|" } else { "|-" };
            Block { header: header.to_owned(), lines: text.lines().map(str::to_owned).collect() }
        }
        scalar => Block { header: self::scalar(scalar, None, false), lines: Vec::new() },
    }
}

/// The lines of one entry of a map.
pub fn entry(key: &str, value: &Value) -> Vec<String> {
    let key = string(key, None, false);
    if let Some(text) = inline(value, None) {
        return vec![format!("{key}: {text}")];
    }
    let Block { header, lines } = block(value);
    let first = if header.is_empty() { format!("{key}:") } else { format!("{key}: {header}") };
    std::iter::once(first).chain(lines.into_iter().map(|l| indented(&l, "  "))).collect()
}

/// The lines of one item of a list.
pub fn item(value: &Value) -> Vec<String> {
    if let Some(text) = inline(value, None) {
        return vec![format!("- {text}")];
    }
    let Block { header, lines } = block(value);
    let all: Vec<String> = if header.is_empty() { lines } else { std::iter::once(header).chain(lines).collect() };
    all.iter().enumerate().map(|(n, l)| if n == 0 { format!("- {l}") } else { indented(l, "  ") }).collect()
}

/// The line, indented unless it is empty.
pub fn indented(line: &str, indent: &str) -> String {
    if line.is_empty() { String::new() } else { format!("{indent}{line}") }
}

/// A scalar on one line, in the quotes of the one it replaces where that can be.
pub fn scalar(value: &Value, old: Option<Style>, in_flow: bool) -> String {
    match value {
        Value::String(text) => string(text, old, in_flow),
        // YAML 1.1 readers take 1e+300 for text: they want the point.
        Value::Number(number) => {
            let text = number.to_string();
            match text.find('e') {
                Some(at) if !text.contains('.') => format!("{}.0{}", &text[..at], &text[at..]),
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

fn string(text: &str, old: Option<Style>, in_flow: bool) -> String {
    let printable = text.chars().all(|c| !c.is_control() && c != '\u{feff}' && !('\u{2028}'..='\u{2029}').contains(&c));
    match old {
        _ if !printable => double(text),
        Some(Style::Single) => single(text),
        Some(Style::Double) => double(text),
        _ if is_plain(text, in_flow) => text.to_owned(),
        _ if text.contains('\'') => double(text),
        _ => single(text),
    }
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn double(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || c == '\u{feff}' || ('\u{2028}'..='\u{2029}').contains(&c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether the text can stand without quotes, for readers of YAML 1.1 (which Cassandra has) and 1.2 alike.
fn is_plain(text: &str, in_flow: bool) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];
    let safe = |c: char| c.is_alphanumeric() || "_-./+@%=$() ".contains(c) || (!in_flow && ":,".contains(c));
    let Some(first) = text.chars().next() else { return false };
    let first_ok = first.is_alphanumeric() || "/_.$(".contains(first);
    // 1:30 is ninety to YAML 1.1, 1_000 a thousand, 2026-01-01 a date.
    let number_like = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.chars().all(|c| c.is_ascii_hexdigit() || "+-._:xoTtZz ".contains(c))
        && !is_address(text);
    first_ok
        && text.chars().all(safe)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains("  ")
        && !number_like
        && !WORDS.contains(&text.to_lowercase().as_str())
        && matches!(resolve(text, true, None), Some(Value::String(_)))
}

/// `127.0.0.1`, which no reader takes for a number.
fn is_address(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Whether text of many lines can be written as a `|` block and come back the same.
fn fits_literal(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{feff}' && !('\u{2028}'..='\u{2029}').contains(&c)))
        && text.lines().all(|l| !l.ends_with(' '))
}
