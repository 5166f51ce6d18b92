//! Machines that end themselves: a timer of their own turns them off, and EC2 terminates what turns itself off.

use super::client::Client;
use super::machine::Machine;
use super::tags::{self, Tags};
use super::{Aws, census, network};
use crate::base::error::Result;
use crate::base::event::Cx;
use crate::transport::provider::Site;
use aws_sdk_ec2::types::AttributeValue;
use jiff::Timestamp;
use serde_json::json;

/// IDs in one request that sets tags.
const AT_ONCE: usize = 200;

/// A script for root that sets the machine's timer, or moves it. With `Persistent=` off, a time that passes while the machine is
/// off is passed over: who starts it again wants it.
pub fn timer(at: Timestamp) -> String {
    let time = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!(
        "#!/bin/sh
# opsrun: this machine ends itself at its deployment's expiry. Moved by: opsrun extend
set -e
umask 022
cat > /etc/systemd/system/opsrun-expire.service <<'END'
[Unit]
Description=End of this machine, at the expiry of its opsrun deployment

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec systemctl --no-block poweroff'
END
cat > /etc/systemd/system/opsrun-expire.timer <<'END'
[Unit]
Description=Expiry of this machine's opsrun deployment

[Timer]
OnCalendar={time}
AccuracySec=1s
Persistent=false

[Install]
WantedBy=timers.target
END
systemctl daemon-reload
systemctl enable --quiet opsrun-expire.timer
systemctl restart opsrun-expire.timer
"
    )
}

impl Aws {
    /// Writes the time of expiry on everything of the deployment that does not say it yet.
    pub(super) async fn write_expiry(&self, site: &Site, cx: &Cx) -> Result<()> {
        let Some(at) = self.settings.expires_at.map(tags::time) else { return Ok(()) };
        let client = self.client().await?;
        client.account(cx).await?;
        let machines = client.machines(site, cx).await?;
        let marked = [tags::filter("key", [tags::UUID]), tags::filter("value", [site.uuid.to_string()])];
        let (marked, saying) = tokio::try_join!(census::described(client, &marked, cx), says(client, &at, cx))?;
        // Of machines only those that have not ended.
        let others = marked.into_iter().filter(|(_, (kind, _))| kind != "instance").map(|(id, _)| id);
        let stale = |id: &String| !saying.contains(id);
        let ids: Vec<String> = machines.iter().map(|m| m.id.clone()).chain(others).filter(stale).collect();
        let tags = Tags::from([("expires-at".to_owned(), at)]);
        for some in ids.chunks(AT_ONCE) {
            network::tag(client, some, &tags, cx).await?;
        }
        Ok(())
    }

    /// Says what EC2 does to these nodes when they turn themselves off: ends them, or leaves them stopped.
    pub(super) async fn set_ending(&self, site: &Site, names: &[String], ends: bool, cx: &Cx) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let client = self.client().await?;
        // One-time spot machines cannot be stopped, whoever turns them off.
        let able = |m: &&Machine| names.contains(&m.name()) && (ends || !m.spot);
        for machine in client.machines(site, cx).await?.iter().filter(able) {
            set(client, &machine.id, &machine.tags, ends, cx).await?;
        }
        Ok(())
    }
}

/// What already says this time.
async fn says(client: &Client, at: &str, cx: &Cx) -> Result<Vec<String>> {
    let filters = [tags::filter("key", ["expires-at"]), tags::filter("value", [at])];
    Ok(census::described(client, &filters, cx).await?.into_keys().collect())
}

/// The same for one machine. The tag says which it is: reading the attribute takes a call for each.
pub async fn set(client: &Client, id: &str, have: &Tags, ends: bool, cx: &Cx) -> Result<()> {
    let word = if ends { tags::TERMINATE } else { tags::STOP };
    if have.get(tags::AT_EXPIRY).map_or(tags::STOP, String::as_str) == word {
        return Ok(());
    }
    let value = || AttributeValue::builder().value(word).build();
    let send = || client.ec2.modify_instance_attribute().instance_id(id).instance_initiated_shutdown_behavior(value()).send();
    let request = json!({ "id": id, "shutdown": word });
    client.change("ModifyInstanceAttribute", request, cx, |_| Vec::new(), send).await?;
    let tag = Tags::from([(tags::AT_EXPIRY.to_owned(), word.to_owned())]);
    network::tag(client, &[id.to_owned()], &tag, cx).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_a_script_with_its_time_in_it() {
        let script = timer(Timestamp::from_second(1_795_000_000).unwrap());
        assert!(script.starts_with("#!/bin/sh\n") && script.contains("OnCalendar=2026-11-18 11:06:40 UTC\n"), "{script}");
        let shell = std::process::Command::new("sh").args(["-n", "-c", &script]).status().unwrap();
        assert!(shell.success());
    }
}
