//! Where the cursor stands in a line, so that completion knows what may come there.

use super::lex::{Kind, Token, open_brackets, tokens};

/// What is being typed at the cursor. `start` is where the typed part begins, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub start: usize,
    pub typed: String,
    pub what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// `:he`.
    Command,
    /// What follows `:doc `.
    Argument { command: String },
    /// A function, variable, module or keyword.
    Name,
    /// What follows `receiver.`.
    Member { receiver: Chain },
    /// What follows `module::`.
    ModuleMember { module: String },
    /// A key of an option map of a call.
    Option { call: Call, given: Vec<String> },
    /// Inside the text after `import`.
    Import,
    /// Inside a text that is an argument of a call; `argument` counts from 0.
    Text { call: Option<Call>, argument: usize },
    /// Comments, numbers, texts of no call: nothing to complete.
    Nothing,
}

/// A call that is still open at the cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// `sh`, or `file::read`.
    pub function: String,
    /// What it is called on, when it is called as a method.
    pub receiver: Option<Chain>,
}

/// An expression such as `d.nodes("server").first`, outermost step last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    pub root: Root,
    pub steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Root {
    Variable(String),
    /// `f(…)` or `m::f(…)`.
    Call(String),
    Text,
    Number,
    Array,
    Map,
    /// `(…)` and whatever else has no name.
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Property(String),
    Method(String),
    /// `[0]`, when it is a number.
    Index(Option<usize>),
}

/// Says where the end of this text is: what stands behind the cursor does not matter.
pub fn at_end(text: &str) -> Place {
    let place = |start: usize, what: What| Place { start, typed: text[start..].to_owned(), what };
    if let Some(command) = text.strip_prefix(':') {
        return match command.find(char::is_whitespace) {
            None => place(1, What::Command),
            // `:time` takes an expression: go on as if it stood alone.
            Some(end) if &command[..end] == "time" => shifted(at_end(&command[end..]), end + 1),
            Some(end) => {
                let start = text.rfind(char::is_whitespace).map_or(text.len(), |i| i + 1);
                place(start, What::Argument { command: command[..end].to_owned() })
            }
        };
    }
    let all = tokens(text);
    let Some(last) = all.last() else { return place(text.len(), What::Name) };
    match last.kind {
        Kind::Comment { open } if open || last.text.starts_with("//") && last.end() == text.len() => {
            return place(text.len(), What::Nothing);
        }
        Kind::Text { open: true } if last.end() == text.len() => return in_text(text, &all),
        Kind::Number if last.end() == text.len() => return place(text.len(), What::Nothing),
        _ => {}
    }
    let code: Vec<Token> = all.iter().filter(|t| !t.is_comment()).copied().collect();
    let touching = code.last().filter(|t| t.end() == text.len() && t.kind == Kind::Word);
    let (start, before) = match touching {
        Some(word) => (word.start, &code[..code.len() - 1]),
        None => (text.len(), &code[..]),
    };
    place(start, what_follows(before))
}

fn shifted(mut place: Place, by: usize) -> Place {
    place.start += by;
    place
}

fn what_follows(before: &[Token]) -> What {
    match before {
        [head @ .., dot] if dot.is(".") || dot.is("?.") => What::Member { receiver: chain(head) },
        [.., module, colons] if colons.is("::") && module.kind == Kind::Word => {
            What::ModuleMember { module: module_path(&before[..before.len() - 1]) }
        }
        _ => option_key(before).unwrap_or(What::Name),
    }
}

/// `a::b` before which the tokens end.
fn module_path(tokens: &[Token]) -> String {
    let mut path = vec![tokens[tokens.len() - 1].text];
    let mut rest = &tokens[..tokens.len() - 1];
    while let [head @ .., outer, colons] = rest
        && colons.is("::")
        && outer.kind == Kind::Word
    {
        path.insert(0, outer.text);
        rest = head;
    }
    path.join("::")
}

