//! One file: written whole beside its place, compared, renamed.

use super::super::Client;
use super::super::exec::{Once, Source};
use super::cksum::Cksum;
use super::script::{self, Rights, remote_path};
use super::source::FileSource;
use super::{GetOptions, PutOptions, SHOW_FROM};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Result};
use crate::base::event::{Cx, Unit};
use bytes::Bytes;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// More than this is not read into memory.
const LARGEST_READ: usize = 256 << 20;

/// Input: the content, `$size` bytes of it, and then a line with what cksum says of it.
/// `$p` the path, `$name` the local file's name (empty: a directory is an error), `$mode`, `$owner`, `$time` may be empty.
const STORE: &str = r#"
if [ -n "$name" ]; then
  case $p in
    */) p=$p$name ;;
    *) if [ -d "$p" ]; then p=$p/$name; fi ;;
  esac
fi
follow
if [ -d "$p" ]; then exit 82; fi
if [ -e "$p" ] && [ ! -f "$p" ]; then exit 84; fi
dir=${p%/*}
[ -n "$dir" ] || dir=/
[ -d "$dir" ] || make "$dir" || exit 1
stage_made "$dir"
# -C: made anew or not at all. A link that someone laid here must not lead what we write elsewhere.
(umask 077; set -C; : > "$stage") || exit 1
(exec dd bs=65536 iflag=count_bytes,fullblock count="$size" of="$stage" status=none) || exit 1
read -r want
got=$(cksum < "$stage") || exit 1
[ "$got" = "$want" ] || exit 83
if [ -n "$owner" ]; then
  chown -- "$owner" "$stage" || exit 1
elif [ -e "$p" ] && [ "$(id -u)" = 0 ]; then
  chown --reference="$p" -- "$stage" || exit 1
fi
if [ -n "$mode" ]; then
  chmod -- "$mode" "$stage" || exit 1
elif [ -e "$p" ]; then
  chmod --reference="$p" -- "$stage" || exit 1
else
  chmod =rw "$stage" || exit 1
fi
if [ -n "$time" ]; then touch -d "$time" -- "$stage" || exit 1; fi
mv -fT -- "$stage" "$p"
"#;

const READ: &str = r#"
if [ -d "$p" ]; then exit 82; fi
if [ ! -e "$p" ] && [ ! -L "$p" ]; then
  # Does it not exist, or may we not see it? The tool knows.
  dir=${p%/*}
  [ -d "$dir" ] && [ ! -x "$dir" ] || exit 81
fi
exec cat -- "$p"
"#;

pub(super) async fn read(client: &Client, endpoint: &Endpoint, remote: &str, options: &GetOptions, cx: &Cx) -> Result<Vec<u8>> {
    let path = remote_path(remote)?;
    let rights = Rights { sudo: options.sudo, user: options.user.as_deref() };
    let mut command = script::command(rights, &[("p", &path)], READ);
    command.keep = LARGEST_READ * 2;
    let output = script::run(client, endpoint, &command, &mut Once(None), cx).await?;
    if let Some(error) = script::failure(&output, remote) {
        return Err(error);
    }
    if output.stdout.len() > LARGEST_READ {
        let limit = crate::base::units::format_size(LARGEST_READ as u64);
        let error = Error::new(crate::base::error::Kind::Transfer, format!("{remote} is larger than {limit}"));
        return Err(error.hint("Copy such a file with get instead of reading it."));
    }
    Ok(output.stdout)
}

pub(super) async fn write(
    client: &Client,
    endpoint: &Endpoint,
    remote: &str,
    content: Bytes,
    options: &PutOptions,
    cx: &Cx,
) -> Result<()> {
    let sum = Cksum::of(&content).finish();
    let size = content.len() as u64;
    let mut source = Content { parts: [Some(content), Some(format!("{sum}\n").into())] };
    store(client, endpoint, remote, size, options, ["", ""], &mut source, cx).await
}

pub(super) async fn put(
    client: &Client,
    endpoint: &Endpoint,
    local: &Path,
    meta: &std::fs::Metadata,
    remote: &str,
    options: &PutOptions,
    cx: &Cx,
) -> Result<()> {
    let name = local.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let time = format!("@{}.{:09}", meta.mtime(), meta.mtime_nsec());
    let mode = options.mode.unwrap_or(meta.mode() & 0o7777);
    let options = PutOptions { mode: Some(mode), ..options.clone() };
    let size = meta.len();
    let label = || format!("{} to {}", local.display(), endpoint.name);
    let progress = (size >= SHOW_FROM).then(|| cx.events.progress(label(), size, Unit::Bytes));
    let mut source = FileSource::open(client, local, meta, progress)?;
    store(client, endpoint, remote, size, &options, [&name, &time], &mut source, cx).await
}

#[allow(clippy::too_many_arguments, reason = "the one place where the parts of a store come together")]
async fn store(
    client: &Client,
    endpoint: &Endpoint,
    remote: &str,
    size: u64,
    options: &PutOptions,
    [name, time]: [&str; 2],
    source: &mut impl Source,
    cx: &Cx,
) -> Result<()> {
    let path = remote_path(remote)?;
    let rights = Rights { sudo: options.sudo, user: options.user.as_deref() };
    let mode = options.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default();
    let variables = [
        ("p", path.as_str()),
        ("size", &size.to_string()),
        ("name", name),
        ("mode", &mode),
        ("owner", options.owner.as_deref().unwrap_or_default()),
        ("time", time),
    ];
    let command = script::command(rights, &variables, STORE);
    let output = script::run(client, endpoint, &command, source, cx).await?;
    script::failure(&output, remote).map_or(Ok(()), Err)
}

/// Content in memory, then the line with its checksum.
struct Content {
    parts: [Option<Bytes>; 2],
}

impl Source for Content {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.parts.iter_mut().find_map(Option::take))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn a_link_laid_where_the_file_is_staged_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("place");
        std::fs::write(dir.path().join("victim"), "mine").unwrap();
        let path = place.to_str().unwrap();
        let variables = [("p", path), ("size", "5"), ("name", ""), ("mode", ""), ("owner", ""), ("time", "")];
        let line = script::command(Rights { sudo: false, user: None }, &variables, STORE).line;
        // The shell that lays it becomes the one that stages, so its number is known.
        let line = format!("ln -s victim .opsrun-stage-$(uname -n)-$$; {line}");
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", &line]).current_dir(dir.path()).stdin(Stdio::piped()).spawn().unwrap();
        let sum = Cksum::of(b"hello").finish();
        writeln!(shell.stdin.take().unwrap(), "hello{sum}").unwrap();
        assert!(shell.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "hello");
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
