//! Who may connect: one security group for each node group.
//!
//! Nodes of the deployment reach each other's ports by reference to their security groups. Port 22 and the web ports are also
//! open to the networks that `allow_from` names.

use super::client::{Client, no_retries};
use super::network::{Found, Network, forgive, key_name};
use super::settings::{GroupSettings, Settings};
use super::tags;
use crate::base::error::Result;
use crate::base::event::Cx;
use crate::transport::provider::Site;
use aws_sdk_ec2::types::{IpPermission, IpRange, ResourceType, SecurityGroup, UserIdGroupPair};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const SSH: u16 = 22;

/// One opening: a port, and from where.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Rule {
    pub protocol: String,
    pub from: i32,
    pub to: i32,
    /// A network, or the ID of a security group.
    pub source: String,
}

impl Rule {
    fn tcp(port: u16, source: &str) -> Self {
        Self { protocol: "tcp".to_owned(), from: port.into(), to: port.into(), source: source.to_owned() }
    }

    fn permission(&self) -> IpPermission {
        let base = IpPermission::builder().ip_protocol(&self.protocol).from_port(self.from).to_port(self.to);
        if self.source.starts_with("sg-") {
            base.user_id_group_pairs(UserIdGroupPair::builder().group_id(&self.source).build()).build()
        } else {
            base.ip_ranges(IpRange::builder().cidr_ip(&self.source).build()).build()
        }
    }

    /// `9042`, `tcp 1000-2000`
    pub fn port(&self) -> String {
        match (self.protocol.as_str(), self.from == self.to) {
            ("-1", _) => "everything".to_owned(),
            ("tcp", true) => self.from.to_string(),
            (protocol, true) => format!("{protocol} {}", self.from),
            (protocol, false) => format!("{protocol} {}-{}", self.from, self.to),
        }
    }
}

/// The rules that a security group has.
pub fn rules_of(group: &SecurityGroup) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for permission in group.ip_permissions() {
        let networks = permission.ip_ranges().iter().filter_map(|r| r.cidr_ip());
        let networks = networks.chain(permission.ipv6_ranges().iter().filter_map(|r| r.cidr_ipv6()));
        let groups = permission.user_id_group_pairs().iter().filter_map(|p| p.group_id());
        let lists = permission.prefix_list_ids().iter().filter_map(|p| p.prefix_list_id());
        for source in networks.chain(groups).chain(lists) {
            rules.insert(Rule {
                protocol: permission.ip_protocol().unwrap_or("-1").to_owned(),
                from: permission.from_port().unwrap_or(-1),
                to: permission.to_port().unwrap_or(-1),
                source: source.to_owned(),
            });
        }
    }
    rules
}

/// The rules that a group should have. `members` are the IDs of the security groups of the deployment.
pub fn wanted(group: &GroupSettings, members: &BTreeMap<String, String>, allow_from: &[String]) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for port in std::iter::once(&SSH).chain(&group.ports).chain(&group.web_ports) {
        rules.extend(members.values().map(|id| Rule::tcp(*port, id)));
    }
    for port in std::iter::once(&SSH).chain(&group.web_ports) {
        rules.extend(allow_from.iter().map(|network| Rule::tcp(*port, network)));
    }
    rules
}

pub fn name(site: &Site, group: &str) -> String {
    format!("{}-{group}", key_name(site))
}

/// The security groups that there are, by node group.
pub fn by_group(found: &Found) -> BTreeMap<String, &SecurityGroup> {
    found.groups.iter().filter_map(|g| Some((tags::map(g.tags()).remove("Group")?, g))).collect()
}

/// Makes the groups and brings their rules up to date. Returns their IDs by node group.
pub async fn ensure(
    client: &Client,
    site: &Site,
    settings: &Settings,
    network: &Network,
    found: &Found,
    allow_from: &[String],
    cx: &Cx,
) -> Result<BTreeMap<String, String>> {
    let there = by_group(found);
    let made = settings.groups.keys().map(|group| async {
        let id = match there.get(group).and_then(|g| g.group_id()) {
            Some(id) => id.to_owned(),
            None => make(client, site, settings, network, group, cx).await?,
        };
        Ok::<_, crate::base::error::Error>((group.clone(), id))
    });
    let ids: BTreeMap<String, String> = futures::future::try_join_all(made).await?.into_iter().collect();
    let adjusted = ids.iter().map(|(group, id)| {
        let have = there.get(group).map(|g| rules_of(g)).unwrap_or_default();
        let want = wanted(&settings.group(group), &ids, allow_from);
        adjust(client, id, have, want, cx)
    });
    futures::future::try_join_all(adjusted).await?;
    Ok(ids)
}

async fn make(client: &Client, site: &Site, settings: &Settings, network: &Network, group: &str, cx: &Cx) -> Result<String> {
    let name = name(site, group);
    let mut tags = tags::named(site, settings, &name);
    tags.insert("Group".to_owned(), group.to_owned());
    let find = || async {
        let filters = vec![tags::of(site), tags::filter("group-name", [name.as_str()])];
        let request = client.ec2.describe_security_groups().set_filters(Some(filters));
        let groups = client.read("DescribeSecurityGroups", cx, request.send()).await?;
        Ok(groups.security_groups().iter().filter_map(|g| g.group_id()).min().map(str::to_owned))
    };
    let send = || {
        let request = client.ec2.create_security_group().group_name(&name).vpc_id(&network.vpc);
        let request = request.description(format!("Nodes of group {group} of opsrun deployment {}", site.deployment));
        let request = request.tag_specifications(tags::specification(ResourceType::SecurityGroup, &tags));
        request.customize().config_override(no_retries()).send()
    };
    let id = |answer: &aws_sdk_ec2::operation::create_security_group::CreateSecurityGroupOutput| {
        answer.group_id().unwrap_or_default().to_owned()
    };
    let request = json!({ "name": name, "vpc": network.vpc, "tags": tags });
    let id = client.once("CreateSecurityGroup", request, cx, find, id, send).await?;
    Ok(id)
}

async fn adjust(client: &Client, id: &str, have: BTreeSet<Rule>, want: BTreeSet<Rule>, cx: &Cx) -> Result<()> {
    let missing: Vec<&Rule> = want.difference(&have).collect();
    let surplus: Vec<&Rule> = have.difference(&want).collect();
    let permissions = |rules: &[&Rule]| Some(rules.iter().map(|r| r.permission()).collect());
    if !missing.is_empty() {
        let send = || client.ec2.authorize_security_group_ingress().group_id(id).set_ip_permissions(permissions(&missing)).send();
        let request = json!({ "group": id, "rules": missing });
        let done = client.change("AuthorizeSecurityGroupIngress", request, cx, |_| Vec::new(), send).await;
        forgive(done, &["InvalidPermission.Duplicate"])?;
    }
    if !surplus.is_empty() {
        let send = || client.ec2.revoke_security_group_ingress().group_id(id).set_ip_permissions(permissions(&surplus)).send();
        let request = json!({ "group": id, "rules": surplus });
        let done = client.change("RevokeSecurityGroupIngress", request, cx, |_| Vec::new(), send).await;
        forgive(done, &["InvalidPermission.NotFound"])?;
    }
    Ok(())
}

/// Takes all rules away, so that groups which refer to each other can be deleted.
pub async fn clear(client: &Client, group: &SecurityGroup, cx: &Cx) -> Result<()> {
    let Some(id) = group.group_id() else { return Ok(()) };
    let rules: BTreeSet<Rule> = rules_of(group).into_iter().filter(|r| r.source.starts_with("sg-")).collect();
    adjust(client, id, rules, BTreeSet::new(), cx).await
}
