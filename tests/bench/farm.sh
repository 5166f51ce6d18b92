#!/bin/sh
# A farm of SSH hosts on this machine: one OpenSSH server on 0.0.0.0 answers for every loopback address,
# so that a hundred (or a thousand) hosts cost no more than their connections.
#
#   farm.sh start [HOSTS]    HOSTS is 100 unless told; they are 127.88.0.1, 127.88.0.2, … 127.88.1.1, … (250 in each row)
#   farm.sh stop
#
# Everything is in $BENCH_DIR/farm: key, known_hosts, hosts, ssh_config, config.yml (for opsrun), inventory (for Ansible).
set -eu
BENCH_DIR=${BENCH_DIR:-/tmp/opsrun-bench}
PORT=${FARM_PORT:-2822}
dir=$BENCH_DIR/farm

running() {
    [ -f "$dir/sshd.pid" ] && kill -0 "$(cat "$dir/sshd.pid")" 2>/dev/null
}

keys() {
    for name in client host; do
        [ -f "$dir/$name" ] || ssh-keygen -q -t ed25519 -N '' -C "farm-$name" -f "$dir/$name"
    done
    install -m 600 "$dir/client.pub" "$dir/authorized_keys"
}

server() {
    # SHLVL keeps root's bash from reading .bashrc, as it would for a shell that it takes for the first one of a network login.
    cat > "$dir/sshd_config" <<CONFIG
Port $PORT
ListenAddress 0.0.0.0
HostKey $dir/host
AuthorizedKeysFile $dir/authorized_keys
PidFile $dir/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
MaxStartups 3000:30:3000
MaxSessions 100
LogLevel ERROR
SetEnv SHLVL=2
Subsystem sftp internal-sftp
CONFIG
    mkdir -p /run/sshd
    setsid "$(command -v sshd || echo /usr/sbin/sshd)" -f "$dir/sshd_config" -E "$dir/sshd.log" </dev/null >/dev/null 2>&1
    tries=0
    until running; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || { echo "sshd did not start:" >&2; cat "$dir/sshd.log" >&2; exit 1; }
        sleep 0.1
    done
}

clients() {
    awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) print "127.88." int(i / 250) "." i % 250 + 1 }' > "$dir/hosts"
    key=$(cut -d' ' -f1,2 "$dir/host.pub")
    sed "s|.*|[&]:$PORT $key|" "$dir/hosts" > "$dir/known_hosts"
    cat > "$dir/ssh_config" <<CONFIG
Host 127.88.*
    Port $PORT
    User root
    IdentityFile $dir/client
    IdentitiesOnly yes
    UserKnownHostsFile $dir/known_hosts
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
CONFIG
    {
        echo "provider: static"
        echo "private_key_path: $dir/client"
        echo "public_key_path: $dir/client.pub"
        echo "known_hosts: $dir/known_hosts"
        echo "groups:"
        echo "  server:"
        echo "    hosts:"
        sed "s|.*|      - \"root@&:$PORT\"|" "$dir/hosts"
    } > "$dir/config.yml"
    sed 's|$| ansible_python_interpreter=/usr/bin/python3|' "$dir/hosts" > "$dir/inventory"
}

case "${1:-}" in
start)
    mkdir -p "$dir"
    chmod 700 "$dir"
    keys
    clients "${2:-100}"
    running || server
    echo "sshd $(cat "$dir/sshd.pid") answers as $(wc -l < "$dir/hosts") hosts on port $PORT; their files are in $dir"
    ;;
stop)
    if running; then kill "$(cat "$dir/sshd.pid")"; fi
    ;;
*)
    echo "usage: farm.sh start [HOSTS] | stop" >&2
    exit 2
    ;;
esac
