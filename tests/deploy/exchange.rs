//! What deploying costs on a real machine, and what becomes of it when the connection breaks or root is out of reach.
//!
//! Needs Linux, root, and: apt-get install systemd-container debootstrap iproute2 nftables.

use crate::lab::{Lab, assert_ok, shared_cache, stderr, stdout};
use crate::roles::on_node;

/// A project with one Debian machine, server-0, and the role `web`.
fn machine(main: &str) -> Lab {
    let lab = Lab::new();
    let cache = shared_cache();
    std::fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, lab.path("cache")).unwrap();
    lab.write("configs/m.yml", "provider: machine\nserver_count: 1\n");
    lab.write("roles/web/main.rhai", main);
    assert_ok(&lab.run(&["provision", "lab", "configs/m.yml", "--yes", "-q"]));
    lab
}

const THIRTY: &str = r#"
fn apply(nodes, vars) {
    nodes.user("www");
    for i in 0..5 { nodes.directory(`/srv/app ${i}`, #{ mode: "0750", owner: "www" }); }
    for i in 0..20 { nodes.file(`/srv/app ${i % 5}/file ${i}`, #{ content: `${i}`, owner: "www", notify: "reload ssh" }); }
    nodes.file("/srv/large", #{ content: vars.large });
    nodes.link("/srv/link", #{ to: "/srv/large" });
    nodes.packages(["openssh-server", "sudo"]);
    nodes.service("ssh", #{ state: "started", enabled: true });
}
"#;

/// How many commands sshd has started since this was last asked, this one not counted.
fn sessions(lab: &Lab) -> usize {
    let script = "journalctl -q -o cat -u ssh --cursor-file=/run/seen | grep -c 'Starting session: command' || true";
    on_node(lab, "server-0", script).trim().parse::<usize>().unwrap() - 1
}

#[test]
fn a_role_of_thirty_that_is_right_costs_one_round_trip() {
    let lab = machine(THIRTY);
    lab.write("roles/web/defaults.yml", &format!("large: {}\n", "x".repeat(200_000)));
    on_node(&lab, "server-0", "echo 'LogLevel VERBOSE' > /etc/ssh/sshd_config.d/verbose.conf; systemctl restart ssh");
    sessions(&lab);
    let first = lab.run(&["deploy", "lab", "--roles", "web"]);
    assert_ok(&first);
    // Reading; all changes; the handler, which is read and then run; and that it has run.
    assert_eq!(sessions(&lab), 5, "{}", stdout(&first));
    assert_eq!(on_node(&lab, "server-0", "stat -c '%U %a %s' '/srv/app 3/file 13' /srv/large"), "www 644 2\nroot 644 200000");
    sessions(&lab);
    let second = lab.run(&["deploy", "lab", "--roles", "web"]);
    assert_ok(&second);
    assert!(stdout(&second).contains("0 of 1 node changed"), "{}", stdout(&second));
    assert_eq!(sessions(&lab), 1);
    assert_eq!(on_node(&lab, "server-0", "ls -A /var/lib/opsrun/pending; ls /var/lib/opsrun | grep upload"), "");
}

#[test]
fn a_connection_that_breaks_in_the_middle_leaves_what_was_done_and_the_handlers() {
    let lab = machine(
        r#"
fn apply(nodes, vars) {
    nodes.file("/srv/before", #{ content: "x", notify: "restart cron-like" });
    nodes.command("touch /srv/tried; p=$$; until [ \"$(cat /proc/$p/comm)\" = sshd ]; do set -- $(cat /proc/$p/stat); p=$4; done; kill -9 $p; sleep 1", #{ creates: "/srv/tried" });
    nodes.file("/srv/after", #{ content: "x" });
}
"#,
    );
    let unit = "[Service]\\nExecStart=/bin/sh -c \"echo run >> /srv/log; sleep infinity\"\\n";
    on_node(&lab, "server-0", &format!("printf '{unit}' > /etc/systemd/system/cron-like.service; systemctl daemon-reload"));
    let broken = lab.run(&["deploy", "lab", "--roles", "web"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("the connection broke during command touch /srv/tried"), "{}", stderr(&broken));
    assert!(stderr(&broken).contains("hint: What was done before it stands"), "{}", stderr(&broken));
    assert_eq!(on_node(&lab, "server-0", "ls /srv; ls /var/lib/opsrun/pending/web"), "before\ntried\nrestart%20cron-like");
    let again = lab.run(&["deploy", "lab", "--roles", "web"]);
    assert_ok(&again);
    assert_eq!(on_node(&lab, "server-0", "cat /srv/log /srv/after; ls -A /var/lib/opsrun/pending"), "run\nx");
}

#[test]
fn a_user_needs_sudo_and_nothing_is_in_a_process_list() {
    let lab = machine(
        r#"
fn apply(nodes, vars) {
    nodes.file("/srv/secret", #{ content: vars.text, mode: "0600" });
    nodes.command("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' > /srv/processes", #{ creates: "/srv/processes" });
}
"#,
    );
    lab.write("roles/web/defaults.yml", &format!("text: hidden-word{}\n", "x".repeat(100_000)));
    let account = "useradd -m bob; cp -r /root/.ssh /home/bob/; chown -R bob /home/bob/.ssh; echo 'bob ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/bob";
    on_node(&lab, "server-0", account);
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.path("deployments/lab/state.json")).unwrap()).unwrap();
    let endpoint = &state["nodes"][0]["endpoint"];
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (host, key, known) = (word(&endpoint["host"]), word(&endpoint["keys"][0]), word(&endpoint["known_hosts"][0]));
    lab.write(
        "configs/bob.yml",
        &format!(
            "provider: static\nprivate_key_path: '{key}'\nknown_hosts: '{known}'\ngroups:\n  server:\n    hosts: [\"bob@{host}\"]\n"
        ),
    );
    assert_ok(&lab.run(&["provision", "bob", "configs/bob.yml", "--yes", "-q"]));
    let out = lab.run(&["deploy", "bob", "--roles", "web"]);
    assert_ok(&out);
    assert_eq!(
        on_node(&lab, "server-0", "stat -c '%U %a' /srv/secret; grep -c hidden-word /srv/processes || true"),
        "root 600\n0"
    );

    on_node(&lab, "server-0", "rm /etc/sudoers.d/bob");
    let out = lab.run(&["deploy", "bob", "--roles", "web"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("cannot become root: a password is required"), "{}", stderr(&out));
    assert!(stderr(&out).contains("hint: Log in as root, or let this user run sudo without a password"), "{}", stderr(&out));
}
