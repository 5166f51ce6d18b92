//! A plan in lines. What they look like is for those who show them: each has a tone.

use super::{Change, Effect, Kind, Plan};
use crate::base::secret;
use crate::domain::resource::Diff;
use similar::{ChangeTag, TextDiff};

/// What sort of line it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    Title,
    /// Something is lost.
    Loss,
    Change,
    Gain,
    /// Of a diff: a line that goes.
    Minus,
    Plain,
    Dim,
}

pub type Line = (Tone, String);

/// Lines shown around a change of the template.
const AROUND: usize = 3;
/// Longer diffs are cut: nobody reads them on a terminal.
const LINES: usize = 400;

/// Returns the plan without colours, each line ending in a newline.
pub fn text(plan: &Plan) -> String {
    lines(plan).into_iter().map(|(_, line)| line + "\n").collect()
}

/// Returns the plan, the worst first. Secrets are masked.
pub fn lines(plan: &Plan) -> Vec<Line> {
    let mut out = vec![(Tone::Title, title(plan))];
    for change in &plan.changes {
        out.extend(of_change(change));
    }
    section(&mut out, "parameters", parameters(plan));
    section(&mut out, "settings", plan.settings.iter().map(|s| (Tone::Change, format!("  ~ {s}"))).collect());
    if let Some(diff) = &plan.template {
        section(&mut out, "template", template(diff));
    }
    if plan.kind != Kind::None {
        out.extend(plan.capabilities.iter().map(|c| (Tone::Plain, format!("  needs {}, for {}", c.name, c.because))));
    }
    out.extend(plan.notes.iter().map(|note| (Tone::Change, format!("  note: {note}"))));
    out.push((Tone::Plain, summary(plan)));
    out.into_iter().map(|(tone, line)| (tone, secret::mask(&line).into_owned())).collect()
}

fn title(plan: &Plan) -> String {
    let status = plan.status.map(|s| format!(" ({s})")).unwrap_or_default();
    match plan.kind {
        Kind::Create => format!("new stack {}{status}", plan.stack),
        Kind::Update | Kind::None => format!("stack {}{status}", plan.stack),
    }
}

fn section(out: &mut Vec<Line>, title: &str, lines: Vec<Line>) {
    if !lines.is_empty() {
        out.push((Tone::Dim, format!("{title}:")));
        out.extend(lines);
    }
}

fn of_change(change: &Change) -> Vec<Line> {
    let (tone, sign, word) = match change.effect {
        Effect::Replace => (Tone::Loss, "-/+", "REPLACE"),
        Effect::MayReplace => (Tone::Loss, "-/+", "MAY REPLACE"),
        Effect::Remove => (Tone::Loss, "  -", "DELETE"),
        Effect::Modify => (Tone::Change, "  ~", "change"),
        Effect::Import => (Tone::Change, "  <", "import"),
        Effect::Add => (Tone::Gain, "  +", "add"),
    };
    let id = change.physical_id.as_ref().filter(|_| change.effect.loses()).map(|id| format!(" {id}")).unwrap_or_default();
    let policy = change.policy.as_ref().map(|p| format!(" [{}]", fate(p))).unwrap_or_default();
    let why = if change.causes.is_empty() { String::new() } else { format!(": {}", change.causes.join(", ")) };
    let mut lines = vec![(tone, format!("{sign} {word:<11} {} ({}){id}{policy}{why}", change.name, change.kind))];
    if change.refused {
        lines.push((Tone::Loss, format!("                REFUSED: {}; --replace {} allows it", change.data_fate(), change.name)));
    } else if change.loses_data {
        lines.push((Tone::Loss, format!("                {}, as --replace allows", change.data_fate())));
    }
    lines
}

/// What a `PolicyAction` means for what is there now.
fn fate(policy: &str) -> String {
    let words = match policy {
        "Delete" | "ReplaceAndDelete" => "the old one is deleted",
        "Retain" | "ReplaceAndRetain" => "the old one stays, outside of the stack",
        "Snapshot" | "ReplaceAndSnapshot" => "a snapshot of the old one stays",
        _ => return policy.to_owned(),
    };
    format!("{policy}: {words}")
}

