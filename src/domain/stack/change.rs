//! What would become of each resource, the worst first.

use crate::domain::formation::is_data_bearing;
use crate::transport::provider::aws::stack::change_set::{Cause, ResourceChange};
use crate::transport::provider::aws::stack::events::NESTED;
use serde::Serialize;

pub(super) const LOST: &str = "its data is lost";

/// What happens to a resource. The order is the one in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Made anew; what is there now goes.
    Replace,
    /// Replaced or not: AWS finds out while it does it.
    MayReplace,
    Remove,
    Modify,
    /// Exists outside of the stack, and becomes part of it.
    Import,
    Add,
}

impl Effect {
    /// What is there now is lost, or may be.
    pub fn loses(self) -> bool {
        matches!(self, Self::Replace | Self::MayReplace | Self::Remove)
    }

    fn of(change: &ResourceChange) -> Self {
        match (change.action.as_str(), change.replacement.as_deref()) {
            ("Add", _) => Self::Add,
            ("Import", _) => Self::Import,
            ("Remove", _) => Self::Remove,
            (_, Some("True")) => Self::Replace,
            ("Modify", Some("False") | None) if !always(change) => Self::Modify,
            // Whatever else AWS says is not known to leave it in its place.
            _ => Self::MayReplace,
        }
    }
}

/// A property says that it cannot be changed in place, whatever the summary says.
fn always(change: &ResourceChange) -> bool {
    change.causes.iter().any(|c| c.recreation.as_deref() == Some("Always"))
}

/// One resource's part of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// The logical ID; in nested stacks with theirs before it: `Data/Table`.
    pub name: String,
    pub kind: String,
    pub physical_id: Option<String>,
    pub effect: Effect,
    /// What its policies do with what was there: `Snapshot`, `ReplaceAndDelete`…
    pub policy: Option<String>,
    /// Why: the properties that differ, and what they get their new values from.
    pub causes: Vec<String>,
    /// It holds data that would be gone from the stack.
    pub loses_data: bool,
    /// It is not done, as long as `--replace` does not name it.
    pub refused: bool,
}

impl Change {
    /// `above`: the nested stack it is in. `replace`: what may be lost.
    pub fn new(above: &str, change: &ResourceChange, replace: &[String]) -> Self {
        let name = if above.is_empty() { change.logical_id.clone() } else { format!("{above}/{}", change.logical_id) };
        let effect = Effect::of(change);
        // A nested stack that goes takes with it what nobody has looked at.
        let data = is_data_bearing(&change.kind) || (change.kind == NESTED && effect == Effect::Remove);
        // What is taken out of the stack and left where it is loses nothing.
        let kept = effect == Effect::Remove && change.policy.as_deref() == Some("Retain");
        let loses_data = data && effect.loses() && !kept;
        Self {
            refused: loses_data && !replace.contains(&name),
            kind: change.kind.clone(),
            physical_id: change.physical_id.clone(),
            policy: change.policy.clone(),
            causes: why(&change.causes),
            name,
            effect,
            loses_data,
        }
    }

    /// What becomes of its data, in words.
    pub fn data_fate(&self) -> &'static str {
        match self.policy.as_deref() {
            Some("Retain" | "ReplaceAndRetain") => "its data stays with the old one, outside of the stack",
            Some("Snapshot" | "ReplaceAndSnapshot") => "its data stays only in a snapshot",
            _ => LOST,
        }
    }

    /// One that is made, of a stack that is not there.
    pub fn add(name: &str, kind: &str) -> Self {
        let change = ResourceChange {
            logical_id: name.to_owned(),
            kind: kind.to_owned(),
            action: "Add".to_owned(),
            ..ResourceChange::default()
        };
        Self::new("", &change, &[])
    }
}

