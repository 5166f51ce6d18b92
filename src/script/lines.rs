//! The lines that Rhai loses count of: in `#"…"#`, it takes no notice of a newline right after a quotation mark.

/// A newline that Rhai does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The line it ends, counted from 1.
    line: usize,
    /// The line on which the string began.
    start: usize,
}

/// The line of the text that Rhai means by its count.
pub fn real(lost: &[Lost], counted: usize) -> usize {
    lost.iter().fold(counted, |line, l| if line > l.line || (line == l.line && l.start < l.line) { line + 1 } else { line })
}

/// Finds all such newlines of a script.
pub fn lost(text: &str) -> Vec<Lost> {
    // Few scripts have such strings at all.
    if !text.contains("#\"") {
        return Vec::new();
    }
    let mut scan = Scan { bytes: text.as_bytes(), at: 0, line: 1, lost: Vec::new() };
    scan.script();
    scan.lost
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    lost: Vec<Lost>,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn follows(&self, word: &str) -> bool {
        self.bytes[self.at..].starts_with(word.as_bytes())
    }

    fn script(&mut self) {
        while let Some(byte) = self.next() {
            match byte {
                b'/' if self.follows("/") => while !self.follows("\n") && self.next().is_some() {},
                b'/' if self.follows("*") => self.comment(),
                b'"' | b'`' => self.string(byte),
                b'\'' => self.character(),
                b'#' => self.raw(),
                _ => {}
            }
        }
    }

    /// Comments may hold comments.
    fn comment(&mut self) {
        let mut depth = 0;
        loop {
            if self.follows("/*") {
                depth += 1;
                self.at += 2;
            } else if self.follows("*/") {
                depth -= 1;
                self.at += 2;
            } else if self.next().is_none() {
                return;
            }
            if depth == 0 && self.bytes[..self.at].ends_with(b"*/") {
                return;
            }
        }
    }

    fn string(&mut self, end: u8) {
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => {
                    self.next();
                }
                byte if byte == end => return,
                _ => {}
            }
        }
    }

    fn character(&mut self) {
        if self.next() == Some(b'\\') {
            self.next();
        }
        while !self.follows("'") && !self.follows("\n") && self.next().is_some() {}
        if self.follows("'") {
            self.next();
        }
    }

    /// `#"…"#`, with as many `#` behind as before.
    fn raw(&mut self) {
        let start = self.line;
        let mut hashes = 1;
        while self.follows("#") {
            self.at += 1;
            hashes += 1;
        }
        if !self.follows("\"") {
            return;
        }
        self.at += 1;
        let end = format!("\"{}", "#".repeat(hashes));
        while self.at < self.bytes.len() {
            if self.follows(&end) {
                self.at += end.len();
                return;
            }
            let quoted = self.follows("\"");
            self.next();
            if quoted {
                while self.follows("#") {
                    self.at += 1;
                }
                if self.follows("\n") {
                    self.lost.push(Lost { line: self.line, start });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Rhai counts for a throw at the end, put right, is the line it is on.
    #[test]
    fn agrees_with_rhai() {
        let engine = rhai::Engine::new();
        for before in [
            "let a = 1;\n",
            "let a = #\"\nx \"y\"\n\"z\"\n\"#;\n",
            "let a = ##\"\n\"#\n\"\n\"##;\nlet b = \"#\\\"x\";\n",
            "// #\"\nlet a = #{ x: \"#\" };\n/* \" /* #\" */ */\nlet c = '\"'; let d = #\"\"\n\"#;\n",
            "let t = `#\"\n\"\n`;\nlet a = #\"say \"hi\"\"#;\nlet b = #\"\"hi\"\n\n\"\n\"#;\n",
        ] {
            let text = format!("{before}throw 1;\n");
            let counted = engine.run(&text).unwrap_err().position().line().unwrap();
            let line = text.lines().position(|l| l == "throw 1;").unwrap() + 1;
            assert_eq!(real(&lost(&text), counted), line, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[#\"'`/*\\\\\n a-c{}]{0,40}") {
            let _ = lost(&text);
        }
    }
}
