#!/usr/bin/env python3
"""Measures opsrun beside its peers on the farm, and prints a Markdown table.

bench.py [--opsrun PATH] [--runs N] [WHAT…]        WHAT: fanout put start nodes (default: all)

For each run: wall time, CPU of the client (user and system, with all its child processes, without sshd) and
the resident memory of its largest process. Programs take turns, and the table shows medians.
The environment's BENCH_DIR says where farm and peers are (see farm.sh and install.sh).
"""

import argparse
import ctypes
import datetime
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = Path(os.environ.get("BENCH_DIR", "/tmp/opsrun-bench"))
FARM = BENCH / "farm"
HOME = BENCH / "home"
PYTHON = BENCH / "peers/bin/python"
CORES = os.cpu_count() or 1
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
KEPT_ROUNDS = 20


class Run:
    """What one run of a program cost."""

    def __init__(self, wall, cpu, memory, server):
        self.wall, self.cpu, self.memory, self.server = wall, cpu, memory, server


def server_cpu():
    """CPU seconds of the farm's sshd and all its ended children."""
    pid = int((FARM / "sshd.pid").read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(f) for f in fields[11:15]) / TICK


def server_children():
    pid = int((FARM / "sshd.pid").read_text())
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def settle():
    """Waits until sshd has seen the end of every connection."""
    deadline = time.monotonic() + 20
    while server_children():
        if time.monotonic() > deadline:
            sys.exit("connections to the farm do not end")
        time.sleep(0.05)
    time.sleep(0.1)


def measure(words, env=None, farm=True):
    """Runs a program once. Its orphans become ours, so that background processes are counted too."""
    before = 0
    if farm:
        settle()
        before = server_cpu()
    with tempfile.NamedTemporaryFile("r") as peak, tempfile.TemporaryFile() as output:
        # GNU time is small: the memory of this program would otherwise count as the child's before its exec.
        words = ["/usr/bin/time", "-o", peak.name, "-f", "%M", *map(str, words)]
        start = time.perf_counter()
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | (env or {}))
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        for orphan in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(orphan), signal.SIGTERM)
            _, _, usage = os.wait4(int(orphan), 0)
            cpu += usage.ru_utime + usage.ru_stime
        if child.returncode != 0:
            output.seek(0)
            sys.exit(f"{' '.join(words)}\nended with {child.returncode}:\n{output.read().decode(errors='replace')[-3000:]}")
        memory = int(peak.read().split()[-1]) / 1024
    server = 0
    if farm:
        settle()
        server = server_cpu() - before
    return Run(wall, cpu, memory, server)


def in_turns(programs, runs, **options):
    """Runs each program `runs` times, in turns that change direction, after one turn that is not counted."""
    results = {name: [] for name in programs}
    for turn in range(runs + 1):
        order = list(programs) if turn % 2 else list(reversed(programs))
        for name in order:
            words, env = programs[name]
            run = measure(words, env, **options)
            if turn:
                results[name].append(run)
    return results


def median(runs, figure):
    return statistics.median(getattr(run, figure) for run in runs)


