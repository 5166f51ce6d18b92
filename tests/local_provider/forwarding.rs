//! Ports carried both ways.

use crate::lab::{Lab, eventually, text};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};

/// Answers every connection with what it sent, in upper case, once that is all there.
fn shouter(address: &str) -> u16 {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            std::thread::spawn(move || {
                let mut tcp = tcp.unwrap();
                let mut text = Vec::new();
                let _ = tcp.read_to_end(&mut text);
                let _ = tcp.write_all(&text.to_ascii_uppercase());
            });
        }
    });
    port
}

fn shout(address: (&str, u16), text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(address)?;
    let mut writer = tcp.try_clone()?;
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Where nobody listens, this fails or not, as it happens: what comes back tells.
            let _ = writer.write_all(text).and_then(|()| writer.shutdown(Shutdown::Write));
        });
        tcp.read_to_end(&mut back).map(|_| ())
    })?;
    Ok(back)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn local_ports_reach_services_of_the_node() {
    let lab = Lab::new();
    let node = lab.node();
    let anywhere = shouter("127.0.0.1:0");
    let on_node = shouter(&format!("{}:0", node.endpoint.host));
    let ports = [free_port(), free_port(), free_port()];
    let ssh = lab
        .tool("ssh", std::slice::from_ref(&node))
        .arg("-N")
        .args(["-L", &format!("{}:127.0.0.1:{anywhere}", ports[0])])
        .args(["-L", &format!("{}:localhost:{on_node}", ports[1])])
        .args(["-L", &format!("{}:127.0.0.1:1", ports[2])])
        .stderr(Stdio::null())
        .arg("server-0")
        .spawn()
        .unwrap();
    eventually("the forwarding listens", || shout(("127.0.0.1", ports[0]), b"x").is_ok());
    let much = b"binary \xff and much of it ".repeat(400_000);
    assert!(shout(("127.0.0.1", ports[0]), &much).unwrap() == much.to_ascii_uppercase());
    assert_eq!(shout(("127.0.0.1", ports[1]), b"on the node").unwrap(), b"ON THE NODE", "its localhost is its own address");
    assert!(shout(("127.0.0.1", ports[2]), b"x").unwrap_or_default().is_empty());
    end(ssh);
}

#[test]
fn remote_ports_reach_back_to_the_client_and_close_with_it() {
    let lab = Lab::new();
    let node = lab.node();
    let here = shouter("127.0.0.1:0");
    let port = free_port();
    let ssh = lab
        .tool("ssh", std::slice::from_ref(&node))
        .args(["-N", "-o", "ExitOnForwardFailure=yes", "-R", &format!("{port}:127.0.0.1:{here}"), "server-0"])
        .spawn()
        .unwrap();
    eventually("the node listens", || shout(("127.0.0.1", port), b"x").is_ok());
    let much = vec![b'q'; 10 << 20];
    assert!(shout(("127.0.0.1", port), &much).unwrap() == much.to_ascii_uppercase());
    let second = lab
        .tool("ssh", std::slice::from_ref(&node))
        .args([
            "-N",
            "-o",
            "ExitOnForwardFailure=yes",
            "-o",
            "LogLevel=INFO",
            "-R",
            &format!("{port}:127.0.0.1:{here}"),
            "server-0",
        ])
        .output()
        .unwrap();
    assert!(text(&second.stderr).contains("remote port forwarding failed"), "{}", text(&second.stderr));
    end(ssh);
    eventually("the port is closed", || TcpStream::connect(("127.0.0.1", port)).is_err());
    let mut any = lab
        .tool("ssh", std::slice::from_ref(&node))
        .args(["-N", "-o", "LogLevel=INFO", "-R", &format!("0:127.0.0.1:{here}"), "server-0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(any.stderr.take().unwrap()), &mut line).unwrap();
    let port = line.split_whitespace().nth(2).and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    assert_eq!(shout(("127.0.0.1", port), b"any").unwrap(), b"ANY");
    end(any);
}