/// At `#{` or after a comma in it, when the map is an argument of a call.
fn option_key(before: &[Token]) -> Option<What> {
    let open = *open_brackets(before).last()?;
    if !before[open].is("#{") || !before.last().is_some_and(|t| t.is("#{") || t.is(",")) {
        return None;
    }
    let call = call_around(&before[..open])?.0;
    let inside = &before[open + 1..];
    let mut depth = 0;
    let mut given = Vec::new();
    for pair in inside.windows(2) {
        match pair[0].kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ if depth == 0 && pair[1].is(":") => given.push(pair[0].text.trim_matches('"').to_owned()),
            _ => {}
        }
    }
    Some(What::Option { call, given })
}

fn in_text(text: &str, all: &[Token]) -> Place {
    let last = all[all.len() - 1];
    let inside = &last.text[last.text.chars().next().map_or(0, char::len_utf8)..];
    let start = text.len() - inside.len();
    let code: Vec<Token> = all[..all.len() - 1].iter().filter(|t| !t.is_comment()).copied().collect();
    let what = if code.last().is_some_and(|t| t.is("import")) {
        What::Import
    } else {
        match call_around(&code) {
            Some((call, argument)) => What::Text { call: Some(call), argument },
            None => What::Text { call: None, argument: 0 },
        }
    };
    Place { start, typed: inside.to_owned(), what }
}

/// The innermost call whose parenthesis is the innermost open bracket, and the number of arguments before the end.
pub fn call_around(before: &[Token]) -> Option<(Call, usize)> {
    let open = *open_brackets(before).last()?;
    if !before[open].is("(") {
        return None;
    }
    let (name, head) = before[..open].split_last()?;
    if name.kind != Kind::Word || is_keyword(name.text) || head.last().is_some_and(|t| t.is("fn")) {
        return None;
    }
    let (function, receiver) = match head {
        [owner @ .., dot] if dot.is(".") || dot.is("?.") => (name.text.to_owned(), Some(chain(owner))),
        [.., colons] if colons.is("::") => (module_path(&before[..open]), None),
        _ => (name.text.to_owned(), None),
    };
    let mut depth = 0;
    let commas = before[open + 1..]
        .iter()
        .filter(|t| {
            match t.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                _ => {}
            }
            depth == 0 && t.is(",")
        })
        .count();
    Some((Call { function, receiver }, commas))
}

