"""The files of a played instance: its own /etc/ssh and home, or, of a whole one, all of them, as changes over this machine's.

The processes of a whole instance share one mount namespace, for two overlays of the same changes must not be at work at a time.
The first begins it, each further one joins it, and it ends with the last: nothing stays mounted.
"""

import json
import os
import pathlib
import subprocess
import sys
import urllib.parse

# What runs of the machine sees its own /etc/ssh and home.
OWN = 'mount --bind "$1/etc-ssh" /etc/ssh; mount --bind "$1/home" "$HOME"; '
TREES = "etc usr var opt srv home root"
# /run is empty: the service manager of this machine is not the instance's, and it should not be asked by mistake.
WHOLE = f"""
for tree in {TREES}; do
    if [ -d /$tree ] && [ ! -L /$tree ]; then
        mkdir -p "$1/changes/$tree" "$1/work/$tree"
        mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$1/changes/$tree,workdir=$1/work/$tree" /$tree
    fi
done
mount -t tmpfs tmpfs /run; mkdir -p /run/sshd /run/lock
"""
END = 'cd "$HOME"; shift; exec "$@"'
POWER = ("shutdown", "poweroff", "halt", "reboot")
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html: an instance that shuts itself down is stopped, unless
# its launch says otherwise.
SHUTDOWN = """#!/bin/bash
exec 3<>/dev/tcp/{host}/{port}
printf '%s\\r\\n' 'POST /_proxy/shutdown?region={region} HTTP/1.1' 'Host: aws' 'Connection: close' 'Content-Length: {length}' '' >&3
printf %s '{body}' >&3
read -r -t 20 answer <&3
"""


def living(folder):
    """The id of a process that is inside, or nothing."""
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and pathlib.Path(f"/proc/{pid}/root/run/instance").read_text().strip() == str(folder):
                return pid
        except OSError:
            continue
    return None


def inside(folder, whole, *command):
    """The command line that runs it inside. Of a whole instance only while its lock is held, and to be started at once."""
    if not whole:
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "set -e; " + OWN + END, "machine", str(folder), *command]
    pid = living(folder)
    if pid is None:
        begin(folder)
        pid = living(folder)
    # Both stay what they are although that process may end.
    held = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "uts")]
    for fd in held:
        os.set_inheritable(fd, True)
    me = f"/proc/{os.getpid()}/fd/"
    return ["nsenter", f"--mount={me}{held[0]}", f"--uts={me}{held[1]}", "sh", "-c", "set -e; " + END, "machine", str(folder), *command]


def begin(folder):
    """A namespace with its files. What holds it ends by itself, when somebody has long joined."""
    script = "set -e" + WHOLE + OWN + 'echo "$1" > /run/instance; echo ready; exec sleep 5'
    command = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", script, "machine", str(folder)]
    log = open(folder / "files.log", "a")
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    if started.stdout.readline() != b"ready\n":
        sys.exit(f"the files of the instance cannot be mounted; see {folder}/files.log")


def take_over(folder, machine, endpoint, region):
    """Begins with the files of the instance that the image was made of; without host keys, as cloud-init would have it."""
    source = folder.parent / machine["source"] if machine["source"] else None
    if source is not None and source.exists():
        for tree in ("changes", "home", "etc-ssh"):
            if (source / tree).exists():
                subprocess.run(["cp", "-a", str(source / tree), str(folder)], check=True)
        for key in (folder / "etc-ssh").glob("ssh_host_*"):
            key.unlink()
    at, body = urllib.parse.urlsplit(endpoint), json.dumps({"instance": machine["id"]})
    changes = folder / "changes/usr/sbin"
    changes.mkdir(parents=True, exist_ok=True)
    for name in POWER:
        path = changes / name
        path.unlink(missing_ok=True)
        path.write_text(SHUTDOWN.format(host=at.hostname, port=at.port, region=region, body=body, length=len(body)))
        path.chmod(0o755)
