"""The thirty resources, as pyinfra's operations."""

from pathlib import Path

from pyinfra.operations import apt, files, server, systemd

ROLE = Path(__file__).resolve().parents[1] / "opsrun/roles/thirty"
APP = "thirty"
VARS = {"app": APP, "port": 8000, "workers": 4, "peers": ["alpha", "beta", "gamma"]}

apt.packages(packages=["less"])
server.group(group=APP)
server.user(user=APP, group=APP, shell="/usr/sbin/nologin")
for path in ["/srv/app", "/srv/app/conf", "/srv/app/data", "/srv/app/log", "/srv/app/bin"]:
    files.directory(path=path, user=APP, group=APP, mode="755")
for i in range(1, 9):
    files.put(src=str(ROLE / f"files/part-{i}.conf"), dest=f"/srv/app/conf/part-{i}.conf", mode="644")
sites = [
    files.template(src=str(ROLE / f"templates/site-{i}.conf"), dest=f"/srv/app/conf/site-{i}.conf", mode="644", **VARS)
    for i in range(1, 7)
]
files.line(path="/etc/environment", line="THIRTY=yes")
files.line(path="/etc/security/limits.conf", line=f"{APP} soft nofile 65536")
files.line(path="/etc/security/limits.conf", line=f"{APP} hard nofile 65536")
files.block(path="/etc/bash.bashrc", content="alias ll='ls -l'\nalias la='ls -la'")
files.link(path="/srv/app/current", target="/srv/app/conf")
files.link(path="/usr/local/bin/app-shell", target="/bin/sh")
files.template(src=str(ROLE / "templates/app.service"), dest="/etc/systemd/system/thirty.service", mode="644", **VARS)
systemd.service(service=APP, running=True, enabled=True, daemon_reload=True)
systemd.service(service=APP, restarted=True, _if=lambda: any(site.did_change() for site in sites))
