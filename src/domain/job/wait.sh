# Waits up to $patience seconds without polling, then reports; a finished job's log follows, at most $keep bytes of it.
[ ! -e "$d/alive" ] || flock -s -w "$patience" "$d/alive" true
said=$(report)
echo "$said"
case $said in
ended* | lost*)
    wc -c <"$d/log"
    tail -c "$keep" "$d/log"
    ;;
esac
