//! Two results side by side: figures and their ratios, and no claims beyond them.

use crate::base::error::{Error, Result};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Figures we know, in the order in which people read them, with their units.
const KNOWN: [(&str, &str); 12] = [
    ("ops", ""),
    ("errors", ""),
    ("throughput", "ops/s"),
    ("mean", "ms"),
    ("p50", "ms"),
    ("p90", "ms"),
    ("p95", "ms"),
    ("p99", "ms"),
    ("p999", "ms"),
    ("p9999", "ms"),
    ("p99999", "ms"),
    ("max", "ms"),
];

/// What came of comparing: text to read, and the ratios (second by first) in the shape of the results.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    pub table: String,
    pub ratios: Value,
}

/// Compares two results: maps of figures, or maps of tags to such maps.
///
/// Both must have the same tags, and say the same of their units where they do.
pub fn compare(first: &Value, second: &Value) -> Result<Comparison> {
    let (Some(a), Some(b)) = (first.as_object(), second.as_object()) else {
        return Err(Error::usage("compare takes two result maps, such as hdr::summary returns"));
    };
    let mut table = String::new();
    let ratios = level(a, b, "", &mut table)?;
    Ok(Comparison { table, ratios: Value::Object(ratios) })
}

fn level(a: &Map<String, Value>, b: &Map<String, Value>, name: &str, table: &mut String) -> Result<Map<String, Value>> {
    let tags = |map: &Map<String, Value>| map.iter().filter(|(_, v)| v.is_object()).map(|(k, _)| k.clone()).collect::<Vec<_>>();
    let (in_a, in_b) = (tags(a), tags(b));
    let extra = |mine: &[String], other: &[String]| mine.iter().find(|t| !other.contains(t)).cloned();
    let place = if name.is_empty() { String::new() } else { format!(" of {name}") };
    for (only, which) in [(extra(&in_a, &in_b), "first"), (extra(&in_b, &in_a), "second")] {
        if let Some(tag) = only {
            return Err(Error::usage(format!("the two results{place} are not of the same kind: only the {which} has \"{tag}\""))
                .hint(format!("The first has {}; the second has {}.", listed(&in_a), listed(&in_b))));
        }
    }
    for key in ["unit", "units"] {
        if let (Some(x), Some(y)) = (a.get(key), b.get(key))
            && x != y
        {
            return Err(Error::usage(format!("the two results{place} are in different units: {x} and {y}")));
        }
    }
    let mut ratios = Map::new();
    let figures = figures(a, b);
    if !figures.is_empty() {
        let _ = writeln!(
            table,
            "{:<20} {:>14} {:>14} {:>8}",
            if name.is_empty() { "figure" } else { name },
            "first",
            "second",
            "ratio"
        );
    }
    for key in figures {
        let (x, y) = (a.get(&key).and_then(Value::as_f64), b.get(&key).and_then(Value::as_f64));
        let ratio = x.zip(y).and_then(|(x, y)| ratio(x, y));
        let unit = KNOWN.iter().find(|(k, _)| *k == key).map_or("", |(_, u)| u);
        let label = if unit.is_empty() { key.clone() } else { format!("{key} ({unit})") };
        let shown = ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.3}"));
        let _ = writeln!(table, "  {label:<18} {:>14} {:>14} {shown:>8}", number(x), number(y));
        ratios.insert(key, ratio.map_or(Value::Null, Value::from));
    }
    for tag in in_a {
        if let (Some(Value::Object(x)), Some(Value::Object(y))) = (a.get(&tag), b.get(&tag)) {
            let full = if name.is_empty() { tag.clone() } else { format!("{name}.{tag}") };
            let inner = level(x, y, &full, table)?;
            ratios.insert(tag, Value::Object(inner));
        }
    }
    Ok(ratios)
}

/// Names of numbers that at least one of the two has: the known ones first.
fn figures(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<String> {
    let known = KNOWN.iter().map(|(k, _)| (*k).to_owned());
    let mut others: Vec<String> = a.keys().chain(b.keys()).filter(|k| !KNOWN.iter().any(|(n, _)| n == k)).cloned().collect();
    others.sort();
    others.dedup();
    let is_number = |k: &String| [a, b].iter().any(|m| m.get(k).is_some_and(Value::is_number));
    known.chain(others).filter(is_number).collect()
}

fn ratio(first: f64, second: f64) -> Option<f64> {
    if first == 0.0 { (second == 0.0).then_some(1.0) } else { Some(second / first).filter(|r| r.is_finite()) }
}

/// A number with as many digits as matter.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v.fract().abs() < f64::EPSILON && v.abs() < 1e15 => format!("{v:.0}"),
        Some(v) if v.abs() >= 100.0 => format!("{v:.1}"),
        Some(v) => format!("{v:.3}"),
    }
}

fn listed(tags: &[String]) -> String {
    if tags.is_empty() { "no tags".to_owned() } else { tags.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shows_figures_and_ratios_by_tag() {
        let a = json!({ "READ-st": { "ops": 1000, "throughput": 100.0, "p99": 2.5, "name": "x" } });
        let b = json!({ "READ-st": { "ops": 1500, "throughput": 150.5, "p99": 2.0, "max": 9.25 } });
        let out = compare(&a, &b).unwrap();
        assert_eq!(
            out.table,
            "READ-st                       first         second    ratio\n\
             \x20 ops                          1000           1500    1.500\n\
             \x20 throughput (ops/s)            100          150.5    1.505\n\
             \x20 p99 (ms)                    2.500              2    0.800\n\
             \x20 max (ms)                        -          9.250        -\n"
        );
        assert_eq!(out.ratios, json!({ "READ-st": { "ops": 1.5, "throughput": 1.505, "p99": 0.8, "max": null } }));
        assert_eq!(compare(&json!({ "p50": 0 }), &json!({ "p50": 0 })).unwrap().ratios, json!({ "p50": 1.0 }));
        assert_eq!(compare(&json!({ "p50": 0 }), &json!({ "p50": 1 })).unwrap().ratios, json!({ "p50": null }));
    }

    #[test]
    fn refuses_what_cannot_be_compared() {
        let says = |a: Value, b: Value| compare(&a, &b).unwrap_err().message().to_owned();
        assert_eq!(
            says(json!({ "READ-st": {} }), json!({ "WRITE-st": {} })),
            "the two results are not of the same kind: only the first has \"READ-st\""
        );
        assert_eq!(
            says(json!({ "x": { "unit": "ms", "p50": 1 } }), json!({ "x": { "unit": "us", "p50": 1 } })),
            "the two results of x are in different units: \"ms\" and \"us\""
        );
        assert!(says(json!([1]), json!({})).contains("two result maps"));
    }
}
