# $token marks this call, $line is the command, $bytes of stdin are its environment, $root is yes when another user's.
set -e
for tool in flock setsid; do
    command -v $tool >/dev/null || { echo "jobs need the command $tool (package util-linux)" >&2; exit 127; }
done
environment=$(head -c "$bytes"; echo x)
mask=$(umask)
umask 077
mkdir -p "$jobs"
exec 9>"$jobs/.lock"
flock 9
if running || [ "$(cat "$d/token" 2>/dev/null)" = "$token" ]; then
    report
    same=no
    [ "$(cat "$d/command")" != "$line" ] || same=yes
    echo "attached $same"
    exit 0
fi
rm -rf "$d"
mkdir "$d"
exec 8>"$d/alive"
flock -n 8
printf '%s' "$line" >"$d/command"
cat /proc/sys/kernel/random/boot_id >"$d/boot"
read -r now rest </proc/uptime
echo "$now" >"$d/started"
: >"$d/log"
[ "$root" = no ] || : >"$d/root"
printf '%s' "$token" >"$d/token"
umask "$mask"
{
    exec 9>&-
    printf '%s' "${environment%x}" | setsid /bin/sh -c "$supervisor" opsrun-job "$d" "$line"
} >/dev/null 2>&1 &
exec 8>&-
tries=0
while [ ! -s "$d/pid" ]; do
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || { echo "the job's supervisor did not start within 10 seconds" >&2; exit 1; }
    sleep 0.01
done
report
echo "started"