def table(title, columns, rows):
    print(f"\n### {title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()


def seconds(value):
    return f"{value:.3f} s" if value < 9.9 else f"{value:.1f} s"


def script(opsrun, name, *words):
    return [opsrun, HERE / "scripts" / f"{name}.rhai", *words]


def provision(opsrun, config=FARM / "config.yml", name="farm"):
    HOME.mkdir(exist_ok=True)
    env = os.environ | {"OPSRUN_HOME": str(HOME)}
    done = subprocess.run([opsrun, "provision", name, config, "--yes"], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"opsrun provision {name} {config} ended with {done.returncode}:\n{done.stderr}")


def fanout(opsrun, runs):
    env = {"OPSRUN_HOME": str(HOME)}
    peer = HERE / "peers/fanout_asyncssh.py"
    ansible = {
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "1",
        "ANSIBLE_SSH_ARGS": f"-F {FARM}/ssh_config -o ControlMaster=no",
        "ANSIBLE_HOME": str(BENCH / "ansible"),
    }
    ad_hoc = [PYTHON.parent / "ansible", "-i", FARM / "inventory", "all", "-f", "100", "-m", "raw", "-a", "echo hi"]
    cold = {
        "opsrun": (script(opsrun, "fanout", "farm"), env),
        "asyncssh": ([PYTHON, peer, FARM, 1, "plain"], None),
        "asyncssh, tuned": ([PYTHON, peer, FARM, 1, "tuned"], None),
        "asyncssh, tuned, uvloop": ([PYTHON, peer, FARM, 1, "uvloop"], None),
    }
    if not opsrun:
        del cold["opsrun"]
    results = in_turns(cold, runs)
    results |= in_turns({"Ansible, 100 forks": (ad_hoc, ansible)}, 2)
    rows = []
    for name, r in results.items():
        floor = median(r, "server") / CORES
        rows.append([name, seconds(median(r, "wall")), seconds(median(r, "cpu")), f"{median(r, 'memory'):.0f} MiB", seconds(floor)])
    table("Connect to 100 hosts, `echo hi`, collect", ["", "wall", "client CPU", "memory", "sshd's CPU / cores"], rows)

    def rounds(count):
        return {
            "opsrun": (script(opsrun, "fanout", "farm", f"--rounds={count}"), env),
            "asyncssh": ([PYTHON, peer, FARM, count, "plain"], None),
            "asyncssh, tuned": ([PYTHON, peer, FARM, count, "tuned"], None),
            "asyncssh, tuned, uvloop": ([PYTHON, peer, FARM, count, "uvloop"], None),
        }

    many = rounds(1 + KEPT_ROUNDS)
    if not opsrun:
        del many["opsrun"]
    kept = in_turns(many, runs)
    rows = []
    for name, r in kept.items():
        def each(figure):
            return (median(r, figure) - median(results[name], figure)) / KEPT_ROUNDS

        floor = each("server") / CORES
        rows.append([name, seconds(each("wall")), seconds(each("cpu")), seconds(floor), f"{each('wall') / floor:.2f}"])
    table(
        "One more round on the kept connections",
        ["", "wall", "client CPU", "floor: sshd's CPU / cores", "wall / floor"],
        rows,
    )


def put(opsrun, runs):
    source, folder = BENCH / "64MiB", BENCH / "in"
    folder.mkdir(exist_ok=True)
    if not source.exists():
        source.write_bytes(os.urandom(64 << 20))
    programs = {
        "opsrun": (script(opsrun, "put", "farm", f"--file={source}", f"--folder={folder}"), {"OPSRUN_HOME": str(HOME)}),
        "scp": ([HERE / "peers/put_scp.sh", FARM, source, folder, 10], None),
        "asyncssh, uvloop": ([PYTHON, HERE / "peers/put_asyncssh.py", FARM, source, folder, 10], None),
    }
    if not opsrun:
        del programs["opsrun"]
    rows = []
    for name, r in in_turns(programs, runs).items():
        wall = median(r, "wall")
        rows.append([name, seconds(wall), f"{640 / wall:.0f} MiB/s", seconds(median(r, "cpu")), f"{median(r, 'memory'):.0f} MiB"])
    for name in folder.iterdir():
        if name.read_bytes() != source.read_bytes():
            sys.exit(f"{name} is not what was sent")
        name.unlink()
    table("Put 64 MiB to 10 hosts", ["", "wall", "rate", "client CPU", "memory"], rows)


def start(opsrun, runs):
    programs = {
        "opsrun": (script(opsrun, "first_line"), {"OPSRUN_HOME": str(HOME)}),
        "opsrun --version": ([opsrun, "--version"], None),
        "python3 -c 'print()'": (["python3", "-c", "print()"], None),
        "true": (["true"], None),
    }
    rows = []
    for name, r in in_turns(programs, max(runs, 20), farm=False).items():
        figures = [f"{median(r, f) * 1000:.1f} ms" for f in ("wall", "cpu")]
        rows.append([name, *figures, f"{median(r, 'memory'):.0f} MiB"])
    table("From the shell to a script's first line, and out again", ["", "wall", "client CPU", "memory"], rows)


def nodes(opsrun, runs):
    """How cost grows with the number of nodes: the same fan-out on ever more hosts."""
    lines = (FARM / "config.yml").read_text().splitlines()
    at = lines.index("    hosts:") + 1
    addresses = [f"127.88.{i // 250}.{i % 250 + 1}" for i in range(1000)]
    key = " ".join((FARM / "host.pub").read_text().split()[:2])
    port = lines[at].rsplit(":", 1)[1].strip('"')
    known = FARM / "known_hosts.1000"
    known.write_text("".join(f"[{a}]:{port} {key}\n" for a in addresses))
    head = [f"known_hosts: {known}" if line.startswith("known_hosts:") else line for line in lines[:at]]
    env = {"OPSRUN_HOME": str(HOME)}
    programs = {}
    for count in (1, 10, 100, 300, 1000):
        config = FARM / f"config.{count}.yml"
        config.write_text("\n".join(head + [f'      - "root@{a}:{port}"' for a in addresses[:count]]) + "\n")
        provision(opsrun, config, f"farm{count}")
        programs[count] = (script(opsrun, "fanout", f"farm{count}"), env)
    rows = []
    for count, r in in_turns(programs, max(3, runs // 3)).items():
        cpu, memory = median(r, "cpu"), median(r, "memory")
        floor = median(r, "server") / CORES
        rows.append([f"{count}", seconds(median(r, "wall")), seconds(cpu), f"{cpu / count * 1000:.2f} ms", f"{memory:.0f} MiB", seconds(floor)])
    table(
        "The same with ever more hosts, all connected at once",
        ["hosts", "wall", "client CPU", "client CPU a host", "memory", "sshd's CPU / cores"],
        rows,
    )


def machine():
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.split(",")[0]
    load = os.getloadavg()[0]
    print(f"{datetime.date.today()}, {CORES} x {model}, {memory} GiB, Linux {platform.release()}, {ssh}, Python {platform.python_version()}; load before: {load:.1f}")


def main():
    parts = {"fanout": fanout, "put": put, "start": start, "nodes": nodes}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opsrun", default=HERE.parent.parent / "target/release/opsrun", type=Path)
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=", ".join(parts))
    args = parser.parse_args()
    unknown = set(args.what) - set(parts)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    opsrun = None if args.peers_only else args.opsrun.resolve()
    if opsrun and not opsrun.exists():
        sys.exit(f"{opsrun} is not there: cargo build --release")
    if not (FARM / "sshd.pid").exists() or not PYTHON.exists():
        sys.exit(f"nothing is set up in {BENCH}: run install.sh and farm.sh start")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    machine()
    if opsrun:
        provision(opsrun)
    for name in args.what or [p for p in parts if opsrun or p in ("fanout", "put")]:
        parts[name](opsrun, args.runs)


if __name__ == "__main__":
    main()
