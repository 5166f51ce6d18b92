//! First contact: how a machine's own host keys become known.
//!
//! A machine that was given a host key to be known by (all of its launch have the same) shows that one first. Over it, it is
//! asked to make keys of its own; these are written down here, and only then put in place of the given one, which is gone from
//! the machine with that. Until it has shown its own, both are accepted, so that whatever is cut off can be done again.

use super::wait::{self, Reach};
use super::{Deployment, provider_of, site};
use crate::base::command::Command;
use crate::base::endpoint::{Endpoint, FirstContact, HostKeyPolicy};
use crate::base::error::{Error, IoResultExt, Kind, Result, ResultExt};
use crate::base::event::{Cx, Unit};
use crate::base::shell::quote;
use crate::domain::config::ProviderKind;
use crate::domain::fleet::fold_names;
use crate::domain::node::NodeSet;
use crate::transport::provider::Provider;
use crate::transport::state::{self, NodeRecord, Store, ssh_files};
use futures::stream::{self, StreamExt};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the machine may take to make keys, or to put them in place.
const WORK: Duration = Duration::from_secs(60);
/// How long its sshd may take to show them.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);
/// `$given` and `$own` are public keys without their first word. Keys are compared by what the private half says: the public
/// half lies beside it in a file of its own.
const MAKE: &str = r#"set -eu; umask 077; cd /etc/ssh; new=/etc/ssh/opsrun-new
if [ "$(ssh-keygen -y -f ssh_host_ed25519_key | cut -d' ' -f2)" = "$given" ]; then
  mkdir -p "$new"
  for kind in ed25519 ecdsa; do
    key=$new/ssh_host_${kind}_key
    if [ ! -s "$key" ] || [ ! -s "$key.pub" ]; then
      rm -f "$key" "$key.pub"; ssh-keygen -q -N '' -C "root@$(uname -n)" -t "$kind" -f "$key" </dev/null
    fi
  done
  cat "$new"/ssh_host_*_key.pub
else
  for key in ssh_host_*_key; do ssh-keygen -y -f "$key"; done
fi
"#;
/// The ed25519 key goes last: the first lines see by it whether all is done.
const PLACE: &str = r#"set -eu; umask 077; cd /etc/ssh; new=/etc/ssh/opsrun-new
shown=$(ssh-keygen -y -f ssh_host_ed25519_key | cut -d' ' -f2)
if [ "$shown" = "$given" ]; then
  if [ "$(cut -d' ' -f2 "$new/ssh_host_ed25519_key.pub")" != "$own" ]; then
    echo 'another opsrun is making keys for this machine at the same time' >&2; exit 1
  fi
  for kind in ecdsa ed25519; do
    if [ -s "$new/ssh_host_${kind}_key" ]; then mv -f "$new/ssh_host_${kind}_key" "ssh_host_${kind}_key"; fi
  done
fi
rm -rf "$new"
for key in ssh_host_*_key; do ssh-keygen -y -f "$key" >"$key.pub"; chmod 644 "$key.pub"; done
if command -v restorecon >/dev/null; then restorecon -R /etc/ssh || :; fi
for unit in ssh sshd; do
  if systemctl reload "$unit" 2>/dev/null || service "$unit" reload >/dev/null 2>&1; then break; fi
done
"#;

/// A machine that has not shown keys of its own yet.
struct Stranger {
    name: String,
    id: Option<String>,
    endpoint: Endpoint,
    given: String,
}

/// Waits until all nodes answer that should, and makes the first contact with those that are new.
pub(super) async fn reach_all(deployment: Deployment, provider: &dyn Provider, reach: &dyn Reach, cx: &Cx) -> Result<Deployment> {
    let deployment = read_consoles(deployment, provider, cx).await?;
    let up: NodeSet = deployment.nodes().iter().filter(|n| !deployment.is_stopped(&n.name)).cloned().collect();
    let answers = wait::for_all(&deployment, &up, reach, cx).await;
    cx.cancel.check()?;
    let answering: Vec<&str> = up.iter().zip(&answers).filter(|(_, a)| a.is_ok()).map(|(n, _)| n.name.as_str()).collect();
    let met = meet(&deployment, |node| answering.contains(&node.name.as_str()), Some(provider), reach, cx).await;
    cx.cancel.check()?;
    wait::judge(answers)?;
    met?;
    reread(&deployment)
}

