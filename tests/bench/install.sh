#!/bin/sh
# Installs what the measurements need: the OpenSSH server and client, GNU time, and the peers in a folder of their own.
# Nothing of it is needed to build, test or use opsrun.
set -eu
BENCH_DIR=${BENCH_DIR:-/tmp/opsrun-bench}
if ! { [ -x /usr/sbin/sshd ] && command -v scp && [ -x /usr/bin/time ] && python3 -c 'import ensurepip'; } >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends openssh-server openssh-client time python3 python3-venv
fi
[ -x "$BENCH_DIR/peers/bin/python" ] || python3 -m venv "$BENCH_DIR/peers"
"$BENCH_DIR/peers/bin/pip" install --quiet --disable-pip-version-check asyncssh==2.24.1 uvloop==0.22.1 ansible-core==2.19.14 pyinfra==3.10.0
"$BENCH_DIR/peers/bin/pip" list --disable-pip-version-check | grep -E '^(asyncssh|uvloop|ansible-core|pyinfra|cryptography) '
