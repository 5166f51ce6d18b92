LC_ALL=C; export LC_ALL
say() { printf 'opsrun: %s\n' "$1" >&2; }

# URL FILE SECONDS: fetches into FILE with what the node has. The address is on no command line: it may hold a secret.
fetch_url() {
  if command -v curl >/dev/null; then
    printf 'url = "%s"\n' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')" | curl -fsSL --retry 3 --max-time "$3" -o "$2" -K -
  elif command -v wget >/dev/null; then
    printf '%s\n' "$1" | wget -q --tries=4 --timeout="$3" -O "$2" -i -
  elif python3 -c 'import urllib.request, ssl' 2>/dev/null; then
    URL=$1 FILE=$2 python3 -c 'import os, shutil, urllib.request as u
with u.urlopen(os.environ["URL"], timeout=60) as r, open(os.environ["FILE"], "wb") as f: shutil.copyfileobj(r, f)'
  elif [ -x /usr/lib/apt/apt-helper ] && case $1 in *[@?]*) false;; esac; then
    # Every Debian has it. It takes an address on its command line only, so none that may hold a secret.
    timeout "$3" /usr/lib/apt/apt-helper -q -o Acquire::Retries=3 download-file "$1" "$2"
  else
    say 'there is neither curl, wget nor a whole python3 on this node to fetch with'
    printf 'opsrun-hint: Install one first: nodes.packages("curl")\n' >&2
    exit 1
  fi
}

# URL: prints the status of the answer (000: none), and the body into $body.
ask_url() {
  if command -v curl >/dev/null; then
    printf 'url = "%s"\n' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')" | curl -sk -o "$body" -w '%{http_code}' --max-time 10 -K - 2>/dev/null || :
  elif python3 -c 'import urllib.request, ssl' 2>/dev/null; then
    URL=$1 FILE=$body python3 -c 'import os, shutil, ssl, urllib.error, urllib.request as u
c = ssl._create_unverified_context()
try: r = u.urlopen(os.environ["URL"], timeout=10, context=c)
except urllib.error.HTTPError as e: r = e
except Exception: print("000"); raise SystemExit
shutil.copyfileobj(r, open(os.environ["FILE"], "wb")); print(r.status)'
  elif command -v bash >/dev/null && [ "${1#http://}" != "$1" ]; then
    URL=$1 timeout 10 bash -c 'rest=${URL#http://}; at=${rest%%/*}; path=/${rest#"$at"}; path=${path/#\/\//\/}; port=${at##*:}
[ "$port" != "$at" ] || port=80
exec 3<>"/dev/tcp/${at%:*}/$port" || exit 1
printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$path" "$at" >&3; cat <&3' >"$body" 2>/dev/null || :
    head -n 1 "$body" | sed -n 's/^HTTP[^ ]* \([0-9]*\).*/\1/p'
  elif command -v wget >/dev/null; then
    printf '%s\n' "$1" | wget -q -S --tries=1 --timeout=10 --no-check-certificate -O "$body" -i - 2>&1 | sed -n 's/^ *HTTP[^ ]* \([0-9]*\).*/\1/p' | tail -n 1
  else
    say 'there is neither curl, wget nor a whole python3 on this node to ask with'
    exit 1
  fi
}
