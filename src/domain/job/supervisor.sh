# Lives as long as the command and writes down how it ended. $1 is the folder, $2 the command.
trap : HUP INT QUIT TERM
echo $$ >"$1/pid.new"
mv "$1/pid.new" "$1/pid"
/bin/sh -c "$2" >>"$1/log" 2>&1 8>&-
code=$?
read -r now rest </proc/uptime
echo "$code $now" >"$1/code.new"
mv "$1/code.new" "$1/code"
