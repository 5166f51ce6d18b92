#!/usr/bin/env python3
"""Plays an instance of the fake EC2: a real OpenSSH server on stdin and stdout, to be used as ssh's ProxyCommand.

aws_machine.py [--whole] FOLDER ENDPOINT REGION ADDRESS [--boot]

With --boot it only boots, and has its console say so after two questions in vain.
With --whole all its files are its own (aws_machine_files.py), and an instance of an image that was made of another one begins with
that one's: roles can be applied to it, and baked. Shutting it down stops the instance. Processes, users and network are this machine's.

It stands for a machine with cloud-init, as far as a first contact sees one: at its first boot it makes host keys of its own (or
takes those of its user data's `ssh_keys`, runs its `bootcmd`, `write_files` and `runcmd`), and accepts the key pair it was
launched with. https://cloudinit.readthedocs.io/en/latest/reference/modules.html. Each instance keeps its own /etc/ssh and home
in FOLDER, mounted for its own processes only; all else is this machine's. An instance that does not run does not answer.
"""

import argparse
import base64
import email
import fcntl
import gzip
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse
import urllib.request

import yaml

from aws_machine_files import inside, take_over

SSHD = """HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
AuthorizedKeysFile .ssh/authorized_keys
PidFile none
UsePAM no
StrictModes no
MaxSessions 100
SetEnv SHLVL=2
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel ERROR
PrintMotd no
Subsystem sftp internal-sftp
"""
def parts(data):
    """The texts of user data, packed, MIME or plain: https://cloudinit.readthedocs.io/en/latest/explanation/format.html"""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if b"mime-version:" not in data[:4096].lower():
        return [data.decode()]
    message = email.message_from_string(data.decode())
    return [p.get_payload(decode=True).decode() for p in message.walk() if not p.is_multipart()]


def boot(folder, machine, given):
    """The first boot."""
    whole = given.whole
    if whole:
        take_over(folder, machine, given.endpoint, given.region)
    for name in ("etc-ssh", "home/.ssh"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "home/.ssh/authorized_keys").write_text(machine["public_key"].strip() + "\n")
    (folder / "sshd_config").write_text(SSHD.format(dir=folder))
    texts = parts(base64.b64decode(machine["user_data"]))
    # Of keys that two parts have the later one holds: https://cloudinit.readthedocs.io/en/latest/reference/merging.html
    cloud = {}
    for text in texts:
        if text.startswith("#cloud-config"):
            cloud |= yaml.safe_load(text)

    def run(commands):
        for command in commands or []:
            words = command if isinstance(command, list) else ["sh", "-c", command]
            with open(folder / "cloud-init.log", "a") as log:
                subprocess.run(inside(folder, whole, *words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)

    run(cloud.get("bootcmd"))
    for file in cloud.get("write_files") or []:
        run([["sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"', "sh", file["path"], file.get("content", "")]])
    keys = cloud.get("ssh_keys") or {}
    for name, text in keys.items():
        kind, half = name.rsplit("_", 1)
        path = folder / "etc-ssh" / (f"ssh_host_{kind}_key" + (".pub" if half == "public" else ""))
        path.write_text(text.strip() + "\n")
        path.chmod(0o600 if half == "private" else 0o644)
    if not keys:
        for kind in ("ed25519", "ecdsa"):
            path = folder / "etc-ssh" / f"ssh_host_{kind}_key"
            if not path.exists():
                subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "", "-t", kind, "-f", path], check=True, stdin=subprocess.DEVNULL)
    run(cloud.get("runcmd"))
    for number, text in enumerate(t for t in texts if t.startswith("#!")):
        script = folder / f"script-{number}"
        script.write_text(text)
        script.chmod(0o700)
        run([[str(script)]])
    (folder / "booted").touch()


def print_console(endpoint, folder, instance):
    """As cloud-init prints it: https://cloudinit.readthedocs.io/en/latest/reference/modules.html#keys-to-console"""
    keys = "".join(path.read_text() for path in sorted((folder / "etc-ssh").glob("ssh_host_*_key.pub")))
    output = f"[    1.0] Linux\r\n-----BEGIN SSH HOST KEY KEYS-----\r\n{keys}-----END SSH HOST KEY KEYS-----\r\nlogin: "
    body = json.dumps({"instance": instance, "output": output, "after": 2}).encode()
    urllib.request.urlopen(f"{endpoint}/_proxy/console", body).close()


def main():
    arguments = argparse.ArgumentParser(description="plays an instance of the fake EC2")
    arguments.add_argument("--whole", action="store_true")
    arguments.add_argument("--boot", action="store_true")
    for name in ("folder", "endpoint", "region", "address"):
        arguments.add_argument(name)
    given = arguments.parse_args()
    query = urllib.parse.urlencode({"region": given.region, "address": given.address})
    with urllib.request.urlopen(f"{given.endpoint}/_proxy/machine?{query}") as reply:
        machine = json.load(reply)
    if machine is None:
        sys.exit(f"no instance runs at {given.address}")
    folder = pathlib.Path(given.folder).resolve() / machine["id"]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "booted").exists():
            boot(folder, machine, given)
        if given.boot:
            return print_console(given.endpoint, folder, machine["id"])
        os.makedirs("/run/sshd", exist_ok=True)
        # Before the lock goes: two at a time must not both begin its files.
        command = inside(folder, given.whole, "/usr/sbin/sshd", "-i", "-e", "-f", str(folder / "sshd_config"))
    with open(folder / "sshd.log", "a") as log:
        os.dup2(log.fileno(), 2)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
