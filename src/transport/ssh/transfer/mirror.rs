//! Mirroring: only what differs is sent, as rsync decides it.

use super::super::Client;
use super::super::exec::Once;
use super::pack::{self, Plan, Put};
use super::script::{self, Rights, remote_path};
use super::tree::{Entry, Excludes, What, scan};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a directory is mirrored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MirrorOptions {
    /// As root.
    pub sudo: bool,
    /// As this user.
    pub user: Option<String>,
    /// `user`, `user:group` or `:group` for what is sent, as chown takes it.
    pub owner: Option<String>,
    /// Remove what is not here.
    pub delete: bool,
    /// Patterns of what is neither sent nor removed: `*.log` at any depth, `/cache` at the top, `a/b` from the top.
    pub exclude: Vec<String>,
    /// Compare contents, not times.
    pub checksum: bool,
}

/// What a mirroring did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mirrored {
    /// Files and symlinks sent.
    pub sent: usize,
    pub bytes: u64,
    pub deleted: usize,
    /// Files and symlinks that were there already.
    pub unchanged: usize,
}

/// Prints what is in `$p`, one record each: type, mode, size, time, path NUL, link target NUL.
/// find does it in one go; without it, the shell walks.
const LIST: &str = r#"
follow
[ -d "$p" ] || { if [ -e "$p" ]; then exit 85; fi; exit 0; }
cd -- "$p" || exit 1
if find --version >/dev/null 2>&1; then
  exec find . -mindepth 1 -printf '%y %m %s %T@ %P\0%l\0'
fi
walk() {
  for f in "$1"* "$1".[!.]* "$1"..?*; do
    to=
    if [ -L "$f" ]; then
      k=l
      to=$(readlink -- "$f" && printf x)
      to=${to%?x}
    elif [ -d "$f" ]; then k=d
    elif [ -f "$f" ]; then k=f
    elif [ -e "$f" ]; then k=s
    else continue
    fi
    stat --printf="$k %a %s %.9Y " -- "./$f" || exit 1
    printf '%s\0%s\0' "$f" "$to"
    if [ "$k" = d ]; then walk "$f/"; fi
  done
}
walk ''
exit 0
"#;

/// Input: a digest list. Prints a line for each, in order.
const COMPARE: &str = r#"
follow
cd -- "$p" || exit 1
sha256sum -c - 2>/dev/null
exit 0
"#;

/// Something in the remote directory.
struct There {
    kind: u8,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    target: PathBuf,
}

/// More than this is not listed.
const LARGEST_LIST: usize = 512 << 20;

pub(super) async fn mirror(
    client: &Client,
    endpoint: &Endpoint,
    local: &Path,
    remote: &str,
    options: &MirrorOptions,
    cx: &Cx,
) -> Result<Mirrored> {
    let excludes = Excludes::new(&options.exclude)?;
    let rights = Rights { sudo: options.sudo, user: options.user.as_deref() };
    let (excludes, here) = {
        let (root, cx) = (local.to_owned(), cx.clone());
        let scanned = tokio::task::spawn_blocking(move || scan(&root, &excludes, &cx).map(|here| (excludes, here)));
        scanned.await.map_err(|e| Error::internal(format!("listing stopped: {e}")))??
    };
    let there = list(client, endpoint, remote, rights, cx).await?;
    let mut same = HashMap::new();
    if options.checksum {
        same = compare(client, endpoint, local, remote, rights, &here, &there, cx).await?;
    }
    let plan = plan(&here, &there, &excludes, options, &same);
    let files = here.iter().filter(|e| e.what != What::Directory).count();
    let report = Mirrored {
        sent: plan.send.len(),
        bytes: plan.bytes(),
        deleted: plan.remove.len() + plan.remove_empty.len(),
        unchanged: files - plan.send.len(),
    };
    // An empty directory is mirrored, too.
    if !plan.is_empty() || there.is_empty() {
        let put = Put { root: local, remote, rights, owner: options.owner.as_deref(), mode: None };
        pack::put(client, endpoint, plan, put, cx).await?;
    }
    Ok(report)
}

