//! How the value of a line looks: maps as lines, results of many nodes as a table, long ones cut with a note.

use crate::base::secret::{self, Secret};
use crate::script::object::Object;
use crate::ui::style::Style;
use rhai::{Array, Dynamic, FnPtr, Map};

/// More lines than this are cut.
const LINES: usize = 100;
/// A string on one line is cut beyond this many characters.
const LONGEST_STRING: usize = 2_000;
/// A cell of a table is cut beyond this many characters even where there is room.
const WIDEST_CELL: usize = 100;
/// These columns come first; `LAST` come last; the others are in between, by name.
const FIRST: [&str; 9] = ["node", "name", "group", "index", "address", "ok", "code", "signal", "took"];
const LAST: [&str; 2] = ["stdout", "stderr"];

/// How wide the terminal is, whether it has colours, and how values of our own types are written.
pub struct Show<'a> {
    pub width: usize,
    pub style: Style,
    /// The text of a value that is none of Rhai's own types.
    pub custom: &'a dyn Fn(&Dynamic) -> String,
}

impl Show<'_> {
    /// The lines to print for a value; none for `()`.
    pub fn value(&self, value: &Dynamic) -> Option<String> {
        let value = value.flatten_clone();
        if value.is_unit() {
            return None;
        }
        let text = match value.as_immutable_string_ref() {
            // Output of a command, a file: what it looks like matters more than that it is a string.
            Ok(text) if text.contains('\n') => harmless(text.trim_end_matches('\n')),
            _ => self.block(&value, 0),
        };
        Some(cut_lines(&secret::mask(&text), self.style))
    }

    /// A value over as many lines as it needs; the first one continues a line that is `indent` wide already.
    fn block(&self, value: &Dynamic, indent: usize) -> String {
        let inline = self.inline(value);
        let fits = indent + inline.chars().count() <= self.width.min(100) && !inline.contains('\n');
        if let Ok(items) = value.as_array_ref() {
            if !items.is_empty() && items.iter().all(Dynamic::is_map) {
                if let Some(table) = self.table(&items) {
                    return at_indent(&table, indent);
                }
            } else if fits {
                return inline;
            }
            return self.items(&items, indent);
        }
        if let Ok(map) = value.as_map_ref() {
            let flat = map.values().all(|v| !v.is_map() && !v.is_array());
            return if map.is_empty() || fits && flat && map.len() <= 4 { inline } else { self.fields(&map, indent) };
        }
        if let Some(object) = value.read_lock::<Object>()
            && !fits
        {
            let inside = " ".repeat(indent + 2);
            return format!("{}\n{inside}{}", self.style.bold(&object.class().name), self.fields(&object.fields(), indent + 2));
        }
        match value.as_immutable_string_ref() {
            Ok(text) if text.contains('\n') => at_indent(&harmless(text.trim_end_matches('\n')), indent + 2),
            _ => inline,
        }
    }

    fn items(&self, items: &Array, indent: usize) -> String {
        let lines = items.iter().enumerate().map(|(i, item)| {
            let label = self.style.dim(&format!("[{i}]"));
            format!("{label} {}", self.block(item, indent + 4).trim_start_matches('\n'))
        });
        at_indent_from_first(&lines.collect::<Vec<_>>(), indent)
    }

    fn fields(&self, map: &Map, indent: usize) -> String {
        let keys = ordered(map.keys().map(ToString::to_string).collect());
        let width = keys.iter().map(|k| k.chars().count()).max().unwrap_or(0).min(24);
        let lines = keys.iter().map(|key| {
            let label = format!("{}:", self.style.cyan(key));
            let pad = " ".repeat((width + 1).saturating_sub(key.chars().count()));
            let value = &map[key.as_str()];
            let nested = value.is_map() || value.is_array();
            let text = if nested { self.block(value, indent + 2) } else { self.block(value, indent + width + 2) };
            if nested && text.contains('\n') {
                let text = text.trim_start_matches('\n');
                let gap = if text.starts_with(' ') { String::new() } else { " ".repeat(indent + 2) };
                format!("{label}\n{gap}{text}")
            } else if text.starts_with('\n') {
                format!("{label}{text}")
            } else {
                format!("{label}{pad}{text}")
            }
        });
        at_indent_from_first(&lines.collect::<Vec<_>>(), indent)
    }

    /// Maps with the same keys and plain values, one a row; none when they are too different for that.
    fn table(&self, rows: &Array) -> Option<String> {
        let rows: Vec<Map> = rows.iter().filter_map(|r| r.as_map_ref().ok().map(|m| m.clone())).collect();
        let keys = ordered(rows.first()?.keys().map(ToString::to_string).collect());
        let same = rows.iter().all(|r| r.len() == keys.len() && keys.iter().all(|k| r.contains_key(k.as_str())));
        if !same || keys.is_empty() || keys.len() > 16 {
            return None;
        }
        let mut columns: Vec<Vec<String>> = Vec::new();
        for key in keys {
            let cells: Vec<String> = rows.iter().map(|r| self.cell(&r[key.as_str()])).collect();
            if cells.iter().any(|c| !c.is_empty()) {
                columns.push(std::iter::once(key).chain(cells).collect());
            }
        }
        let natural: usize = columns.iter().map(|c| longest(c).min(24) + 2).sum();
        if natural > self.width + 2 && rows.len() <= 8 && columns.len() > 1 {
            // Few things with much to say of each: one a column.
            let count = rows.len() + 1;
            columns = (0..count).map(|row| columns.iter().map(|c| c[row].clone()).collect()).collect();
        }
        let widths = self.widths(&columns);
        let lines = (0..columns.first()?.len()).map(|row| {
            let cells = columns.iter().zip(&widths).map(|(column, width)| {
                let cell = cut(&column[row], *width);
                let pad = " ".repeat(width - cell.chars().count());
                if row == 0 { format!("{}{pad}", self.style.bold(&cell)) } else { format!("{cell}{pad}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        Some(lines.collect::<Vec<_>>().join("\n"))
    }

    /// As wide as the widest cell; where the terminal is too narrow, the widest columns give way.
    fn widths(&self, columns: &[Vec<String>]) -> Vec<usize> {
        let mut widths: Vec<usize> = columns.iter().map(|c| longest(c).clamp(1, WIDEST_CELL)).collect();
        let room = self.width.saturating_sub(2 * columns.len().saturating_sub(1)).max(columns.len() * 4);
        while widths.iter().sum::<usize>() > room
            && let Some(widest) = widths.iter_mut().max()
            && *widest > 4
        {
            *widest -= 1;
        }
        widths
    }

    fn cell(&self, value: &Dynamic) -> String {
        if value.is_unit() {
            return String::new();
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            let text = text.trim_end();
            let mut lines = text.lines();
            let first = harmless(lines.next().unwrap_or_default()).replace('\t', " ");
            return match lines.count() {
                0 => first,
                more => format!("{first} … +{more}"),
            };
        }
        match value.as_float() {
            Ok(float) if float.abs() >= 0.001 => number((float * 1000.0).round() / 1000.0),
            _ => self.inline(value),
        }
    }

    /// A value on one line.
    fn inline(&self, value: &Dynamic) -> String {
        if let Ok(text) = value.as_immutable_string_ref() {
            return quoted(&text);
        }
        if let Ok(float) = value.as_float() {
            return number(float);
        }
        if let Ok(items) = value.as_array_ref() {
            return format!("[{}]", items.iter().map(|i| self.inline(i)).collect::<Vec<_>>().join(", "));
        }
        if let Ok(map) = value.as_map_ref() {
            if map.is_empty() {
                return "#{}".to_owned();
            }
            let fields = ordered(map.keys().map(ToString::to_string).collect());
            let fields = fields.iter().map(|k| format!("{k}: {}", self.inline(&map[k.as_str()])));
            return format!("#{{ {} }}", fields.collect::<Vec<_>>().join(", "));
        }
        if value.is::<Secret>() {
            return "***".to_owned();
        }
        if let Some(function) = value.read_lock::<FnPtr>() {
            let name = function.fn_name();
            return if name.starts_with("anon$") { "a closure".to_owned() } else { format!("fn {name}") };
        }
        if value.is_unit() {
            return "()".to_owned();
        }
        if let Ok(c) = value.as_char() {
            return format!("'{}'", harmless(&c.to_string()));
        }
        if value.is_int() || value.is_bool() {
            return value.to_string();
        }
        (self.custom)(value)
    }
}

/// What a variable's value is, on one line: for `:vars`.
pub fn summary(show: &Show, kind: &str, value: &Dynamic) -> String {
    let value = value.flatten_clone();
    format!("{}  {}", show.style.dim(kind), cut(&secret::mask(&show.inline(&value)), show.width.saturating_sub(32).max(20)))
}

fn longest(column: &[String]) -> usize {
    column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0)
}

fn ordered(mut keys: Vec<String>) -> Vec<String> {
    let rank = |key: &str| match (FIRST.iter().position(|f| *f == key), LAST.iter().position(|l| *l == key)) {
        (Some(first), _) => first,
        (_, Some(last)) => FIRST.len() + 1 + last,
        _ => FIRST.len(),
    };
    keys.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    keys
}

/// Whole numbers keep their `.0`, so that they are told from integers; long fractions are cut.
fn number(float: f64) -> String {
    if float.abs() >= 1e-3 && float.abs() < 1e15 {
        let text = format!("{float:.6}");
        let text = text.trim_end_matches('0');
        return if text.ends_with('.') { format!("{text}0") } else { text.to_owned() };
    }
    if float == 0.0 { "0.0".to_owned() } else { format!("{float:e}") }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().take(LONGEST_STRING) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    let more = text.chars().count().saturating_sub(LONGEST_STRING);
    if more > 0 { format!("{out} … and {more} more characters") } else { out }
}

/// Control characters would do things to the terminal: they are shown, and not sent.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {}
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

fn cut_lines(text: &str, style: Style) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= LINES {
        return text.to_owned();
    }
    let note = format!("… and {} more lines; print(_) shows everything", lines.len() - LINES);
    format!("{}\n{}", lines[..LINES].join("\n"), style.dim(&note))
}

/// Several lines on lines of their own; a single one as it is.
fn at_indent(text: &str, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let lines: Vec<String> = text.lines().map(|l| if l.is_empty() { String::new() } else { format!("{pad}{l}") }).collect();
    let start = if indent > 0 { "\n" } else { "" };
    format!("{start}{}", lines.join("\n"))
}

/// Entries one below the other, the first where we stand.
fn at_indent_from_first(entries: &[String], indent: usize) -> String {
    entries.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(script: &str) -> String {
        let value = rhai::Engine::new().eval::<Dynamic>(script).unwrap();
        let custom = |v: &Dynamic| format!("<{}>", v.type_name());
        Show { width: 80, style: Style::plain(), custom: &custom }.value(&value).unwrap_or_default()
    }

    #[test]
    fn plain_values() {
        assert_eq!(show("()"), "");
        assert_eq!(show("42"), "42");
        assert_eq!(show("1.0"), "1.0");
        assert_eq!(show("1.0/3.0"), "0.333333");
        assert_eq!(show("\"a \\\"b\\\"\""), "\"a \\\"b\\\"\"");
        assert_eq!(show("\"one\\ntwo\\n\""), "one\ntwo");
        assert_eq!(show("[1, \"x\", (), [2]]"), "[1, \"x\", (), [2]]");
        assert_eq!(show("#{ b: 1, a: \"x\" }"), "#{ a: \"x\", b: 1 }");
        assert_eq!(show("|x| x + 1"), "a closure");
        assert_eq!(show("\"a\\x1b[2J\\nb\""), "a\\u{1b}[2J\nb");
    }

    #[test]
    fn results_are_a_table_without_empty_columns() {
        let text = show(
            "[#{ node: \"server-0\", stdout: \"a\\nb\\nc\", stderr: \"\", code: 0, ok: true, signal: () },
              #{ node: \"server-10\", stdout: \"d\", stderr: \"\", code: 3, ok: false, signal: () }]",
        );
        assert_eq!(text, "node       ok     code  stdout\nserver-0   true   0     a … +2\nserver-10  false  3     d");
    }

    #[test]
    fn maps_of_maps_are_indented() {
        let text = show("#{ read: #{ p99: 1.5, ops: 100, list: [1, 2] }, a: 1, text: \"x\\ny\" }");
        assert_eq!(text, "a:    1\nread:\n  list: [1, 2]\n  ops:  100\n  p99:  1.5\ntext:\n        x\n        y");
    }

    #[test]
    fn what_is_long_is_cut_with_a_note() {
        let text = show("let a = []; for i in 0..500 { a.push(`line number ${i}`); } a");
        assert_eq!(text.lines().count(), LINES + 1);
        assert!(text.ends_with("… and 400 more lines; print(_) shows everything"), "{text}");
        let wide = show(
            "[#{ node: \"a\", stdout: \"xxxxxxxxxx\".pad(500, 'x') }]; let s = \"\"; s.pad(300, 'x'); [#{ node: \"a\", stdout: s }]",
        );
        assert!(wide.lines().all(|l| l.chars().count() <= 80), "{wide}");
    }
}
