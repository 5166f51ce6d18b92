//! The names of a deployment's machines in the `/etc/hosts` of those that run.
//!
//! One that does not run is told when it starts. The layer of one that does must not be written from outside.

use super::identity::{self, HOSTS_BEGIN, HOSTS_END};
use super::layout::Layout;
use super::{running, tool};
use crate::base::error::Result;
use crate::base::event::Cx;
use futures::future::join_all;

/// Replaces our lines in the file, which the program is given on its stdin.
const SCRIPT: &str = r#"set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
new=$(mktemp /etc/.hosts.XXXXXX)
trap 'rm -f "$new"' EXIT
sed "/^$1\$/,/^$2\$/d" /etc/hosts > "$new"
cat >> "$new"
cmp -s "$new" /etc/hosts || { chmod 644 "$new"; mv -T "$new" /etc/hosts; }"#;

/// The lines that name all machines of the deployment.
pub fn lines(layout: &Layout) -> Result<String> {
    let records = layout.records()?;
    Ok(identity::neighbours(records.iter().map(|r| (r.spec.name.as_str(), r.address))))
}

/// Brings the running machines up to date, but for those that were just told. Names are a comfort: where that fails, it is said, and no more.
pub async fn refresh(layout: &Layout, told: &[&str], cx: &Cx) -> Result<()> {
    let lines = lines(layout)?;
    let block = identity::with_block("", &lines);
    let inits: Vec<(String, i32)> = running::find(layout.uuid)
        .into_iter()
        .filter(|(node, _)| !told.contains(&node.as_str()))
        .filter_map(|(node, found)| Some((node, running::init_of(found.outer.first()?.pid)?)))
        .collect();
    let updates = inits.iter().map(|(node, init)| {
        let block = &block;
        async move {
            let target = init.to_string();
            let arguments = ["--target", &target, "--mount", "--", "/bin/sh", "-c", SCRIPT, "sh", HOSTS_BEGIN, HOSTS_END];
            if let Err(e) = tool::feed("nsenter", &arguments, block.as_bytes(), cx).await {
                cx.events.warn(format!("{node} does not know the names of all its neighbours: {e}"));
            }
        }
    });
    join_all(updates).await;
    cx.cancel.check()
}
