//! A session without a terminal: what stays from line to line, and what may come at the cursor.

use super::complete::complete;
use super::docs;
use super::helper::{topic, wants_more};
use super::session::{Input, Outcome, Session};
use crate::base::cancel::Cancel;
use crate::base::error::{Kind, Result};
use crate::cli::App;
use crate::ui::style::Style;
use crate::ui::{Ui, UiSettings};
use rhai::Dynamic;
use std::path::Path;
use std::time::{Duration, Instant};

struct Talk {
    session: Session,
    _app: App,
}

impl Talk {
    fn new() -> Self {
        let app = App::new(Ui::new(UiSettings::default())).unwrap();
        let host = crate::cli::run::host(&app, Path::new("repl"), Vec::new(), None);
        Self { session: Session::new(host), _app: app }
    }

    fn after(lines: &[&str]) -> Self {
        let mut talk = Self::new();
        for line in lines {
            talk.run(line);
        }
        talk
    }

    fn say(&mut self, text: &str) -> Result<Dynamic> {
        self.say_with(text, Cancel::new())
    }

    /// A line whose value does not matter.
    fn run(&mut self, text: &str) {
        let _ = self.say(text).unwrap();
    }

    fn say_with(&mut self, text: &str, cancel: Cancel) -> Result<Dynamic> {
        let name = self.session.next_name();
        match self.session.eval(&Input { name: &name, text, whole: None }, cancel)? {
            Outcome::Value(value) => Ok(value),
            Outcome::Exit(code) => panic!("exit {code}"),
        }
    }

    fn int(&mut self, text: &str) -> i64 {
        self.say(text).unwrap().as_int().unwrap()
    }

    fn completions(&self, before: &str) -> Vec<String> {
        complete(&self.session, before).1.into_iter().map(|c| c.text).collect()
    }

    /// The only thing that can come.
    fn completed(&self, before: &str) -> String {
        let (start, found) = complete(&self.session, before);
        assert_eq!(found.len(), 1, "{before}: {found:?}");
        format!("{}{}", &before[..start], found[0].text)
    }
}

#[test]
fn variables_functions_and_constants_stay() {
    let mut talk = Talk::after(&["let x = 40", "fn add(a, b) { a + b }", "const C = 5", "fn c() { global::C }"]);
    assert_eq!(talk.int("add(x, 2)"), 42);
    assert_eq!(talk.int("_ + 1"), 43);
    assert_eq!(talk.int("let y = _; y * 2"), 86);
    assert_eq!(talk.int("c()"), 5);
    talk.run("fn add(a, b) { a * b }");
    assert_eq!(talk.int("add(x, 2)"), 80);
    talk.run("let x = \"shadowed\"");
    assert_eq!(talk.session.variables().iter().filter(|(n, ..)| n == "x").count(), 1);
    talk.run("let n = 0; let inc = || { n += 1; n };");
    talk.run("inc.call(); inc.call()");
    assert_eq!(talk.int("n"), 2);
    assert_eq!(talk.int("switch 3 { 1 => 2, _ => 7 }"), 7);
}

#[test]
fn imports_and_objects_stay() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("greet.rhai");
    let text = "/// Says hello.\n///\n/// Options: `loud`, `times` (3).\nfn hello(name, options) { `hello ${name}` }
fn counter() { object(\"Counter\", #{ n: 0 }) }
/// One more.
fn Counter.more() { this.n += 1; this.n }
fn Counter.by(step) { this.n += step; this.n }\n";
    std::fs::write(&module, text).unwrap();
    let mut talk = Talk::after(&[&format!("import \"{}\" as greet", module.display())]);
    assert_eq!(talk.say("greet::hello(\"you\", #{})").unwrap().to_string(), "hello you");
    talk.run("fn twice() { greet::hello(\"a\", #{}) + greet::hello(\"b\", #{}) }");
    assert_eq!(talk.say("twice()").unwrap().to_string(), "hello ahello b");
    talk.run("let c = greet::counter()");
    talk.run("c.more()");
    assert_eq!(talk.int("c.by(40) + 1"), 42);

    assert_eq!(talk.completed("gree"), "greet::");
    assert_eq!(talk.completed("let z = greet::h"), "let z = greet::hello(");
    assert_eq!(talk.completed("c.mo"), "c.more()");
    assert_eq!(talk.completions("c."), ["by(", "more()", "n"]);
    assert_eq!(talk.completed("greet::hello(\"x\", #{ l"), "greet::hello(\"x\", #{ loud: ");
    assert_eq!(talk.completions("greet::hello(\"x\", #{ loud: true, "), ["times: "]);
    let manual = docs::doc(&talk.session, "greet::hello", Style::plain()).unwrap();
    assert!(manual.starts_with("greet::hello(name, options)\n  Says hello."), "{manual}");
    assert!(docs::doc(&talk.session, "c.more", Style::plain()).unwrap().contains("One more."));
    assert_eq!(topic(&talk.session, "c.more(").as_deref(), Some("c.more"));
}

#[test]
fn a_module_imported_again_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("edited.rhai");
    std::fs::write(&module, "fn value() { 1 }").unwrap();
    let import = format!("import \"{}\" as edited", module.display());
    let mut talk = Talk::after(&[&import, "fn through() { edited::value() }"]);
    assert_eq!(talk.int("edited::value()"), 1);
    std::fs::write(&module, "fn value() { 2 }").unwrap();
    assert_eq!(talk.int("edited::value()"), 1);
    talk.run(&import);
    assert_eq!(talk.int("edited::value() + through()"), 4);
}

