//! People are told: by a real mail server, a real web server and a real command.

use crate::lab::{Lab, assert_ok, stderr, stdout};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PASSWORD: &str = "correct-horse-battery";
/// For mails that are on their way already.
const WAIT: Duration = Duration::from_secs(30);

/// Servers that tell what they receive (`tests/support/receivers.py`).
struct Receivers {
    child: Child,
    heard: Receiver<Value>,
    ports: BTreeMap<String, u16>,
    certificate: PathBuf,
}

impl Receivers {
    fn start(dir: &Path) -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
        let python = cache.join("opsrun-test/aiosmtpd/bin/python");
        assert!(python.exists(), "this test needs a mail server ({} is missing): sh tests/setup.sh", python.display());
        let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("this test needs openssl: sh tests/setup.sh");
        assert_ok(&made);
        let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/receivers.py");
        let mut child = Command::new(python)
            .arg(support)
            .args([&certificate, &key])
            .env("MAIL_PASSWORD", PASSWORD)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONWARNINGS", "ignore")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|l| tell.send(serde_json::from_str::<Value>(&l).unwrap()))
        });
        let ports = serde_json::from_value(heard.recv_timeout(WAIT).expect("the servers start")).unwrap();
        Self { child, heard, ports, certificate }
    }

    fn next(&self) -> Value {
        self.heard.recv_timeout(WAIT).expect("something was sent")
    }

    fn nothing_more(&self) {
        assert_eq!(self.heard.try_recv().ok(), None);
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn lab() -> (Lab, Receivers) {
    let lab = Lab::new();
    lab.write("environments/common.yml", "app: shop\nformations: [network]\n");
    let receivers = Receivers::start(&lab.path(""));
    (lab, receivers)
}

impl Receivers {
    /// An environment `staging` with this `notify:`; `PORT_plain` and so on are the ports.
    fn environment(&self, lab: &Lab, notify: &str) {
        let notify = self
            .ports
            .iter()
            .fold(notify.to_owned(), |text, (name, port)| text.replace(&format!("PORT_{name}"), &port.to_string()));
        let secrets = "secrets: { mail: { env: MAIL }, hook: { env: HOOK } }";
        lab.write("environments/staging.yml", &format!("{secrets}\nnotify:\n{notify}"));
    }

    /// Tells everybody of the environment.
    fn tell(&self, lab: &Lab, options: &str) -> Output {
        lab.write(
            "tell.rhai",
            &format!("print(notify(\"staging: update failed\", #{{ environment: \"staging\", {options} }}));"),
        );
        lab.command(&["tell.rhai"])
            .env("MAIL", PASSWORD)
            .env("HOOK", format!("http://127.0.0.1:{}/services/T0/B0/secret-of-the-hook", self.ports["web"]))
            .env("SSL_CERT_FILE", &self.certificate)
            .output()
            .unwrap()
    }
}

#[test]
fn everybody_is_told_at_once() {
    let (lab, receivers) = lab();
    receivers.environment(
        &lab,
        "  email:
    server: localhost
    port: PORT_starttls
    user: ops
    password: { secret: mail }
    from: Opsrun <opsrun@example.com>
    to: [a@example.com, \"Bé <b@example.com>\"]
  slack: { url: { secret: hook } }
  command: { run: [sh, -c, 'cat > \"$1\"; env | grep ^OPSRUN_[OS] | sort >> \"$1\"; cat /proc/$$/cmdline >> \"$1\"', x, told here.txt] }
",
    );
    let out = receivers.tell(&lab, "failed: true, text: `first <line>\nit's \"ü\" & ${1 + 1}\n`");
    assert_ok(&out);
    assert_eq!((stdout(&out).as_str(), stderr(&out).as_str()), ("true\n", ""));
    let (mut mail, mut web) = (receivers.next(), receivers.next());
    if mail["port"] == "web" {
        std::mem::swap(&mut mail, &mut web);
    }
    assert_eq!((&mail["port"], &mail["user"], &mail["tls"]), (&json!("starttls"), &json!("ops"), &json!(true)));
    assert_eq!(mail["to"], json!(["a@example.com", "b@example.com"]));
    assert_eq!(mail["headers"]["from"], "Opsrun <opsrun@example.com>");
    assert_eq!(mail["headers"]["subject"], "staging: update failed");
    assert!(mail["headers"]["date"].is_string() && mail["headers"]["message-id"].is_string(), "{mail}");
    assert_eq!(mail["text"], "first <line>\nit's \"ü\" & 2");
    assert_eq!((&web["path"], &web["type"]), (&json!("/services/T0/B0/secret-of-the-hook"), &json!("application/json")));
    assert_eq!(web["json"]["text"], ":x: *staging: update failed*\n```\nfirst &lt;line&gt;\nit's \"ü\" &amp; 2\n```");
    let told = std::fs::read_to_string(lab.path("told here.txt")).unwrap();
    let begin = "first <line>\nit's \"ü\" & 2\nOPSRUN_OUTCOME=failed\nOPSRUN_SUBJECT=staging: update failed\n";
    assert!(told.contains(begin), "{told}");
    assert!(!told.replace(begin, "").contains("update"), "on the command line: {told}");
    receivers.nothing_more();
}

#[test]
fn mail_goes_over_tls_and_readable_without_a_password() {
    let (lab, receivers) = lab();
    let mail = |more: &str| format!("  email: {{ server: 127.0.0.1, from: o@example.com, to: a@example.com, {more} }}\n");
    receivers.environment(&lab, &mail("port: PORT_tls, security: tls, user: ops, password: { secret: mail }"));
    assert_eq!(stdout(&receivers.tell(&lab, "")), "true\n");
    let got = receivers.next();
    assert_eq!((&got["port"], &got["user"], &got["text"]), (&json!("tls"), &json!("ops"), &json!("staging: update failed")));
    receivers.environment(&lab, &mail("port: PORT_plain, security: none"));
    assert_eq!(stdout(&receivers.tell(&lab, "text: `.\n..x\n`")), "true\n");
    let got = receivers.next();
    assert_eq!((&got["tls"], &got["user"]), (&json!(false), &Value::Null));
    assert_eq!(got["text"], ".\n..x");
}

#[test]
fn only_failures_when_asked_so() {
    let (lab, receivers) = lab();
    receivers.environment(
        &lab,
        "  when: failure\n  slack: { url: { secret: hook } }\n  command: { run: [touch, told], when: always }\n",
    );
    assert_eq!(stdout(&receivers.tell(&lab, "")), "true\n");
    assert!(lab.path("told").exists());
    receivers.nothing_more();
    assert_eq!(stdout(&receivers.tell(&lab, "failed: true")), "true\n");
    assert_eq!(receivers.next()["port"], "web");
}

/// What each way says when it cannot tell, and that nothing else changes.
#[test]
fn one_that_fails_warns_and_the_others_are_told() {
    let (lab, receivers) = lab();
    let mail = |more: &str| {
        format!("  email: {{ server: localhost, from: o@example.com, {more} }}\n  command: {{ run: [touch, told] }}\n")
    };
    let login = "user: ops, password: { secret: mail }";
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cases = [
        (mail(&format!("to: a@example.com, port: {closed}")), format!("nobody was told by e-mail through localhost:{closed}: ")),
        (mail(&format!("to: refused@example.com, port: PORT_starttls, {login}")), "refuses: 550 5.1.1 no such user".to_owned()),
        (mail("to: a@example.com, port: PORT_starttls, user: ops, password: { secret: hook }"), "535".to_owned()),
        (mail(&format!("to: a@example.com, port: PORT_starttls, security: tls, {login}")), "leave `security` out".to_owned()),
        (mail("to: a@example.com, port: PORT_plain"), "STARTTLS".to_owned()),
        (mail("to: a@example.com, port: PORT_silent"), "(not done within 20s|localhost:\\d+ does not answer)".to_owned()),
    ];
    for (notify, expected) in cases {
        let _ = std::fs::remove_file(lab.path("told"));
        receivers.environment(&lab, &notify);
        let out = receivers.tell(&lab, "failed: true");
        assert_ok(&out);
        assert_eq!(stdout(&out), "false\n", "{notify}");
        println!("{}", stderr(&out));
        assert!(regex::Regex::new(&expected).unwrap().is_match(&stderr(&out)), "no {expected} in {}", stderr(&out));
        assert!(lab.path("told").exists(), "the command is another matter: {notify}");
        assert!(!stderr(&out).contains(PASSWORD) && !stderr(&out).contains("secret-of-the-hook"), "{}", stderr(&out));
        receivers.nothing_more();
    }
}

#[test]
fn a_hook_and_a_command_that_fail_show_no_secret() {
    let (lab, receivers) = lab();
    receivers
        .environment(&lab, "  slack: { url: { secret: hook } }\n  command: { run: [sh, -c, 'echo no pigeon >&2; exit 3'] }\n");
    let run = |hook: Option<String>| {
        let mut command = lab.command(&["tell.rhai"]);
        match hook {
            Some(hook) => command.env("HOOK", hook),
            None => command.env_remove("HOOK"),
        };
        lab.write("tell.rhai", "print(notify(\"x\", #{ environment: \"staging\" }));");
        let out = command.output().unwrap();
        assert_ok(&out);
        assert_eq!(stdout(&out), "false\n");
        assert!(
            stderr(&out).contains("nobody was told by command sh: command failed with exit code 3 (no pigeon)"),
            "{}",
            stderr(&out)
        );
        assert!(!stderr(&out).contains("hooked-secret"), "{}", stderr(&out));
        stderr(&out)
    };
    let said = run(Some(format!("http://127.0.0.1:{}/refuse/hooked-secret", receivers.ports["web"])));
    assert!(said.contains("nobody was told by Slack: the webhook answered 403 Forbidden (invalid_token)"), "{said}");
    let said = run(Some(format!("http://127.0.0.1:{}/hooked-secret", receivers.ports["silent"])));
    assert!(said.contains("by Slack: ") && said.contains("within 20s"), "{said}");
    let said = run(Some("hooked-secret".to_owned()));
    assert!(said.contains("the webhook is not a web address"), "{said}");
    let said = run(None);
    assert!(said.contains("the environment has no variable HOOK"), "{said}");
}

#[test]
fn mistakes_in_the_file_are_named_with_their_place() {
    let (lab, receivers) = lab();
    let mail = "server: m.example.com, from: o@example.com, to: a@example.com";
    let cases = [
        ("  emial: {}\n".to_owned(), vec!["unknown key `notify.emial`", "staging.yml:3", "Did you mean \"email\"?"]),
        (
            format!("  email: {{ {mail}, pasword: x }}\n"),
            vec!["unknown key `notify.email.pasword`", "Did you mean \"password\"?"],
        ),
        (
            format!("  email: {{ {mail}, user: o, password: topsecret }}\n"),
            vec!["`notify.email.password` must be { secret: NAME }"],
        ),
        (format!("  email: {{ {mail}, user: o }}\n"), vec!["`user` and `password` go together", "staging.yml:3"]),
        (
            format!("  email: {{ {mail}, security: none, user: o, password: {{ secret: mail }} }}\n"),
            vec!["for everybody to read", "security: tls"],
        ),
        ("  email: { server: m, from: o@example.com, to: [nobody] }\n".to_owned(), vec!["\"nobody\" is not an e-mail address"]),
        ("  email: { server: m, from: o@example.com }\n".to_owned(), vec!["`notify.email` has no `to`"]),
        ("  slack: { url: { secret: hok } }\n".to_owned(), vec!["there is no secret `hok`", "Did you mean \"hook\"?"]),
        ("  slack: { url: 'https://hooks.slack.com/topsecret' }\n".to_owned(), vec!["must be { secret: NAME }"]),
        ("  command: { run: ./tell.sh }\n".to_owned(), vec!["`notify.command.run` must be a list of words"]),
        ("  when: allways\n".to_owned(), vec!["`notify.when` must be always or failure", "Did you mean `always`?"]),
    ];
    for (notify, expected) in cases {
        receivers.environment(&lab, &notify);
        let out = lab.run(&["manage", "staging", "template"]);
        assert_eq!(out.status.code(), Some(2), "{notify}");
        for words in expected {
            assert!(stderr(&out).contains(words), "no \"{words}\" in {}", stderr(&out));
        }
        assert!(!stderr(&out).contains("topsecret"), "{}", stderr(&out));
    }
}
