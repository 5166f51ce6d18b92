//! Paths such as `seed_provider[0].parameters."a.b"`.

use crate::base::error::{Error, Result};
use std::fmt;

/// One step into a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The steps from the top of a document to a value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// Reads `a.b[0].c`; a key with dots, brackets or quotes in it stands in double quotes: `a."b.c"`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |at: usize, why: &str| {
            Error::usage(format!("\"{text}\" is not a path into YAML: {why} (character {})", text[..at].chars().count() + 1))
                .hint("Paths look like a.b[0].c; a key with dots in it stands in quotes: a.\"b.c\".")
        };
        let mut steps = Vec::new();
        let mut rest = text;
        let at = |rest: &str| text.len() - rest.len();
        loop {
            if let Some(after) = rest.strip_prefix('[') {
                let end = after.find(']').ok_or_else(|| bad(at(rest), "\"[\" is never closed"))?;
                let index = after[..end].parse().map_err(|_| bad(at(after), "a number is expected between \"[\" and \"]\""))?;
                steps.push(Step::Index(index));
                rest = &after[end + 1..];
            } else if let Some(after) = rest.strip_prefix('"') {
                let (key, left) = quoted(after).ok_or_else(|| bad(at(rest), "the quote is never closed"))?;
                steps.push(Step::Key(key));
                rest = left;
            } else {
                let end = rest.find(['.', '[', ']', '"']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(bad(at(rest), "a key is missing"));
                }
                steps.push(Step::Key(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            match rest.chars().next() {
                None => return Ok(Self(steps)),
                Some('[') => {}
                Some('.') => rest = &rest[1..],
                Some(_) => return Err(bad(at(rest), "\".\" or \"[\" is expected here")),
            }
        }
    }

    #[must_use]
    pub fn child(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The first `len` steps.
    #[must_use]
    pub fn prefix(&self, len: usize) -> Self {
        Self(self.0[..len].to_vec())
    }
}

/// A double-quoted key from after its opening quote, and what follows it. `\"` and `\\` stand for themselves.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((key, &text[at + 1..])),
            '\\' => key.push(chars.next()?.1),
            c => key.push(c),
        }
    }
    None
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if n > 0 {
                        f.write_str(".")?;
                    }
                    if key.is_empty() || key.contains(['.', '[', ']', '"', '\\']) {
                        write!(f, "\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))?;
                    } else {
                        f.write_str(key)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_indexes_and_quotes() {
        let key = |k: &str| Step::Key(k.into());
        assert_eq!(Path::parse("a.b[0].c").unwrap().0, [key("a"), key("b"), Step::Index(0), key("c")]);
        assert_eq!(Path::parse(r#"a."b.c"[1][2]"#).unwrap().0, [key("a"), key("b.c"), Step::Index(1), Step::Index(2)]);
        assert_eq!(Path::parse("[3].x-y z").unwrap().0, [Step::Index(3), key("x-y z")]);
        for bad in ["", ".", "a.", "a..b", "a[", "a[x]", "a[0]b", "\"a", "a]"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn prints_what_it_reads(keys in proptest::collection::vec(".{0,6}", 1..4)) {
            let path = Path(keys.into_iter().flat_map(|k| [Step::Key(k), Step::Index(7)]).collect());
            proptest::prop_assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = Path::parse(&text);
        }
    }
}