fn parameters(plan: &Plan) -> Vec<Line> {
    let one = |v: &super::ValueChange| {
        let word = |text: &Option<String>| text.as_ref().map(|t| if t.is_empty() { "\"\"".to_owned() } else { t.clone() });
        let (before, after) = (word(&v.before), word(&v.after));
        let text = match (&before, &after) {
            (Some(before), Some(after)) => format!("  ~ {}: {before} → {after}", v.name),
            (None, Some(after)) => format!("  + {}: {after}", v.name),
            (Some(before), None) => format!("  - {}: {before}", v.name),
            (None, None) => format!("  {}", v.name),
        };
        let unknown = v.hidden && before.is_some() && after.is_some();
        let more = if unknown { " (hidden: whether it changed is not known)" } else { "" };
        (if before.is_none() { Tone::Gain } else { Tone::Change }, format!("{text}{more}"))
    };
    plan.parameters.iter().map(one).collect()
}

fn template(diff: &Diff) -> Vec<Line> {
    let text = |side: &Option<Vec<u8>>| String::from_utf8_lossy(side.as_deref().unwrap_or_default()).into_owned();
    let (before, after) = (text(&diff.before), text(&diff.after));
    let mut lines: Vec<Line> = Vec::new();
    let compared = TextDiff::from_lines(&before, &after);
    for hunk in compared.unified_diff().context_radius(AROUND).iter_hunks() {
        lines.push((Tone::Dim, format!("  {}", hunk.header().to_string().trim_end())));
        for change in hunk.iter_changes() {
            let content: &str = change.value();
            let line = content.strip_suffix('\n').unwrap_or(content);
            lines.push(match change.tag() {
                ChangeTag::Delete => (Tone::Minus, format!("  -{line}")),
                ChangeTag::Insert => (Tone::Gain, format!("  +{line}")),
                ChangeTag::Equal => (Tone::Plain, format!("   {line}")),
            });
        }
    }
    let left_out = lines.len().saturating_sub(LINES);
    if left_out > 0 {
        lines.truncate(LINES);
        lines.push((Tone::Dim, format!("  … {left_out} more lines")));
    }
    lines
}

