//! The words of a line as it is being typed: enough of Rhai's grammar to know where the cursor stands and what is still open.
//!
//! Rhai's own tokenizer stops at the first thing that is not finished, which is exactly what a person at a prompt is looking at.

/// What a piece of text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A name or a keyword.
    Word,
    Number,
    /// A string, character or a part of an interpolated string. `open`: its end has not been typed yet.
    Text {
        open: bool,
    },
    Comment {
        open: bool,
    },
    /// `(`, `[`, `{`, `#{`, `${`.
    Open,
    /// `)`, `]`, `}`.
    Close,
    /// Everything else: operators, `.`, `::`, `,`, `;`.
    Symbol,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Where it starts, in bytes.
    pub start: usize,
}

impl Token<'_> {
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub fn is(&self, text: &str) -> bool {
        self.text == text && !matches!(self.kind, Kind::Text { .. } | Kind::Comment { .. })
    }

    pub fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Comment { .. })
    }
}

/// Symbols of more than one character that matter here; the longest first.
const SYMBOLS: [&str; 20] =
    ["...", "..=", "**=", "??=", "::", "=>", "==", "!=", "<=", ">=", "&&", "||", "+=", "-=", "*=", "/=", "?.", "?[", "??", ".."];

/// Splits the text into its words. Never fails: what makes no sense becomes a symbol.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    Lexer { text, at: 0, tokens: Vec::new(), brackets: Vec::new() }.run()
}

/// The brackets that are open at the end, as indexes of their tokens, outermost first.
pub fn open_brackets(tokens: &[Token]) -> Vec<usize> {
    let mut open = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => open.push(i),
            Kind::Close => {
                open.pop();
            }
            _ => {}
        }
    }
    open
}

/// Whether more lines must follow: a bracket, a comment or a text that may span lines is still open.
pub fn is_unfinished(text: &str) -> bool {
    let tokens = tokens(text);
    if let Some(last) = tokens.last() {
        match last.kind {
            Kind::Comment { open: true } => return true,
            // A text in double quotes spans lines only where a line ends in a backslash.
            Kind::Text { open: true } => return !last.text.starts_with(['"', '\'']) || last.text.ends_with('\\'),
            _ => {}
        }
    }
    !open_brackets(&tokens).is_empty()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token<'a>>,
    /// Open brackets; `$` stands for `${`, whose end resumes the text around it.
    brackets: Vec<char>,
}

