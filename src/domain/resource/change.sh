# Functions that change a node. What a change prints goes to stderr; stdout says where it begins and how it ended, and both
# have the marks, because nothing says in which order the two arrive.

o_mark() {
  o_s "$@"
  o_s "$@" >&2
}

# A place for content that is too large for a script, away with this program. What others left that were killed goes too.
o_begin_uploads() {
  mkdir -p "$o_lib"
  for o_x in "$o_lib"/upload.*; do
    o_c=${o_x#*/upload.}
    [ -d "/proc/${o_c%%.*}" ] || rm -rf -- "$o_x"
  done
  o_tmp=$o_lib/upload.$$.$o_n
  trap 'rm -rf -- "$o_tmp"' EXIT
  trap 'exit 143' HUP INT TERM PIPE
  (umask 077 && mkdir "$o_tmp")
}

# NUMBER SCRIPT SIZE…: runs a change, with uploads of these sizes. `o_r` is 0 if all went well.
o_change() {
  o_mark begin "$1"
  o_c=$1 o_x=$2 o_r=0 o_i=0
  shift 2
  for o_z; do
    if ! head -c "$o_z" <&6 >"$o_tmp/$o_i" || [ "$(wc -c <"$o_tmp/$o_i")" -ne "$o_z" ]; then
      echo "opsrun: its content could not be stored in $o_lib" >&2
      o_r=1
      break
    fi
    export "UPLOAD_$o_i=$o_tmp/$o_i"
    o_i=$((o_i + 1))
  done
  if [ "$o_r" = 0 ]; then
    (
      set --
      set -eu
      eval "$o_x"
    ) 3>&- 6<&- >&2
    o_r=$?
  fi
  [ "$o_i" = 0 ] || rm -f -- "$o_tmp"/*
  o_mark done "$o_c" "$o_r"
}
