//! The REPL as a person meets it, in a real pseudo-terminal, and as a pipe does.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use nix::sys::termios::{LocalFlags, tcgetattr};
use rexpect::process::{Signal, WaitStatus};
use rexpect::session::{Options, PtySession, spawn_with_options};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

const PROMPT: &str = "> ";
const CTRL_C: char = 'c';
const CTRL_D: char = 'd';

/// The terminal, and how many marks have been printed on it.
struct Terminal(PtySession, usize);

impl Terminal {
    fn open(lab: &Lab, args: &[&str]) -> Self {
        let mut command = lab.command(&[&["repl"], args].concat());
        command.stdin(Stdio::inherit()).env("TERM", "xterm").env("XDG_STATE_HOME", lab.path("state"));
        let options = Options::new().timeout_ms(Some(30_000)).strip_ansi_escape_codes(true);
        let mut terminal = Self(spawn_with_options(command, options).unwrap(), 0);
        terminal.sees("Ctrl-D leaves");
        terminal.sees(PROMPT);
        terminal
    }

    fn types(&mut self, text: &str) {
        self.0.send(text).unwrap();
        self.0.flush().unwrap();
    }

    fn sees(&mut self, text: &str) -> String {
        self.0.exp_string(text).unwrap_or_else(|e| panic!("waiting for {text:?}: {e}"))
    }

    /// Types a line, and returns what comes until the next line runs. The editor draws the prompt anew at every key,
    /// so only a mark that no echo contains tells where the answer ends.
    fn says(&mut self, line: &str) -> String {
        self.1 += 1;
        let mark = self.1;
        self.types(&format!("{line}\n"));
        self.types(&format!("print(\"mark\" + {mark});\n"));
        self.sees(&format!("mark{mark}\r\n"))
    }

    fn leaves(mut self) -> i32 {
        // Between two lines the terminal itself takes Ctrl-D, and nobody hears of it: so again, until somebody does.
        for _ in 0..100 {
            let _ = self.0.send_control(CTRL_D);
            std::thread::sleep(Duration::from_millis(100));
            match self.0.process().status() {
                Some(WaitStatus::StillAlive) => {}
                Some(WaitStatus::Exited(_, code)) => return code,
                other => panic!("{other:?}"),
            }
        }
        panic!("it does not leave");
    }

    fn code(&self) -> i32 {
        match self.0.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }
}

fn history(lab: &Lab) -> PathBuf {
    lab.path("state/opsrun/history")
}

#[test]
fn a_session_keeps_what_lines_leave_behind() {
    let lab = Lab::new();
    let mut terminal = Terminal::open(&lab, &[]);
    terminal.says("let x = 40;");
    assert!(terminal.says("x + 2").contains("42"));
    assert!(terminal.says("_ * 2").contains("84"));
    let error = terminal.says("x + nothing");
    assert!(error.contains("error:") && error.contains("nothing"), "{error}");
    assert!(terminal.says("x").contains("40"));
    // Over several lines: the editor asks on until the bracket is closed.
    terminal.types("fn add(a, b) {\n");
    terminal.types("a + b\n");
    terminal.says("}");
    assert!(terminal.says("add(x, 3)").contains("43"));
    // Pasted as a whole, in the brackets that terminals put around a paste.
    terminal.types("\x1b[200~let a = 1;\nlet b = a + 1;\n[a,\n b, 77]\x1b[201~");
    assert!(terminal.says("").contains("[1, 2, 77]"));
    assert!(terminal.says(":vars").contains("add"));
    let unknown = terminal.says(":hlep");
    assert!(unknown.contains("Did you mean :help?"), "{unknown}");
    assert_eq!(terminal.leaves(), 0);

    let file = history(&lab);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What was typed comes back in the next session.
    let mut terminal = Terminal::open(&lab, &[]);
    terminal.types(&"\x1b[A".repeat(6));
    terminal.sees("[a,");
    terminal.0.send_control(CTRL_C).unwrap();
    terminal.sees(PROMPT);
    assert_eq!(terminal.leaves(), 0);
}

#[test]
fn ctrl_c_stops_the_line_and_not_the_session() {
    let lab = Lab::provisioned();
    let mut terminal = Terminal::open(&lab, &["lab"]);
    terminal.says("let kept = 7;");
    for endless in ["loop {}", "sleep(\"10m\")", "d.nodes(\"server\").sh(\"echo begun; exec sleep 613\")"] {
        terminal.types(&format!("{endless}\n"));
        if endless.contains("begun") {
            terminal.sees("server-1 | begun");
        } else {
            std::thread::sleep(Duration::from_millis(300));
        }
        let started = Instant::now();
        terminal.0.send_control(CTRL_C).unwrap();
        terminal.sees("stopped:");
        terminal.sees(PROMPT);
        assert!(started.elapsed() < Duration::from_secs(5), "{endless}");
    }
    assert!(terminal.says("kept + 1").contains('8'));
    let alive = terminal.says("d.nodes(\"server\").sh(\"pgrep -f '[s]leep 613' || echo none left\", #{ collapse: true });");
    assert!(alive.contains("none left"), "{alive}");
    assert_eq!(terminal.leaves(), 0);
}

