# Before every job script: $name is set. Each of these takes one round trip.
jobs="$HOME/.opsrun/jobs"
d="$jobs/$name"

# The job's supervisor holds a lock on this file as long as it lives: nothing else proves as well that it does.
running() { [ -e "$d/alive" ] && ! flock -s -n "$d/alive" true; }

# One line that tells how the job stands. Times are the machine's uptime: they do not jump, and a reboot loses the job anyway.
report() {
    pid=$(cat "$d/pid" 2>/dev/null || echo 0)
    started=$(cat "$d/started" 2>/dev/null || echo 0)
    if [ ! -d "$d" ]; then
        echo "missing"
    elif running; then
        echo "running $pid $started"
    elif [ -s "$d/code" ]; then
        stopped=no
        [ ! -e "$d/stopped" ] || stopped=yes
        echo "ended $pid $started $(cat "$d/code") $stopped"
    elif [ "$(cat "$d/boot" 2>/dev/null)" != "$(cat /proc/sys/kernel/random/boot_id)" ]; then
        echo "lost $pid $started rebooted"
    else
        echo "lost $pid $started killed"
    fi
}