/// The innermost call that is open, be it from within a map or an array among its arguments.
pub fn call_far_around(before: &[Token]) -> Option<Call> {
    open_brackets(before).into_iter().rev().find_map(|open| call_around(&before[..=open])).map(|(call, _)| call)
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// Words that begin or join statements.
pub const KEYWORDS: [&str; 24] = [
    "let", "const", "fn", "if", "else", "for", "in", "while", "loop", "do", "until", "switch", "break", "continue", "return",
    "throw", "try", "catch", "import", "as", "true", "false", "this", "private",
];

/// The expression that ends where the tokens end.
fn chain(before: &[Token]) -> Chain {
    let mut steps = Vec::new();
    let mut rest = before;
    loop {
        let Some((last, head)) = rest.split_last() else { return Chain { root: Root::Unknown, steps: Vec::new() } };
        let root = match last.kind {
            Kind::Close if last.text == ")" => {
                let Some(open) = matching(rest) else { return unknown() };
                match rest[..open].split_last() {
                    Some((name, owner)) if name.kind == Kind::Word && !is_keyword(name.text) => {
                        if let Some((dot, owner)) = owner.split_last()
                            && (dot.is(".") || dot.is("?."))
                        {
                            steps.push(Step::Method(name.text.to_owned()));
                            rest = owner;
                            continue;
                        }
                        Root::Call(module_path(&rest[..open]))
                    }
                    _ => Root::Unknown,
                }
            }
            Kind::Close if last.text == "]" => {
                let Some(open) = matching(rest) else { return unknown() };
                let indexed = open > 0 && matches!(rest[open - 1].kind, Kind::Word | Kind::Close | Kind::Text { .. });
                if indexed && !is_keyword(rest[open - 1].text) {
                    let number = (open + 3 == rest.len()).then(|| rest[open + 1].text.parse().ok()).flatten();
                    steps.push(Step::Index(number));
                    rest = &rest[..open];
                    continue;
                }
                Root::Array
            }
            Kind::Close => match matching(rest) {
                Some(open) if rest[open].is("#{") => Root::Map,
                // `${x}` ends inside a text, and `{ … }` is a block.
                _ => Root::Unknown,
            },
            Kind::Word => {
                if let Some((dot, owner)) = head.split_last()
                    && (dot.is(".") || dot.is("?."))
                {
                    steps.push(Step::Property(last.text.to_owned()));
                    rest = owner;
                    continue;
                }
                Root::Variable(last.text.to_owned())
            }
            Kind::Text { .. } => Root::Text,
            Kind::Number => Root::Number,
            _ => Root::Unknown,
        };
        steps.reverse();
        return Chain { root, steps };
    }
}

fn unknown() -> Chain {
    Chain { root: Root::Unknown, steps: Vec::new() }
}

/// The index of the bracket that the last token closes.
fn matching(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().rev() {
        match token.kind {
            Kind::Close => depth += 1,
            Kind::Open => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str) -> What {
        at_end(text).what
    }

    fn variable(name: &str) -> Chain {
        Chain { root: Root::Variable(name.into()), steps: Vec::new() }
    }

    #[test]
    fn names_members_and_modules() {
        assert_eq!(at_end("let x = dep"), Place { start: 8, typed: "dep".into(), what: What::Name });
        assert_eq!(what(""), What::Name);
        assert_eq!(at_end("d.no"), Place { start: 2, typed: "no".into(), what: What::Member { receiver: variable("d") } });
        assert_eq!(what("print(file::re"), What::ModuleMember { module: "file".into() });
        let What::Member { receiver } = what("x + d.nodes(\"a\", #{}).first.facts()[0].") else { panic!() };
        assert_eq!(receiver.root, Root::Variable("d".into()));
        assert_eq!(
            receiver.steps,
            [Step::Method("nodes".into()), Step::Property("first".into()), Step::Method("facts".into()), Step::Index(Some(0))]
        );
        assert_eq!(
            what("deployment().n"),
            What::Member { receiver: Chain { root: Root::Call("deployment".into()), steps: Vec::new() } }
        );
        assert_eq!(what("1 // no"), What::Nothing);
        assert_eq!(what("12"), What::Nothing);
    }

    #[test]
    fn texts_know_their_call() {
        let place = at_end("d.nodes(\"ser");
        assert_eq!((place.start, place.typed.as_str()), (9, "ser"));
        assert_eq!(
            place.what,
            What::Text { call: Some(Call { function: "nodes".into(), receiver: Some(variable("d")) }), argument: 0 }
        );
        assert_eq!(what("import \"std/"), What::Import);
        let What::Text { call: Some(call), argument } = what("n.put(\"a\", \"/e") else { panic!() };
        assert_eq!((call.function.as_str(), argument), ("put", 1));
        let What::Text { call: Some(call), .. } = what("file::read(\"sc") else { panic!() };
        assert_eq!(call.function, "file::read");
        assert_eq!(what("let x = \"a"), What::Text { call: None, argument: 0 });
    }

    #[test]
    fn option_keys_know_their_call_and_what_is_given() {
        let place = at_end("n.sh(\"x\", #{ sudo: true, env: #{ A: \"b\" }, ti");
        let What::Option { call, given } = place.what else { panic!("{place:?}") };
        assert_eq!((call.function.as_str(), place.typed.as_str()), ("sh", "ti"));
        assert_eq!(given, ["sudo", "env"]);
        assert!(matches!(what("n.sh(\"x\", #{"), What::Option { .. }));
        assert_eq!(what("let m = #{ a"), What::Name);
        assert_eq!(what("n.sh(\"x\", #{ sudo: tr"), What::Name);
    }

    #[test]
    fn commands_and_their_arguments() {
        assert_eq!(at_end(":he"), Place { start: 1, typed: "he".into(), what: What::Command });
        assert_eq!(at_end(":doc sl"), Place { start: 5, typed: "sl".into(), what: What::Argument { command: "doc".into() } });
        assert_eq!(at_end(":time d.no"), Place { start: 8, typed: "no".into(), what: What::Member { receiver: variable("d") } });
    }

    proptest::proptest! {
        #[test]
        fn takes_any_text(text in "[ :a-z0-9é\"'`#{}()\\[\\]$.,/*\\\\\n_]{0,40}") {
            let place = at_end(&text);
            proptest::prop_assert!(text.get(place.start..) == Some(place.typed.as_str()));
        }
    }
}