#[test]
fn what_tasks_say_appears_above_the_line_being_typed() {
    let lab = Lab::new();
    let mut terminal = Terminal::open(&lab, &[]);
    terminal.says("let t = task(|| { for i in 0..3 { sleep(\"300ms\"); print(\"tick\" + i); } });");
    terminal.types("40 +");
    terminal.sees("tick0\r\n");
    terminal.sees("tick2\r\n");
    terminal.sees("40 +");
    assert!(terminal.says(" 2").contains("42"));
    assert_eq!(terminal.leaves(), 0);
}

#[test]
fn a_kill_runs_what_was_put_off_and_leaves_the_terminal_usable() {
    let lab = Lab::new();
    let mut terminal = Terminal::open(&lab, &[]);
    terminal.says("defer(|| sh(\"touch done\"));");
    let line_mode = |terminal: &Terminal| {
        let mode = tcgetattr(terminal.0.process().get_file_handle().unwrap()).unwrap();
        mode.local_flags.contains(LocalFlags::ICANON)
    };
    std::thread::sleep(Duration::from_millis(200));
    assert!(!line_mode(&terminal));
    terminal.0.process_mut().signal(Signal::SIGTERM).unwrap();
    terminal.0.exp_eof().unwrap();
    assert_eq!(terminal.code(), 130);
    assert!(lab.path("done").exists());
    assert!(line_mode(&terminal));
}

#[test]
fn completes_nodes_members_and_options_and_shows_the_manual() {
    let lab = Lab::provisioned();
    let mut terminal = Terminal::open(&lab, &["lab"]);
    terminal.types("d.nodes(\"cl\t");
    terminal.sees("d.nodes(\"client");
    terminal.types("\t\t");
    terminal.sees("client-0");
    let names = terminal.says("\").nam\ts.len() + 699");
    assert!(names.contains("700"), "{names}");
    terminal.types("d.nodes().sh(\"true\", #{ time\t");
    terminal.sees("timeout: ");
    // F1 shows the manual of the call and gives the line back.
    terminal.types("\x1bOP");
    terminal.sees("Nodes.sh(");
    terminal.sees("Options:");
    terminal.sees("d.nodes().sh(\"true\", #{ timeout: ");
    terminal.says("\"5s\" });");
    terminal.says("let two = d.nodes(\"server\").take(2);");
    terminal.types("two.select(\"server-\t\t");
    terminal.sees("server-1");
    terminal.says("0\")");
    let doc = terminal.says(":doc sleep");
    assert!(doc.contains("Waits for a duration"), "{doc}");
    let nodes = terminal.says(":nodes client");
    assert!(nodes.contains("client-0") && !nodes.contains("server-0"), "{nodes}");
    let wrong = terminal.says("d.nodes(\"sevrer\")");
    assert!(wrong.contains("Did you mean \"server\"?"), "{wrong}");
    let result = terminal.says("d.nodes(\"server\").sh(\"echo out\", #{ quiet: true })");
    assert!(result.contains("node      ok    code") && result.contains("server-2  true  0"), "{result}");
    assert_eq!(terminal.leaves(), 0);
}

#[test]
fn secrets_are_neither_shown_nor_remembered() {
    let lab = Lab::new();
    let mut command = lab.command(&["repl"]);
    command
        .stdin(Stdio::inherit())
        .env("TERM", "xterm")
        .env("XDG_STATE_HOME", lab.path("state"))
        .env("DB_PASSWORD", "correct-horse-battery");
    let options = Options::new().timeout_ms(Some(30_000)).strip_ansi_escape_codes(true);
    let mut terminal = Terminal(spawn_with_options(command, options).unwrap(), 0);
    terminal.sees(PROMPT);
    // Typed before anybody knew that it is a secret.
    terminal.says("let early = \"correct-horse-battery\";");
    terminal.says("let p = secret(\"DB_PASSWORD\");");
    let shown = terminal.says("p");
    assert!(shown.contains("***"), "{shown}");
    assert!(terminal.says("#{ login: early }").contains("***"));
    terminal.says("let after = 1;");
    let saved = terminal.says(":save session.rhai");
    assert!(saved.contains("saved"), "{saved}");
    assert_eq!(terminal.leaves(), 0);
    let kept = std::fs::read_to_string(history(&lab)).unwrap();
    assert!(kept.contains("let after") && !kept.contains("horse") && !kept.contains("secret("), "{kept}");
    assert!(!std::fs::read_to_string(lab.path("session.rhai")).unwrap().contains("horse"));
}

