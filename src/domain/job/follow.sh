# Prints the log from line $from on until the job has ended.
[ -d "$d" ] || exit 66
if ! running; then
    exec tail -n "+$from" "$d/log"
fi
if tail --version 2>/dev/null | grep -q GNU; then
    exec tail -n "+$from" -s 0.1 -f "--pid=$(cat "$d/pid")" "$d/log"
fi
tail -n "+$from" -f "$d/log" &
flock -s "$d/alive" true
sleep 1
kill $!
