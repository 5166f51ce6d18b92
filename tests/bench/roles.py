#!/usr/bin/env python3
"""Measures a role of thirty resources beside Ansible and pyinfra, on real Debian machines, and prints Markdown tables.

roles.py [--opsrun PATH] [--runs N] [COUNT…]        COUNT: how many machines at once (default: 1 8)

Needs root (provider `machine`), install.sh, and a release build. For each count, each run and each program, new machines
are made from one image; the program is run once ("first") and three times more ("repeated": nothing is to be changed), and
the machines are removed. All three do the same: thirty/opsrun, thirty/ansible, thirty/pyinfra. Before anything is believed,
the files on the machines are compared.
"""

import argparse
import difflib
import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench import BENCH, HERE, HOME, PYTHON, machine, measure, seconds, table

THIRTY = HERE / "thirty"
NAME = "thirty"
IMAGE = "bench-thirty"
REPEATS = 3
LOOK = (
    "sha256sum /srv/app/conf/* /etc/environment /etc/security/limits.conf /etc/systemd/system/thirty.service | sort;"
    "stat -c '%n %U %G %a' /srv/app /srv/app/*; readlink /srv/app/current /usr/local/bin/app-shell; systemctl is-active thirty;"
    "systemctl is-enabled thirty; id thirty; grep -c 'alias l[la]=.ls -l' /etc/bash.bashrc; dpkg-query -W -f '${Status}' less"
)


def call(opsrun, *words, **options):
    env = os.environ | {"OPSRUN_HOME": str(HOME)}
    done = subprocess.run([opsrun, *words], env=env, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"opsrun {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


def provision(opsrun, count, image=IMAGE):
    config = BENCH / "thirty.yml"
    config.write_text(f"provider: machine\ngroups:\n  server: {{ count: {count}, image: {image} }}\n")
    call(opsrun, "provision", NAME, config, "--yes")


def deprovision(opsrun):
    call(opsrun, "deprovision", NAME, "--yes")


def make_image(opsrun):
    """What Ansible's modules need on a machine, so that no program waits for it."""
    if IMAGE in call(opsrun, "image", "ls"):
        return
    config = BENCH / "thirty.yml"
    config.write_text("provider: machine\ngroups:\n  server: { count: 1 }\n")
    call(opsrun, "provision", NAME, config, "--yes")
    call(opsrun, "exec", NAME, "server-0", "--", "apt-get update -q && apt-get install -y -q python3 python3-apt")
    call(opsrun, "node", "stop", NAME, "server-0")
    call(opsrun, "image", "save", NAME, "server-0", IMAGE)
    deprovision(opsrun)


def programs(opsrun):
    """Each program's command, and its environment."""
    site = HOME / "deployments" / NAME
    inventory = BENCH / "thirty_inventory.py"
    nodes = [line.split()[1] for line in (site / "ssh_config").read_text().splitlines() if line.strip().startswith("HostName ")]
    key = next(p for p in (site / "keys").iterdir() if p.suffix == "" and p.name.startswith("id"))
    data = {"ssh_user": "root", "ssh_key": str(key), "ssh_known_hosts_file": str(site / "known_hosts")}
    inventory.write_text(f"hosts = {[(n, data) for n in nodes]!r}\n")
    ansible = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(BENCH / "ansible"), "ANSIBLE_LOCALHOST_WARNING": "0"}
    play = [PYTHON.parent / "ansible-playbook", "-i", site / "inventory", "-f", "8", THIRTY / "ansible/site.yml"]
    infra = [PYTHON.parent / "pyinfra", "-y", inventory, THIRTY / "pyinfra/site.py"]
    deploy = [opsrun, "deploy", NAME, "--roles", "thirty"]
    return {
        "opsrun": (deploy, {"OPSRUN_HOME": str(HOME)}, THIRTY / "opsrun"),
        "pyinfra": (infra, None, BENCH),
        "Ansible": (play, ansible, BENCH),
    }


def compare(opsrun, count, runs):
    first, repeated, seen = {}, {}, {}
    for turn in range(runs):
        names = ["opsrun", "pyinfra", "Ansible"]
        for name in names if turn % 2 == 0 else reversed(names):
            provision(opsrun, count)
            words, env, folder = programs(opsrun)[name]
            os.chdir(folder)
            first.setdefault(name, []).append(measure(words, env, farm=False))
            for _ in range(REPEATS):
                repeated.setdefault(name, []).append(measure(words, env, farm=False))
            seen[name] = call(opsrun, "exec", NAME, "server-0", "--", LOOK)
            deprovision(opsrun)
    for name, state in seen.items():
        if state != seen["opsrun"]:
            both = difflib.unified_diff(seen["opsrun"].splitlines(), state.splitlines(), "opsrun", name, n=0, lineterm="")
            sys.exit(f"{name} left another state than opsrun:\n" + "\n".join(both))

    def rows(results):
        best = {name: statistics.median(r.wall for r in runs) for name, runs in results.items()}
        for name, r in results.items():
            cpu, memory = statistics.median(x.cpu for x in r), statistics.median(x.memory for x in r)
            yield [name, seconds(best[name]), f"{best[name] / best['opsrun']:.1f}", seconds(cpu), f"{memory:.0f} MiB"]

    columns = ["", "wall", "times opsrun's", "client CPU", "memory"]
    table(f"Thirty resources, {count} machine(s), first run", columns, rows(first))
    table(f"Thirty resources, {count} machine(s), repeated: nothing to change", columns, rows(repeated))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opsrun", default=HERE.parent.parent / "target/release/opsrun", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("counts", nargs="*", type=int, metavar="COUNT")
    args = parser.parse_args()
    opsrun = args.opsrun.resolve()
    if not opsrun.exists():
        sys.exit(f"{opsrun} is not there: cargo build --release")
    if not PYTHON.exists():
        sys.exit(f"no peers in {BENCH}: run install.sh")
    HOME.mkdir(parents=True, exist_ok=True)
    machine()
    make_image(opsrun)
    for count in args.counts or [1, 8]:
        compare(opsrun, count, args.runs)


if __name__ == "__main__":
    main()
