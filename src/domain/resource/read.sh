# Functions that read a node. Sections of the answer begin with a line `@NONCE NAME…`.
o_nl='
'
o_h=

o_s() { printf '\n@%s %s\n' "$o_n" "$*"; }

# PATH…: what is there. The root is always there: where it does not come back, `find` is not GNU's.
o_paths() {
  o_s paths
  find / "$@" -maxdepth 0 -printf '%y/%m/%s/%u/%g/%p\0%l\0' 2>/dev/null
}

# PATH…: checksums of the regular files among them.
o_hash() {
  for o_x; do
    shift
    if [ -f "$o_x" ] && [ ! -L "$o_x" ]; then set -- "$@" "$o_x"; fi
  done
  [ $# -gt 0 ] || return 0
  o_d=$(sha256sum -- "$@" 2>/dev/null)
  o_h=$o_h$o_nl$o_d$o_nl
  o_s hashes
  printf '%s\n' "$o_d"
}

# NUMBER LIMIT PATH SHA256: the content of a regular file, unless it has that checksum.
o_content() {
  [ -f "$3" ] && [ ! -L "$3" ] || return 0
  if [ -n "$4" ]; then
    case $o_h in *"$o_nl$4  $3$o_nl"*) return 0 ;; esac
  fi
  o_s content "$1"
  head -c "$2" -- "$3" | base64 -w0
}

# NAME…: installed packages. Each line says a name and its state in one word that nothing else can be.
o_packages() {
  o_d=
  if command -v dpkg-query >/dev/null; then
    o_d=$(dpkg-query -W -f '${Version} @${Package}:${db:Status-Abbrev}@${Package}:${Architecture}:${db:Status-Abbrev}@\n' -- "$@" 2>/dev/null)
  elif command -v rpm >/dev/null; then
    o_d=$(rpm -q --qf '%{EVR} @%{NAME}:ii @%{NAME}.%{ARCH}:ii @\n' -- "$@" 2>/dev/null)
  fi
  o_s packages
  printf '%s\n' "$o_d"
}

# COUNT NAME…: newest versions on offer, of those of the first COUNT that are not installed, and of the others.
o_offers() {
  o_c=$1
  shift
  for o_x; do
    shift
    o_c=$((o_c - 1))
    if [ "$o_c" -ge 0 ]; then
      case $o_d in *"@$o_x:"?"i @"*) continue ;; esac
    fi
    set -- "$@" "$o_x"
  done
  [ $# -gt 0 ] || return 0
  if command -v apt-cache >/dev/null; then
    o_s offers apt
    apt-cache policy -- "$@" 2>/dev/null
  elif command -v dnf >/dev/null; then
    o_s offers dnf
    dnf -q repoquery --latest-limit 1 --qf '%{evr} @%{name}:%{arch}@\n' -- "$@" 2>/dev/null
  fi
}

# UNIT…: one after the other where one of them is no name for a unit, which makes systemctl forget the others.
o_units() {
  o_s units
  o_x=Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,ConditionResult
  if o_d=$(systemctl show -p "$o_x" -- "$@" 2>/dev/null); then
    printf '%s\n' "$o_d"
    case $o_d in *ConditionResult=no*) o_unmet "$@";; esac
    return 0
  fi
  for o_c; do
    printf 'Unit=\n'
    systemctl show -p "$o_x" -- "$o_c" 2>/dev/null
    printf '\n'
  done
  o_unmet "$@"
}

# UNIT…: which of them systemd was asked to start and would not, nor would it now: a condition of theirs does not hold here.
o_unmet() {
  o_s unmet
  for o_c; do
    case $(systemctl show -p ActiveState,ConditionResult,ConditionTimestampMonotonic -- "$o_c" 2>/dev/null) in
      *Monotonic=0*) ;;
      *ActiveState=inactive*ConditionResult=no*)
        systemd-analyze condition --unit="$o_c" >/dev/null 2>&1 || printf '%s\n' "$o_c";;
    esac
  done
}

# NUMBER COMMAND: whether it succeeds.
o_test() {
  (
    o_x=$2
    set --
    eval "$o_x"
  ) >/dev/null 2>&1 3>&- 6<&-
  o_s test "$1" "$?"
}

# NUMBER LIMIT COMMAND: what it prints, and its exit code.
o_output() {
  o_s output "$1"
  o_c=$({
    {
      (
        o_x=$3
        set --
        eval "$o_x"
      ) 2>/dev/null 3>&- 4>&- 6<&-
      echo "$?" >&4
    } | head -c "$2" | base64 -w0 >&3
  } 4>&1)
  o_s code "$1" "$o_c"
}
