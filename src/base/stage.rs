//! Where a file is until it is whole: shell for every script that puts something on a node whole or not at all.

/// How the names begin of things under way.
pub const PREFIX: &str = ".opsrun-stage-";

/// Shell: `stage DIR` sets `$stage` to a name in DIR that is ours alone, which goes away with the script, and removes what
/// scripts that died have left there. Nothing is at that name afterwards.
pub const STAGE: &str = r#"
stage() {
  host=$(uname -n)
  for old in "$1"/.opsrun-stage-"$host"-*; do
    [ -e "$old" ] || continue
    [ -d "/proc/${old##*-}" ] || rm -rf -- "$old"
  done
  stage=$1/.opsrun-stage-$host-$$
  trap 'rm -rf -- "$stage"' EXIT
  trap 'exit 143' HUP INT TERM
  # Of a dead process that had our number; or a trap, in a folder that others may write to as well.
  rm -rf -- "$stage"
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_the_dead_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let here = || {
            let mut names: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let host = nix::unistd::gethostname().unwrap().to_string_lossy().into_owned();
        let (dead, living) = (format!("{PREFIX}{host}-999999999"), format!("{PREFIX}{host}-1"));
        let elsewhere = format!("{PREFIX}{host}.x-999999999");
        for name in [&dead, &living, &elsewhere, "a b"] {
            std::fs::create_dir_all(dir.path().join(name).join("in it")).unwrap();
        }
        let script = format!("set -eu\n{STAGE}stage .\nmkdir -- \"$stage\"\n[ -d .opsrun-stage-*-$$ ]\nexit 7\n");
        let status = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).status().unwrap();
        assert_eq!(status.code(), Some(7));
        let mut left = vec![living, elsewhere, "a b".to_owned()];
        left.sort();
        assert_eq!(here(), left);
    }
}