/// The causes in words, each once. AWS names a property that a parameter changes twice, with the parameter and without.
fn why(causes: &[Cause]) -> Vec<String> {
    let explained = |cause: &Cause| {
        let same = |other: &Cause| other.from.is_some() && (&other.attribute, &other.name) == (&cause.attribute, &cause.name);
        cause.from.is_none() && causes.iter().any(same)
    };
    let mut out: Vec<String> = Vec::new();
    for text in causes.iter().filter(|c| !explained(c)).map(words) {
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// `Engine (replaces) from DatabaseEngine`
fn words(cause: &Cause) -> String {
    let what = cause.name.as_deref().unwrap_or(match cause.attribute.as_str() {
        "Properties" | "" => "its properties",
        "Tags" => "its tags",
        other => other,
    });
    let how = match cause.recreation.as_deref() {
        Some("Always") => " (replaces)",
        Some("Conditionally") => " (may replace)",
        _ => "",
    };
    let from = cause.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    format!("{what}{how}{from}")
}

/// The worst first, then by name.
pub fn sort(changes: &mut [Change]) {
    changes.sort_by(|a, b| (!a.refused, a.effect, &a.name).cmp(&(!b.refused, b.effect, &b.name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: &str, replacement: Option<&str>, kind: &str, policy: Option<&str>) -> ResourceChange {
        ResourceChange {
            logical_id: "It".to_owned(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            replacement: replacement.map(str::to_owned),
            policy: policy.map(str::to_owned),
            ..ResourceChange::default()
        }
    }

    #[test]
    fn what_may_replace_counts_as_replacement() {
        let cases = [
            ("Add", None, Effect::Add),
            ("Remove", None, Effect::Remove),
            ("Import", None, Effect::Import),
            ("Modify", Some("False"), Effect::Modify),
            ("Modify", None, Effect::Modify),
            ("Modify", Some("True"), Effect::Replace),
            ("Modify", Some("Conditional"), Effect::MayReplace),
            ("Dynamic", None, Effect::MayReplace),
            ("Dynamic", Some("False"), Effect::MayReplace),
            ("SomethingNew", Some("False"), Effect::MayReplace),
        ];
        for (action, replacement, wanted) in cases {
            assert_eq!(Effect::of(&change(action, replacement, "", None)), wanted, "{action} {replacement:?}");
        }
        let mut always = change("Modify", Some("False"), "", None);
        always.causes.push(Cause { recreation: Some("Always".to_owned()), ..Cause::default() });
        assert_eq!(Effect::of(&always), Effect::MayReplace);
    }

    #[test]
    fn data_is_not_lost_without_being_named() {
        const DATABASE: &str = "AWS::RDS::DBInstance";
        let refused = |action, replacement, kind, policy, named: &[&str]| {
            let named: Vec<String> = named.iter().map(|n| (*n).to_owned()).collect();
            Change::new("", &change(action, replacement, kind, policy), &named).refused
        };
        assert!(refused("Modify", Some("True"), DATABASE, Some("ReplaceAndRetain"), &[]));
        assert!(refused("Modify", Some("Conditional"), DATABASE, None, &["Other"]));
        assert!(refused("Remove", None, DATABASE, Some("Snapshot"), &[]));
        assert!(refused("Dynamic", None, DATABASE, None, &[]));
        assert!(refused("Remove", None, NESTED, None, &[]), "nobody knows what is in it");
        assert!(!refused("Modify", Some("True"), DATABASE, None, &["It"]));
        assert!(!refused("Modify", Some("False"), DATABASE, None, &[]));
        assert!(!refused("Remove", None, DATABASE, Some("Retain"), &[]), "it stays where it is");
        assert!(!refused("Modify", Some("True"), "AWS::EC2::SecurityGroup", None, &[]));
        let nested = Change::new("Data/Deep", &change("Remove", None, DATABASE, None), &["Data/Deep/It".to_owned()]);
        assert!(nested.name == "Data/Deep/It" && !nested.refused && nested.loses_data);
    }

    #[test]
    fn the_worst_comes_first() {
        let one = |name: &str, action, replacement, kind| Change {
            name: name.to_owned(),
            ..Change::new("", &change(action, replacement, kind, None), &[])
        };
        let mut changes = [
            one("A", "Add", None, ""),
            one("B", "Modify", Some("False"), ""),
            one("C", "Remove", None, ""),
            one("D", "Modify", Some("True"), ""),
            one("E", "Remove", None, "AWS::S3::Bucket"),
            one("F", "Dynamic", None, ""),
        ];
        sort(&mut changes);
        assert_eq!(changes.map(|c| c.name).concat(), "EDFCBA");
    }

    #[test]
    fn causes_are_said_in_words() {
        let cause = |attribute: &str, name: Option<&str>, recreation: Option<&str>, from: Option<&str>| {
            let own = |t: Option<&str>| t.map(str::to_owned);
            words(&Cause { attribute: attribute.to_owned(), name: own(name), recreation: own(recreation), from: own(from) })
        };
        assert_eq!(
            cause("Properties", Some("Engine"), Some("Always"), Some("DatabaseEngine")),
            "Engine (replaces) from DatabaseEngine"
        );
        assert_eq!(cause("Properties", None, Some("Conditionally"), None), "its properties (may replace)");
        assert_eq!(cause("Tags", None, Some("Never"), None), "its tags");
        assert_eq!(cause("Metadata", None, None, None), "Metadata");
        let size = |from: Option<&str>| Cause {
            attribute: "Properties".to_owned(),
            name: Some("MaxSize".to_owned()),
            from: from.map(str::to_owned),
            ..Cause::default()
        };
        assert_eq!(why(&[size(None), size(Some("WebMax")), size(Some("WebMax"))]), ["MaxSize from WebMax"]);
    }
}
