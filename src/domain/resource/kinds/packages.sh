# What package resources share. Nothing here asks a question: apt keeps the configuration files that are there.
LC_ALL=C; export LC_ALL
DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND
APT_LISTCHANGES_FRONTEND=none; export APT_LISTCHANGES_FRONTEND
NEEDRESTART_SUSPEND=1; export NEEDRESTART_SUSPEND
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 143' HUP INT TERM
deadline=$(( $(date +%s) + $LOCK ))
say() { printf 'opsrun: %s\n' "$1" >&2; }
hint() { printf 'opsrun-hint: %s\n' "$1" >&2; }

# Runs apt-get with its words in $log; waits for whoever holds one of its locks.
apt() {
  said=
  while ! apt-get -q -y -o DPkg::Lock::Timeout=5 -o APT::Update::Error-Mode=any \
      -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >"$log" 2>&1 </dev/null; do
    grep -Eq 'Could not get lock|Unable to (acquire|lock)' "$log" || return 1
    holder=$(sed -n 's/.*held by process \([0-9]*\) (\(.*\)).*/\2 (process \1)/p' "$log" | tail -n 1)
    if [ "$(date +%s)" -ge "$deadline" ]; then
      say "apt is locked by ${holder:-another process} and was not freed within $LOCK_TIME"
      hint 'See what it does: ps -ef | grep -E "apt|dpkg". Options: lock_timeout waits longer.'
      exit 1
    fi
    if [ -z "$said" ]; then
      said=yes
      printf 'opsrun-note: apt is locked by %s: waiting for it, up to %s\n' "${holder:-another process}" "$LOCK_TIME" >&2
    fi
    sleep 1
  done
}

# Whether the package lists are younger than a day and younger than the list of sources.
fresh() {
  set -- /var/lib/opsrun/apt-updated /var/lib/apt/periodic/update-success-stamp
  for stamp in "$@"; do
    [ -n "$(find "$stamp" -mmin -1440 2>/dev/null)" ] || continue
    [ -z "$(find /etc/apt/sources.list /etc/apt/sources.list.d -newer "$stamp" 2>/dev/null)" ] || continue
    # Images of machines are often shipped without lists.
    ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 && return 0
  done
  return 1
}

update() {
  apt update || return 1
  mkdir -p /var/lib/opsrun
  : >/var/lib/opsrun/apt-updated
}

failed() {
  name=$(sed -n -e 's/^E: Unable to locate package \(.*\)/\1/p' -e "s/^E: Package '\(.*\)' has no installation candidate/\1/p" \
    -e "s/^E: Version '\(.*\)' for '\(.*\)' was not found/\2=\1/p" -e 's/^.*No match for argument: \(.*\)/\1/p' "$log" | tail -n 1)
  if [ -n "$name" ]; then
    say "there is no package $name on offer"
    case $1 in update-failed) hint 'The package lists could not be brought up to date either: apt-get update says why.';; esac
  elif grep -q 'dpkg was interrupted' "$log"; then
    say 'dpkg was interrupted earlier on this node'
    hint 'Mend it there: dpkg --configure -a'
  fi
  tail -n 40 "$log" >&2
  exit 1
}