async fn list(
    client: &Client,
    endpoint: &Endpoint,
    remote: &str,
    rights: Rights<'_>,
    cx: &Cx,
) -> Result<BTreeMap<PathBuf, There>> {
    let path = remote_path(remote)?;
    let mut command = script::command(rights, &[("p", &path)], LIST);
    command.keep = LARGEST_LIST * 2;
    let output = script::run(client, endpoint, &command, &mut Once(None), cx).await?;
    if let Some(error) = script::failure(&output, remote) {
        return Err(error);
    }
    if output.stdout.len() > LARGEST_LIST {
        return Err(Error::new(Kind::Transfer, format!("{remote} holds too many files to compare")));
    }
    parse(&output.stdout).ok_or_else(|| Error::new(Kind::Transfer, format!("the list of files in {remote} cannot be read")))
}

fn parse(text: &[u8]) -> Option<BTreeMap<PathBuf, There>> {
    let mut found = BTreeMap::new();
    let mut fields = text.split(|b| *b == 0);
    loop {
        let first = fields.next()?;
        if first.is_empty() {
            return Some(found);
        }
        let target = PathBuf::from(OsStr::from_bytes(fields.next()?));
        let mut words = first.splitn(5, |b| *b == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let (kind, mode, size, time) = (word()?, word()?, word()?, word()?);
        let path = PathBuf::from(OsStr::from_bytes(words.next()?));
        let (seconds, nanos) = time.split_once('.').unwrap_or((time, ""));
        let nanos = format!("{nanos:0<9}");
        let there = There {
            kind: *kind.as_bytes().first()?,
            mode: u32::from_str_radix(mode, 8).ok()?,
            size: size.parse().ok()?,
            modified: (seconds.parse().ok()?, nanos.get(..9)?.parse().ok()?),
            target,
        };
        found.insert(path, there);
    }
}

/// Which of the files of equal size have equal content.
#[allow(clippy::too_many_arguments, reason = "they come from one place and go to one")]
async fn compare(
    client: &Client,
    endpoint: &Endpoint,
    local: &Path,
    remote: &str,
    rights: Rights<'_>,
    here: &[Entry],
    there: &BTreeMap<PathBuf, There>,
    cx: &Cx,
) -> Result<HashMap<PathBuf, bool>> {
    let mut asked = Vec::new();
    let mut sums = Vec::new();
    for entry in here {
        let What::File { size } = entry.what else { continue };
        if there.get(&entry.path).is_some_and(|t| t.kind == b'f' && t.size == size) {
            cx.cancel.check()?;
            let path = local.join(&entry.path);
            let meta = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
            let digest = client.0.digests.of(&path, &meta).await?;
            let line = pack::sum_line(&digest, &entry.path);
            if !line.is_empty() {
                sums.extend(line);
                asked.push(entry.path.clone());
            }
        }
    }
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let path = remote_path(remote)?;
    let mut command = script::command(rights, &[("p", &path)], COMPARE);
    command.keep = LARGEST_LIST;
    let output = script::run(client, endpoint, &command, &mut Once(Some(sums.into())), cx).await?;
    if let Some(error) = script::failure(&output, remote) {
        return Err(error);
    }
    let verdicts = output.stdout.split(|b| *b == b'\n').map(|line| line.ends_with(b": OK"));
    Ok(asked.into_iter().zip(verdicts).collect())
}

fn plan(
    here: &[Entry],
    there: &BTreeMap<PathBuf, There>,
    excludes: &Excludes,
    options: &MirrorOptions,
    same: &HashMap<PathBuf, bool>,
) -> Plan {
    let mut plan = Plan::default();
    for entry in here {
        let old = there.get(&entry.path);
        let in_the_way = |kind: u8| old.is_some_and(|t| t.kind != kind);
        match &entry.what {
            What::Directory => {
                if in_the_way(b'd') {
                    plan.remove.push(entry.path.clone());
                }
                let as_it_is = old.is_some_and(|t| t.kind == b'd' && t.mode == entry.mode && same_time(entry, t));
                if !as_it_is {
                    plan.directories.push(entry.clone());
                }
            }
            What::Link { target } => {
                if in_the_way(b'l') {
                    plan.remove.push(entry.path.clone());
                }
                if old.is_none_or(|t| t.kind != b'l' || t.target != *target) {
                    plan.send.push(entry.clone());
                }
            }
            What::File { size } => {
                // A directory in the way is only removed where removing was asked for; else the move says so.
                if in_the_way(b'f') && (options.delete || old.is_some_and(|t| t.kind != b'd')) {
                    plan.remove.push(entry.path.clone());
                }
                let unchanged = old.is_some_and(|t| {
                    let content = same.get(&entry.path).copied().unwrap_or_else(|| !options.checksum && same_time(entry, t));
                    t.kind == b'f' && t.size == *size && content
                });
                if !unchanged {
                    plan.send.push(entry.clone());
                } else if old.is_some_and(|t| t.mode != entry.mode) {
                    plan.modes.push(entry.clone());
                }
            }
        }
    }
    touched_directories(&mut plan, here);
    if options.delete {
        delete(&mut plan, here, there, excludes);
        touched_directories(&mut plan, here);
    }
    plan
}

/// Moving files in and out changes a directory's time: those directories get theirs again.
fn touched_directories(plan: &mut Plan, here: &[Entry]) {
    let mut wanted: std::collections::BTreeSet<&Path> = plan.directories.iter().map(|e| e.path.as_path()).collect();
    wanted.extend(plan.send.iter().filter_map(|e| e.path.parent()));
    wanted.extend(plan.remove.iter().chain(&plan.remove_empty).filter_map(|p| p.parent()));
    // A new directory touches the one it is in.
    let parents: Vec<&Path> = plan.directories.iter().filter_map(|e| e.path.parent()).collect();
    wanted.extend(parents);
    let directories = here.iter().filter(|e| e.what == What::Directory && wanted.contains(e.path.as_path())).cloned().collect();
    plan.directories = directories;
}

fn delete(plan: &mut Plan, here: &[Entry], there: &BTreeMap<PathBuf, There>, excludes: &Excludes) {
    let kept: std::collections::HashSet<&Path> = here.iter().map(|e| e.path.as_path()).collect();
    // Directories that hold something excluded stay, as does that.
    let protected: std::collections::HashSet<&Path> =
        there.keys().filter(|p| excludes.covers(p)).flat_map(|p| p.ancestors().skip(1)).collect();
    let mut whole: Option<&Path> = None;
    let mut hollow = Vec::new();
    for (path, old) in there {
        if whole.is_some_and(|w| path.starts_with(w)) || kept.contains(path.as_path()) || excludes.covers(path) {
            continue;
        }
        if old.kind == b'd' && protected.contains(path.as_path()) {
            hollow.push(path.clone());
        } else {
            if old.kind == b'd' {
                whole = Some(path);
            }
            plan.remove.push(path.clone());
        }
    }
    hollow.reverse();
    plan.remove_empty = hollow;
}

/// File systems that keep whole seconds only are compared by those.
fn same_time(entry: &Entry, there: &There) -> bool {
    entry.modified.0 == there.modified.0 && (entry.modified.1 == there.modified.1 || there.modified.1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_to_the_nanosecond() {
        let text = b"f 644 3 1000.5000000000 a b\n\xff\0\0l 777 1 7 l\0to here\0d 1777 0 1.123456789 d\0\0";
        let found = parse(text).unwrap();
        let file = &found[Path::new(OsStr::from_bytes(b"a b\n\xff"))];
        assert_eq!((file.kind, file.mode, file.size, file.modified), (b'f', 0o644, 3, (1000, 500_000_000)));
        assert_eq!(found[Path::new("l")].target, Path::new("to here"));
        assert_eq!((found[Path::new("d")].mode, found[Path::new("d")].modified), (0o1777, (1, 123_456_789)));
    }

    proptest::proptest! {
        #[test]
        fn no_list_panics(text in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = parse(&text);
        }
    }
}