/// `1 to replace, 2 to add`
fn summary(plan: &Plan) -> String {
    let counts = [
        (Effect::Replace, "to replace"),
        (Effect::MayReplace, "may be replaced"),
        (Effect::Remove, "to delete"),
        (Effect::Modify, "to change"),
        (Effect::Import, "to import"),
        (Effect::Add, "to add"),
    ];
    let words: Vec<String> = counts
        .iter()
        .map(|(e, words)| (plan.count(*e), words))
        .filter(|(n, _)| *n > 0)
        .map(|(n, w)| format!("{n} {w}"))
        .collect();
    let refused = plan.refused().count();
    let refused = if refused > 0 { format!("; refused because of {refused}") } else { String::new() };
    match (plan.kind, words.is_empty()) {
        (Kind::None, _) if plan.settings.is_empty() => "nothing to change".to_owned(),
        (_, true) => "no resources to change".to_owned(),
        _ => format!("{}{refused}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ValueChange;
    use super::super::plan::Capability;
    use super::*;
    use crate::transport::provider::aws::stack::Status;
    use crate::transport::provider::aws::stack::change_set::{Cause, ResourceChange};

    fn change(name: &str, action: &str, kind: &str, replacement: Option<&str>, named: &[String]) -> Change {
        let engine = Cause {
            attribute: "Properties".to_owned(),
            name: Some("Engine".to_owned()),
            recreation: Some("Always".to_owned()),
            from: Some("DatabaseEngine".to_owned()),
        };
        let replaces = replacement == Some("True");
        let change = ResourceChange {
            logical_id: name.to_owned(),
            physical_id: (action != "Add").then(|| "db-1".to_owned()),
            kind: kind.to_owned(),
            action: action.to_owned(),
            replacement: replacement.map(str::to_owned),
            policy: replaces.then(|| "ReplaceAndSnapshot".to_owned()),
            causes: if replaces { vec![engine] } else { Vec::new() },
            nested: None,
        };
        Change::new("", &change, named)
    }

    fn plan() -> Plan {
        let value = |name: &str, before: Option<&str>, after: Option<&str>, hidden| {
            let own = |t: Option<&str>| t.map(str::to_owned);
            ValueChange { name: name.to_owned(), before: own(before), after: own(after), hidden }
        };
        Plan {
            stack: "shop-staging".to_owned(),
            kind: Kind::Update,
            status: Some(Status::UpdateComplete),
            change_set: Some("opsrun-1".to_owned()),
            changes: vec![
                change("Database", "Modify", "AWS::RDS::DBInstance", Some("True"), &[]),
                change("Files", "Remove", "AWS::S3::Bucket", None, &["Files".to_owned()]),
                change("Web", "Modify", "AWS::EC2::LaunchTemplate", Some("False"), &[]),
                change("Cache", "Add", "AWS::ElastiCache::CacheCluster", None, &[]),
            ],
            parameters: vec![
                value("WebMin", Some("1"), Some("2"), false),
                value("Password", Some("***"), Some("***"), true),
                value("Old", Some("x"), None, false),
            ],
            template: Some(Diff {
                path: "template of shop-staging".to_owned(),
                before: Some(b"a: 1\nb: 2\n".to_vec()),
                after: Some(b"a: 1\nb: 3\n".to_vec()),
                secret: false,
            }),
            capabilities: vec![Capability { name: "CAPABILITY_IAM".to_owned(), because: "Role".to_owned() }],
            settings: vec!["termination protection: off → on".to_owned()],
            notes: vec!["something".to_owned()],
            protect: None,
            policy: None,
        }
    }

    #[test]
    fn a_plan_reads_from_the_worst_to_the_harmless() {
        let wanted = "\
stack shop-staging (UPDATE_COMPLETE)
-/+ REPLACE     Database (AWS::RDS::DBInstance) db-1 [ReplaceAndSnapshot: a snapshot of the old one stays]: Engine (replaces) from DatabaseEngine
                REFUSED: its data stays only in a snapshot; --replace Database allows it
  - DELETE      Files (AWS::S3::Bucket) db-1
                its data is lost, as --replace allows
  ~ change      Web (AWS::EC2::LaunchTemplate)
  + add         Cache (AWS::ElastiCache::CacheCluster)
parameters:
  ~ WebMin: 1 → 2
  ~ Password: *** → *** (hidden: whether it changed is not known)
  - Old: x
settings:
  ~ termination protection: off → on
template:
  @@ -1,2 +1,2 @@
   a: 1
  -b: 2
  +b: 3
  needs CAPABILITY_IAM, for Role
  note: something
1 to replace, 1 to delete, 1 to change, 1 to add; refused because of 1
";
        assert_eq!(text(&plan()), wanted);
        let tones: Vec<Tone> = lines(&plan()).into_iter().map(|(tone, _)| tone).take(7).collect();
        assert_eq!(tones, [Tone::Title, Tone::Loss, Tone::Loss, Tone::Loss, Tone::Loss, Tone::Change, Tone::Gain]);
    }

    #[test]
    fn data_that_nobody_named_is_kept() {
        let error = plan().check().unwrap_err();
        assert_eq!(
            error.message(),
            "Database (AWS::RDS::DBInstance) would be replaced: its data stays only in a snapshot; nothing was changed"
        );
        assert!(error.details().hints[0].contains("--replace Database"), "{error:?}");
    }

    #[test]
    fn a_document_has_the_diff_as_text() {
        let json = serde_json::to_value(plan()).unwrap();
        assert_eq!(json["kind"], "update");
        assert_eq!(json["changes"][0]["effect"], "replace");
        assert_eq!(json["changes"][0]["refused"], true);
        assert!(json["template"].as_str().unwrap().contains("-b: 2\n+b: 3\n"), "{json:#}");
        assert_eq!(json["status"], "UPDATE_COMPLETE");
    }
}