/// Makes the first contact that a command with `--no-wait` left to others. A machine that cannot be met keeps nobody from using
/// the others.
pub(super) async fn catch_up(deployment: Deployment, reach: &dyn Reach, cx: &Cx) -> Result<Deployment> {
    let new = |n: &NodeRecord| n.first_contact.is_some() && !n.stopped;
    if deployment.config.provider != ProviderKind::Aws || !deployment.record.nodes.iter().any(new) {
        return Ok(deployment);
    }
    let on_console = |n: &NodeRecord| new(n) && n.first_contact == Some(FirstContact::Console);
    // Without credentials, say, machines can be met all the same.
    let provider = provider_of(&deployment.store, &deployment.record);
    let deployment = if deployment.record.nodes.iter().any(on_console) {
        read_consoles(deployment, provider.as_deref().map_err(Clone::clone)?, cx).await?
    } else {
        deployment
    };
    let met = meet(&deployment, |_| true, provider.ok().as_deref(), reach, cx).await;
    cx.cancel.check()?;
    if let Err(error) = met {
        let failed: Vec<String> = error.details().failed.iter().map(ToString::to_string).collect();
        let why = if failed.is_empty() { error.to_string() } else { failed.join("; ") };
        cx.events.warn(format!("the first contact is still to be made: {why}"));
    }
    reread(&deployment)
}

fn reread(deployment: &Deployment) -> Result<Deployment> {
    let store = &deployment.store;
    let record = store.read()?.ok_or_else(|| gone(store))?;
    Deployment::from_record(store.clone(), record)
}

fn gone(store: &Store) -> Error {
    state::not_found(store.dir().parent().unwrap_or(store.dir()), store.name())
}

async fn read_consoles(deployment: Deployment, provider: &dyn Provider, cx: &Cx) -> Result<Deployment> {
    let new = |n: &&NodeRecord| n.first_contact == Some(FirstContact::Console) && !n.stopped;
    let new: Vec<NodeRecord> = deployment.record.nodes.iter().filter(new).cloned().collect();
    if new.is_empty() {
        return Ok(deployment);
    }
    let names: Vec<String> = new.iter().map(|n| n.name.clone()).collect();
    let site = site(&deployment.store, &deployment.record, &deployment.config);
    let told = provider.console_keys(&site, &names, cx).await?;
    let known =
        new.iter().filter_map(|n| Some((n.name.as_str(), n.id.as_deref(), &told.iter().find(|(name, _)| *name == n.name)?.1)));
    write_down(&deployment.store, &known.map(|(name, id, keys)| (name, id, keys.as_slice())).collect::<Vec<_>>(), true)?;
    reread(&deployment)
}

