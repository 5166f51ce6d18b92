# Ends every process of the job's session: SIGTERM, after $tenths of a second SIGKILL. Process groups of their own do not escape.
if ! running; then
    report
    exit 0
fi
session=$(cat "$d/pid")
: >"$d/stopped"

members() {
    found=
    for stat in /proc/[0-9]*/stat; do
        read -r fields <"$stat" || continue
        process=${stat#/proc/}
        set -- ${fields##*) }
        case $1 in Z | X) continue ;; esac
        [ "$4" != "$session" ] || found="$found ${process%/stat}"
    done 2>/dev/null
}

signal() {
    if [ -e "$d/root" ] && [ "$(id -u)" != 0 ]; then
        sudo -n /bin/sh -c "kill -$1 $found" 2>/dev/null
    else
        kill "-$1" $found 2>/dev/null
    fi
}

members
signal TERM
killed=no
waited=0
while members; [ -n "$found" ]; do
    if [ "$waited" -ge "$tenths" ]; then
        [ "$waited" -lt $((tenths + 50)) ] || { echo "processes$found do not end, not even by SIGKILL" >&2; exit 1; }
        killed=yes
        signal KILL
    fi
    waited=$((waited + 1))
    sleep 0.1
done
flock -s -w 5 "$d/alive" true
read -r now rest </proc/uptime
[ -s "$d/code" ] || echo "137 $now" >"$d/code"
report
echo "killed $killed"