#[test]
fn an_error_keeps_what_came_before_it() {
    let mut talk = Talk::after(&["let a = 1"]);
    let error = talk.say("let b = a + 1; throw \"no\"; let c = 3").unwrap_err();
    assert_eq!(error.message(), "no");
    assert_eq!(talk.int("a + b"), 3);
    let error = talk.say("a + nothing").unwrap_err();
    assert_eq!((error.kind(), error.details().places[0].to_string().as_str()), (Kind::Script, "input 4:1:5"));
    assert!(talk.say("let = 3").is_err());
    talk.run("fn broken() {\n  throw \"inside\"\n}");
    let error = talk.say("broken()").unwrap_err();
    let places: Vec<String> = error.details().places.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["input 6:2:3", "input 7:1:1"]);
    assert_eq!(error.details().places[0].source.as_deref(), Some("  throw \"inside\""));
    assert_eq!(talk.int("a"), 1);
}

#[test]
fn a_stopped_line_keeps_the_session() {
    let mut talk = Talk::after(&["let a = 1"]);
    for endless in ["loop { a += 1; }", "sleep(\"60s\")", "parallel([1, 2], |x| sleep(\"60s\"))"] {
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            stop.cancel();
        });
        let started = Instant::now();
        assert!(talk.say_with(endless, cancel).unwrap_err().is_cancelled(), "{endless}");
        assert!(started.elapsed() < Duration::from_secs(5));
        stopper.join().unwrap();
    }
    assert!(talk.int("a") > 1);
    talk.run("let t = task(|| { sleep(\"20ms\"); 7 })");
    assert_eq!(talk.int("t.wait()"), 7);
}

#[test]
fn completes_names_members_and_options() {
    let talk =
        Talk::after(&["let wording = [\"a\"]", "let settings = #{ compaction: 1, deep: #{ inner: 2 } }", "fn my_own(x) { x }"]);
    assert_eq!(talk.completed("wordi"), "wording");
    assert_eq!(talk.completed("my_"), "my_own(");
    assert_eq!(talk.completed("deploym"), "deployment(");
    assert_eq!(talk.completed("paral"), "parallel(");
    assert!(talk.completions("wh").contains(&"while".to_owned()));
    assert_eq!(talk.completed("settings.compac"), "settings.compaction");
    assert_eq!(talk.completed("settings.deep.in"), "settings.deep.inner");
    assert!(talk.completions("wording.pu").contains(&"push(".to_owned()));
    let nodes = talk.completions("deployment().nodes().");
    for member in ["sh(", "put(", "first", "names", "wait_port("] {
        assert!(nodes.iter().any(|n| n.starts_with(member)), "{member} is not in {nodes:?}");
    }
    assert!(!nodes.contains(&"save_result(".to_owned()));
    assert!(talk.completions("unknown.save_r").contains(&"save_result(".to_owned()));
    let options = talk.completions("deployment().nodes().sh(\"x\", #{ ");
    assert!(options.contains(&"timeout: ".to_owned()) && options.contains(&"sudo: ".to_owned()), "{options:?}");
    assert!(!options.contains(&"node: ".to_owned()));
    assert!(!talk.completions("deployment().nodes().sh(\"x\", #{ sudo: true, ").contains(&"sudo: ".to_owned()));
    assert_eq!(talk.completions("1 // com"), Vec::<String>::new());
}

#[test]
fn completes_modules_paths_and_commands() {
    let talk = Talk::new();
    assert_eq!(talk.completed("import \"std/cassandra_f"), "import \"std/cassandra_files");
    assert_eq!(talk.completed(":hist"), ":history");
    assert_eq!(talk.completed(":load src/rep"), ":load src/repl/");
    assert_eq!(talk.completed(":doc Deployment.save_r"), ":doc Deployment.save_result");
    assert_eq!(talk.completed("n.put(\"Cargo.to"), "n.put(\"Cargo.toml");
    assert_eq!(talk.completions("n.put(\"x\", \"Cargo.to"), Vec::<String>::new());
    assert_eq!(talk.completed("n.put(\"src/re"), "n.put(\"src/repl/");
}

#[test]
fn the_manual_is_at_hand() {
    let talk = Talk::after(&["let text = \"x\""]);
    let manual = |name: &str| docs::doc(&talk.session, name, Style::plain()).unwrap();
    assert!(manual("sleep").contains("Waits for a duration"), "{}", manual("sleep"));
    assert!(manual("sh").contains("Nodes.sh("));
    assert!(manual("Nodes").contains("It has:"));
    let error = docs::doc(&talk.session, "slep", Style::plain()).unwrap_err();
    assert_eq!(error.details().hints, ["Did you mean \"sleep\"?"]);
    assert_eq!(topic(&talk.session, "sleep(").as_deref(), Some("sleep"));
    assert_eq!(topic(&talk.session, "deployment().nodes().sh(\"x").as_deref(), Some("Nodes.sh"));
    assert_eq!(topic(&talk.session, "deployment().nod").as_deref(), Some("Deployment.nod"));
    assert_eq!(topic(&talk.session, "deployment().nodes().sh(\"x\", #{ env: #{ A: ").as_deref(), Some("Nodes.sh"));
    assert_eq!(topic(&talk.session, ""), None);
}

#[test]
fn lines_go_on_while_something_is_open() {
    let talk = Talk::new();
    for open in ["fn f() {", "[1,", "`text", "/* note", "let x =", "1 +", "d.nodes(", "if true { 1 } else"] {
        assert!(wants_more(&talk.session, open), "{open}");
    }
    for whole in ["1 + 1", "let x = 3;", ":help (", "", "let = 3", ")", "\"open", "fn f() { 1 }", "// note {"] {
        assert!(!wants_more(&talk.session, whole), "{whole}");
    }
}