fn piped(lab: &Lab, args: &[&str], lines: &str) -> Output {
    let mut command = lab.command(&[&["repl"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("XDG_STATE_HOME", lab.path("state"));
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_pipe_is_run_without_a_prompt() {
    let lab = Lab::new();
    let out =
        piped(&lab, &[], "let x = 1\nfn f(a) {\n  a + x_of_f()\n}\nfn x_of_f() { 41 }\nf(x)\n:time f(0)\n[#{a: 1}, #{a: 2}]\n");
    assert_ok(&out);
    assert_eq!(stdout(&out), "42\n41\na\n1\n2\n");
    assert!(!history(&lab).exists());

    let out = piped(&lab, &[], "fn f() {\n  throw \"deep\"\n}\n\nprint(\"before\");\nf();\nprint(\"after\");\n");
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(stdout(&out), "before\n");
    let text = stderr(&out);
    assert!(text.contains("error: deep\n  --> stdin:2:3\n  2 |   throw \"deep\""), "{text}");
    assert!(text.contains("called from stdin:6:1"), "{text}");

    let out = piped(&lab, &[], "1 + 1\nlet = 3\n");
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(1), "2\n"));
    assert!(stderr(&out).contains("stdin:2:5"), "{}", stderr(&out));
    let out = piped(&lab, &[], "defer(|| print(\"put off\"));\nexit(3);\nprint(\"never\");\n");
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(3), "put off\n"));
    let out = piped(&lab, &[], "print(1);\n:nonsense\n");
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("there is no command \":nonsense\"") && stderr(&out).contains("stdin:2"), "{}", stderr(&out));
}

#[test]
fn lines_may_be_given_on_the_command_line_and_files_loaded() {
    let lab = Lab::provisioned();
    lab.write("helpers.rhai", "fn double(x) { x * 2 }\nlet base = 20;\nprint(\"loaded\");\n");
    let out = lab.run(&["repl", "lab", "--load", "helpers.rhai", "-e", "double(base) + 2", "-e", "d.nodes().len"]);
    assert_ok(&out);
    assert_eq!(stdout(&out), "loaded\n42\n4\n");
    let out = lab.run(&["repl", "lba", "-e", "1"]);
    assert_ne!(out.status.code(), Some(0));
    assert!(stderr(&out).contains("lab"), "{}", stderr(&out));
    lab.write("broken.rhai", "let a = 1;\nlet b = a +;\n");
    let out = lab.run(&["repl", "--load", "broken.rhai"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("broken.rhai:2:"), "{}", stderr(&out));
}

#[test]
fn a_saved_session_runs_as_a_script() {
    let lab = Lab::provisioned();
    let lines = "let servers = d.nodes(\"server\")\nfn label(n) { \"old\" }\nfn label(n) { `<${n}>` }\nthis is no script\n";
    let out = piped(&lab, &["lab"], lines);
    assert_eq!(out.status.code(), Some(1));
    let lines = "let servers = d.nodes(\"server\")\nfn label(n) { \"old\" }\nfn label(n) { `<${n}>` }\nservers.len\nprint(label(_))\n:save again.rhai\n";
    let out = piped(&lab, &["lab"], lines);
    assert_ok(&out);
    let script = std::fs::read_to_string(lab.path("again.rhai")).unwrap();
    assert!(
        script.contains("// Run it: opsrun again.rhai lab\n\nlet d = deployment();\nlet servers = d.nodes(\"server\");\n"),
        "{script}"
    );
    let out = lab.run(&["again.rhai", "lab"]);
    assert_ok(&out);
    assert_eq!(stdout(&out), "<3>\n", "{script}");
    // It may be saved again, but a file of somebody else's is left alone.
    assert_ok(&piped(&lab, &["lab"], "1\n:save again.rhai\n"));
    lab.write("precious.rhai", "// by hand\n");
    let out = piped(&lab, &["lab"], "1\n:save precious.rhai\n");
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(lab.path("precious.rhai")).unwrap(), "// by hand\n");
}

#[test]
fn starts_at_once() {
    let lab = Lab::new();
    let best = (0..5)
        .map(|_| {
            let started = Instant::now();
            assert_ok(&lab.run(&["repl", "-e", "1"]));
            started.elapsed()
        })
        .min()
        .unwrap();
    // A debug build on a busy machine; a release build takes a tenth of it.
    assert!(best < Duration::from_millis(500), "{best:?}");
}