impl<'a> Lexer<'a> {
    fn run(mut self) -> Vec<Token<'a>> {
        while let Some(c) = self.rest().chars().next() {
            let rest = self.rest();
            if c.is_whitespace() {
                self.at += c.len_utf8();
            } else if rest.starts_with("//") {
                self.push(Kind::Comment { open: false }, rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.comment();
            } else if c == '`' {
                self.back_ticked(1);
            } else if let Some(hashes) = raw_text(rest) {
                let end = format!("\"{}", &rest[..hashes]);
                let found = rest[hashes + 1..].find(&end).map(|i| hashes + 1 + i + end.len());
                self.push(Kind::Text { open: found.is_none() }, found.unwrap_or(rest.len()));
            } else if c == '"' || c == '\'' {
                self.quoted(c);
            } else if c.is_alphabetic() || c == '_' {
                self.push(Kind::Word, length_while(rest, |c| c.is_alphanumeric() || c == '_'));
            } else if c.is_ascii_digit() {
                self.number();
            } else if rest.starts_with("#{") {
                self.brackets.push('{');
                self.push(Kind::Open, 2);
            } else if matches!(c, '(' | '[' | '{') {
                self.brackets.push(c);
                self.push(Kind::Open, 1);
            } else if matches!(c, ')' | ']' | '}') {
                self.push(Kind::Close, 1);
                if self.brackets.pop() == Some('$') {
                    self.back_ticked(0);
                }
            } else {
                let length = SYMBOLS.iter().find(|s| rest.starts_with(**s)).map_or(c.len_utf8(), |s| s.len());
                self.push(Kind::Symbol, length);
            }
        }
        self.tokens
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, text: &self.text[self.at..self.at + length], start: self.at });
        self.at += length;
    }

    /// Block comments nest.
    fn comment(&mut self) {
        let rest = self.rest();
        let (mut depth, mut i) = (0, 0);
        while i < rest.len() {
            if rest[i..].starts_with("/*") {
                depth += 1;
                i += 2;
            } else if rest[i..].starts_with("*/") {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    break;
                }
            } else {
                i += rest[i..].chars().next().map_or(1, char::len_utf8);
            }
        }
        self.push(Kind::Comment { open: depth > 0 }, i);
    }

    /// A text in quotes; without its closing quote it ends with its line, unless that ends in a backslash.
    fn quoted(&mut self, quote: char) {
        let rest = self.rest();
        let mut escaped = false;
        for (i, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => return self.push(Kind::Text { open: true }, i),
                c if c == quote => return self.push(Kind::Text { open: false }, i + 1),
                _ => {}
            }
        }
        self.push(Kind::Text { open: true }, rest.len());
    }

    /// A text in back-ticks from `skip` on, up to its end or the next `${`.
    fn back_ticked(&mut self, skip: usize) {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut i = skip;
        while i < bytes.len() {
            if bytes[i] == b'`' {
                // Two of them are one that belongs to the text.
                if bytes.get(i + 1) == Some(&b'`') {
                    i += 2;
                    continue;
                }
                return self.push(Kind::Text { open: false }, i + 1);
            }
            if bytes[i] == b'$' && bytes.get(i + 1) == Some(&b'{') {
                self.push(Kind::Text { open: false }, i);
                self.brackets.push('$');
                return self.push(Kind::Open, 2);
            }
            i += 1;
        }
        self.push(Kind::Text { open: true }, rest.len());
    }

    /// `1_000`, `0xff`, `1.5e-3`; but `1..3` is a range and `1.max(2)` a call.
    fn number(&mut self) {
        let rest = self.rest();
        let mut length = length_while(rest, |c| c.is_ascii_alphanumeric() || c == '_');
        let mut after = rest[length..].chars();
        if after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
            length += 1 + length_while(&rest[length + 1..], |c| c.is_ascii_alphanumeric() || c == '_');
        }
        if rest[..length].ends_with(['e', 'E']) && !rest.starts_with("0x") && rest[length..].starts_with(['-', '+']) {
            length += 1 + length_while(&rest[length + 1..], |c| c.is_ascii_digit());
        }
        self.push(Kind::Number, length);
    }
}

/// The number of hashes of a raw text `#"…"#`.
fn raw_text(rest: &str) -> Option<usize> {
    let hashes = length_while(rest, |c| c == '#');
    (hashes > 0 && rest[hashes..].starts_with('"')).then_some(hashes)
}

fn length_while(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|t| t.text).collect()
    }

    #[test]
    fn splits_into_words() {
        assert_eq!(words("d.nodes(\"a b\").sh('x')"), ["d", ".", "nodes", "(", "\"a b\"", ")", ".", "sh", "(", "'x'", ")"]);
        assert_eq!(
            words("0..3 1.5 2.max(3) a::b ?? #{x:1}"),
            ["0", "..", "3", "1.5", "2", ".", "max", "(", "3", ")", "a", "::", "b", "??", "#{", "x", ":", "1", "}"]
        );
        assert_eq!(words("`a ${b(`c`)} d` // e"), ["`a ", "${", "b", "(", "`c`", ")", "}", " d`", "// e"]);
        assert_eq!(
            words("/* a /* b */ c */ x #\"raw \" text\"# \"é\\\"\""),
            ["/* a /* b */ c */", "x", "#\"raw \" text\"#", "\"é\\\"\""]
        );
    }

    #[test]
    fn knows_what_is_unfinished() {
        for open in ["foo(", "[1, 2", "if x {", "#{ a: 1,", "`text", "`a ${b", "/* note", "\"a \\", "|x| {", "#\"raw"] {
            assert!(is_unfinished(open), "{open}");
        }
        for closed in ["", "foo()", "\"never closed", "`a ${b} c`", "}", "// (", "'('", "/* ( */", "`a``b`"] {
            assert!(!is_unfinished(closed), "{closed}");
        }
    }

    proptest::proptest! {
        #[test]
        fn takes_any_text(text in "[ a-z0-9é\"'`#{}()\\[\\]$./*\\\\\n_]{0,40}") {
            let tokens = tokens(&text);
            for pair in tokens.windows(2) {
                proptest::prop_assert!(pair[0].end() <= pair[1].start);
            }
            let _ = is_unfinished(&text);
        }
    }
}
