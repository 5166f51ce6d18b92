//! The lines of a session as a script that can be run.

use super::lex::{Kind, Token, open_brackets, tokens};
use super::session::{LAST, Line, uses_last, with_last};
use crate::base::secret;
use std::collections::BTreeMap;

/// What a file holds that was written here.
pub const MARK: &str = "// Saved from `opsrun repl";

/// Writes the lines as a script: with a header, without what a later line has replaced, without secrets.
pub fn script(lines: &[Line], deployment: Option<&str>, file: &str) -> String {
    let named = deployment.map(|d| format!(" {d}")).unwrap_or_default();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let mut out = format!("#!/usr/bin/env -S opsrun run\n{MARK}{named}` on {now}.\n// Run it: opsrun {file}{named}\n\n");
    if deployment.is_some() {
        out.push_str("let d = deployment();\n");
    }
    let replaced = replaced_functions(lines);
    for (i, line) in lines.iter().enumerate() {
        if *secret::mask(&line.text) != line.text {
            out.push_str("// A line with a secret in it was left out here. Use secret(\"NAME\") instead.\n");
            continue;
        }
        let mut text = without(&line.text, replaced.get(&i).map(Vec::as_slice).unwrap_or_default());
        // The value that a later `_` means gets a name.
        if line.has_value && lines[i + 1..].iter().take_while_inclusive(|l| !l.has_value).any(|l| uses_last(&l.text)) {
            text = with_named_value(&text);
        }
        let text = with_last(text.trim());
        if text.is_empty() {
            continue;
        }
        out.push_str(&text);
        if needs_semicolon(&text) {
            out.push(';');
        }
        out.push('\n');
    }
    out
}

/// Up to and with the first that the condition does not hold for.
trait TakeWhileInclusive: Iterator + Sized {
    fn take_while_inclusive(self, keep: impl Fn(&Self::Item) -> bool) -> impl Iterator<Item = Self::Item> {
        let mut over = false;
        self.take_while(move |item| {
            let take = !over;
            over |= !keep(item);
            take
        })
    }
}

impl<I: Iterator> TakeWhileInclusive for I {}

/// `let x = 1; x + 1` with a name for its last expression.
fn with_named_value(text: &str) -> String {
    let all = tokens(text);
    let code: Vec<Token> = all.iter().filter(|t| !t.is_comment()).copied().collect();
    let (mut depth, mut start) = (0, 0);
    for (i, token) in code.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ if depth == 0 && token.is(";") && i + 1 < code.len() => start = code[i + 1].start,
            _ => {}
        }
    }
    let start = if start == 0 { code.first().map_or(0, |t| t.start) } else { start };
    format!("{}let {LAST} = {}", &text[..start], &text[start..])
}

fn needs_semicolon(text: &str) -> bool {
    let all = tokens(text);
    let Some(last) = all.iter().rev().find(|t| !t.is_comment()) else { return false };
    // A comment at the end would swallow it.
    let comment = all.last().is_some_and(|t| t.text.starts_with("//"));
    let block = last.is("}") && starts_block(&all);
    !(last.is(";") || comment || block)
}

fn starts_block(tokens: &[Token]) -> bool {
    let first = tokens.iter().find(|t| !t.is_comment());
    first.is_some_and(|t| ["fn", "private", "if", "for", "while", "loop", "try"].contains(&t.text))
}

/// A `fn` of a line: its name, number of parameters and bytes.
struct Declared {
    key: (String, usize),
    range: (usize, usize),
}

fn declared(text: &str) -> Vec<Declared> {
    let all = tokens(text);
    let mut found = Vec::new();
    let mut i = 0;
    while i < all.len() {
        let top = all[i].is("fn") && open_brackets(&all[..i]).is_empty();
        if top && let Some(open) = (i..all.len()).find(|j| all[*j].is("(")) {
            let close = end_of_bracket(&all, open);
            let body = (close..all.len()).find(|j| all[*j].is("{"));
            if let Some(body) = body {
                let end = end_of_bracket(&all, body);
                let name: String = all[i + 1..open].iter().map(|t| t.text).collect();
                let params = all[open + 1..close].iter().filter(|t| t.kind == Kind::Word).count();
                let start = if i > 0 && all[i - 1].is("private") { all[i - 1].start } else { all[i].start };
                found.push(Declared { key: (name, params), range: (start, all[end].end()) });
                i = end;
            }
        }
        i += 1;
    }
    found
}

fn end_of_bracket(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

/// Functions that a later line declares anew: in a script, each may be there only once.
fn replaced_functions(lines: &[Line]) -> BTreeMap<usize, Vec<(usize, usize)>> {
    let mut last: BTreeMap<(String, usize), usize> = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        for function in declared(&line.text) {
            last.insert(function.key, i);
        }
    }
    let mut replaced: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        for function in declared(&line.text) {
            if last.get(&function.key).is_some_and(|l| *l > i) {
                replaced.entry(i).or_default().push(function.range);
            }
        }
    }
    replaced
}

fn without(text: &str, ranges: &[(usize, usize)]) -> String {
    let mut out = text.to_owned();
    for (start, end) in ranges.iter().rev() {
        out.replace_range(start..end, "");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(lines: &[(&str, bool)]) -> String {
        let lines: Vec<Line> = lines.iter().map(|(t, v)| Line { text: (*t).to_owned(), has_value: *v }).collect();
        let text = script(&lines, Some("4504"), "a.rhai");
        text.split_once("deployment();\n").unwrap().1.to_owned()
    }

    #[test]
    fn writes_lines_that_run() {
        assert_eq!(
            saved(&[("let x = 1", false), ("x + 1;", true), ("if x > 0 { print(x) }", false)]),
            "let x = 1;\nx + 1;\nif x > 0 { print(x) }\n"
        );
        assert_eq!(
            saved(&[("fn f(a) { a }", false), ("f(1)", true), ("fn f(b) { b + 1 }", false)]),
            "f(1);\nfn f(b) { b + 1 }\n"
        );
        assert_eq!(
            saved(&[("let a = 1; a + 1", true), ("let b = 2", false), ("_ * 2", true), ("switch b { _ => 1 }", true)]),
            "let a = 1; let _last = a + 1;\nlet b = 2;\n_last * 2;\nswitch b { _ => 1 };\n"
        );
        secret::register("hunter2-of-save");
        assert!(!saved(&[("let p = \"hunter2-of-save\"", false)]).contains("hunter2"));
    }

    #[test]
    fn says_how_to_run_it() {
        let text = script(&[], None, "a.rhai");
        assert!(text.starts_with("#!/usr/bin/env -S opsrun run\n// Saved from `opsrun repl` on 20"), "{text}");
        assert!(text.contains("// Run it: opsrun a.rhai\n"), "{text}");
    }
}