/// Meets all new machines among these at once.
async fn meet(
    deployment: &Deployment,
    among: impl Fn(&NodeRecord) -> bool,
    provider: Option<&dyn Provider>,
    reach: &dyn Reach,
    cx: &Cx,
) -> Result<()> {
    let stranger = |n: &NodeRecord| match &n.first_contact {
        Some(FirstContact::Given(given)) if !n.stopped && among(n) => {
            Some(Stranger { name: n.name.clone(), id: n.id.clone(), endpoint: n.endpoint.clone(), given: given.clone() })
        }
        _ => None,
    };
    let strangers: Vec<Stranger> = deployment.record.nodes.iter().filter_map(stranger).collect();
    if strangers.is_empty() {
        return Ok(());
    }
    let names = fold_names(&strangers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    let progress = cx.events.progress(format!("first contact with {names}"), strangers.len() as u64, Unit::Items);
    let (mut failed, mut told) = (Vec::new(), Vec::new());
    for (stranger, answer) in strangers.iter().zip(at_once(&strangers, |s| own_keys(s, reach, cx)).await) {
        match answer {
            Ok(keys) => told.push((stranger, keys)),
            Err(error) => failed.push(error),
        }
    }
    let store = &deployment.store;
    let known = |told: &[(&Stranger, Vec<String>)], over: bool| {
        let known: Vec<_> = told.iter().map(|(s, keys)| (s.name.as_str(), s.id.as_deref(), keys.as_slice())).collect();
        write_down(store, &known, over)
    };
    known(&told, false)?;
    let file = tempfile::NamedTempFile::new().at("write", "a file of known hosts")?;
    for (stranger, keys) in &told {
        let lines: String = keys.iter().map(|key| format!("{} {key}\n", ssh_files::host_field(&stranger.endpoint))).collect();
        file.as_file().write_all(lines.as_bytes()).at("write", file.path())?;
    }
    let mut done = Vec::new();
    let placed = at_once(&told, |(stranger, keys)| async {
        let placed = place(stranger, keys, file.path(), reach, cx).await;
        progress.advance(1);
        placed
    });
    for (one, answer) in placed.await.into_iter().enumerate() {
        match answer {
            Ok(()) => done.extend(told.get(one).cloned()),
            Err(error) => failed.push(error),
        }
    }
    if let Some(provider) = provider {
        let site = site(store, &deployment.record, &deployment.config);
        let keys = done.iter().filter_map(|(s, keys)| Some((s.id.clone()?, ed25519(keys)?.to_owned())));
        // Only others need it: here it is written down in any case.
        if let Err(error) = provider.keep_host_keys(&site, &keys.collect::<Vec<_>>(), cx).await {
            cx.events.warn(format!("the host keys of {names} could not be kept with them: {error}"));
        }
    }
    known(&done, true)?;
    wait::sum_up(failed, strangers.len(), "could not be met")
}

async fn at_once<'a, S, T, F>(all: &'a [S], work: impl Fn(&'a S) -> F) -> Vec<Result<T>>
where
    F: Future<Output = Result<T>>,
{
    stream::iter(all.iter().map(work)).buffered(wait::AT_ONCE).collect().await
}

/// Has the machine make keys of its own, if it has none yet. Returns their public halves as known_hosts has them.
async fn own_keys(stranger: &Stranger, reach: &dyn Reach, cx: &Cx) -> Result<Vec<String>> {
    let said = run(stranger, format!("given={}\n{MAKE}", quote(blob(&stranger.given))), reach, cx).await?;
    let keys: Vec<String> = said.lines().filter_map(public_key).collect();
    if ed25519(&keys).is_some() {
        return Ok(keys);
    }
    Err(unmet(Error::new(Kind::HostKey, "it has no host key of its own, and made none"), stranger))
}

/// Puts its own keys in the given one's place, and sees that it shows them.
async fn place(stranger: &Stranger, keys: &[String], known: &Path, reach: &dyn Reach, cx: &Cx) -> Result<()> {
    let own = ed25519(keys).map_or("", blob);
    let line = format!("given={}\nown={}\n{PLACE}", quote(blob(&stranger.given)), quote(own));
    run(stranger, line, reach, cx).await?;
    let anew = Endpoint {
        known_hosts: vec![known.to_owned()],
        host_keys: HostKeyPolicy::Strict,
        retry_for: SHOWN_WITHIN,
        ..stranger.endpoint.clone()
    };
    let start = Instant::now();
    loop {
        match reach.answers(&anew, cx).await {
            // It has not read them yet.
            Err(e) if e.kind() == Kind::HostKey && start.elapsed() < SHOWN_WITHIN => {
                cx.cancel.pause(Duration::from_millis(300)).await?;
            }
            Err(e) => {
                return Err(unmet(e, stranger)
                    .hint("Its sshd did not take up its new host keys. Restart it there, then run the same command again."));
            }
            Ok(()) => return Ok(()),
        }
    }
}

async fn run(stranger: &Stranger, line: String, reach: &dyn Reach, cx: &Cx) -> Result<String> {
    let command = Command { sudo: true, timeout: Some(WORK), ..Command::new(line) };
    let output = reach.run(&stranger.endpoint, &command, cx).await.map_err(|e| unmet(e, stranger))?;
    match output.failure("the first contact's script") {
        Some(error) => Err(unmet(error, stranger).hint("It needs a user who may use sudo without a password, as images have.")),
        None => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

fn unmet(error: Error, stranger: &Stranger) -> Error {
    error.on_node(&stranger.name).context("making the first contact")
}

/// `ssh-ed25519 AAAA… comment` without its comment; none for any other line.
fn public_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, blob) = (words.next()?, words.next()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let known = kind == "ssh-ed25519" || kind == "ssh-rsa" || kind.starts_with("ecdsa-sha2-nistp");
    (known && blob.chars().all(plain)).then(|| format!("{kind} {blob}"))
}

/// The one that every machine has.
fn ed25519(keys: &[String]) -> Option<&str> {
    keys.iter().map(String::as_str).find(|key| key.starts_with("ssh-ed25519 "))
}

fn blob(key: &str) -> &str {
    key.split_whitespace().nth(1).unwrap_or_default()
}

/// Writes down the keys of these machines, which are still the ones that were met. `over`: no other key of theirs is accepted
/// any more.
fn write_down(store: &Store, known: &[(&str, Option<&str>, &[String])], over: bool) -> Result<()> {
    if known.is_empty() {
        return Ok(());
    }
    let lock = store.lock(&format!("opsrun, first contact with nodes of {}", store.name()));
    let lock = lock.context(|| "writing down the host keys of new nodes".to_owned())?;
    let (Some(lock), Some(mut record)) = (lock, store.read()?) else { return Err(gone(store)) };
    for (name, id, keys) in known {
        for node in record.nodes.iter_mut().filter(|n| n.name == *name && n.id.as_deref() == *id) {
            node.host_keys = keys.to_vec();
            if over {
                node.first_contact = None;
            }
        }
    }
    let before = std::fs::read_to_string(store.dir().join("known_hosts")).unwrap_or_default();
    store.write_file("known_hosts", &ssh_files::known_hosts(&before, &[], &record.nodes), &lock)?;
    store.write(&record, &lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_keys_are_taken_for_such() {
        assert_eq!(public_key("ssh-ed25519 AAAA+/= root@ip").as_deref(), Some("ssh-ed25519 AAAA+/="));
        for line in ["", "ssh-ed25519", "Welcome to AAAA", "ssh-ed25519 AA\u{1b}A", "ssh-dss AAAA x"] {
            assert_eq!(public_key(line), None, "{line}");
        }
    }
}
