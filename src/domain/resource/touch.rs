//! Which facts a change may have made untrue.

use super::{Fact, Touch};

/// Folders whose files say what units there are.
const UNIT_FOLDERS: [&str; 7] =
    ["/etc/systemd", "/run/systemd", "/lib/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd", "/etc/init.d", "/etc/default"];

impl Touch {
    /// Whether the fact may be another after this. `looks` is what the fact's command looks at, of a `Test` or an `Output`.
    pub fn reaches(&self, fact: &Fact, looks: &[Touch]) -> bool {
        let about = match fact {
            Fact::Test(_) | Fact::Output(_) => return looks.iter().any(|look| self.meets(look)) || *self == Self::Everything,
            Fact::Package(_) | Fact::Offer(_) => return *self == Self::Everything,
            // What mounts on a path says that it touches what is beneath.
            Fact::Mount(path) => return *self != Self::Path(path.clone()) && self.meets(&Self::Path(path.clone())),
            Fact::Path(path) | Fact::Content { path, .. } => Self::Path(path.clone()),
            Fact::Unit(unit) => Self::Unit(unit.clone()),
            Fact::User(user) => Self::User(user.clone()),
            Fact::Group(group) => Self::Group(group.clone()),
            Fact::Sysctl(name) => Self::Sysctl(name.clone()),
        };
        self.meets(&about)
    }

    /// Whether both are about the same thing, in part at least.
    fn meets(&self, other: &Self) -> bool {
        self == other || self.covers(other) || other.covers(self)
    }

    /// Whether what happens to this may happen to the other.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _)
            // Who is a member of what is known of both.
            | (Self::Group(_), Self::User(_) | Self::Group(_)) => true,
            (Self::Tree(top), Self::Path(path) | Self::Tree(path)) => beneath(path, top),
            (Self::Path(path), Self::Unit(unit)) => UNIT_FOLDERS.iter().any(|folder| beneath(path, folder)) && is_about(path, unit),
            (Self::Tree(top), Self::Unit(unit)) => {
                UNIT_FOLDERS.iter().any(|folder| (beneath(top, folder) && is_about(top, unit)) || beneath(folder, top))
            }
            // The accounts' files, where somebody edits them as files.
            (Self::Path(path), Self::User(_) | Self::Group(_)) => ACCOUNTS.contains(&path.as_str()),
            _ => false,
        }
    }
}

/// Files that say who there is.
const ACCOUNTS: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/shadow"];

/// Whether a path among the units may be about this one: a unit's own file, or a drop-in, is about no other.
fn is_about(path: &str, unit: &str) -> bool {
    const ENDINGS: [&str; 8] = ["service", "socket", "timer", "target", "path", "mount", "swap", "slice"];
    let names = path.rsplit('/').take(2).map(|name| name.strip_suffix(".d").unwrap_or(name));
    let named = |name: &&str| name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending));
    names.into_iter().find(named).is_none_or(|name| {
        // Of a template, any instance.
        name == unit || name.split_once("@.").is_some_and(|(stem, _)| unit.starts_with(&format!("{stem}@")))
    })
}

/// Whether a path is this folder or lies in it.
fn beneath(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_what_it_may_have_altered_and_no_more() {
        let path = |p: &str| Fact::Path(p.to_owned());
        let content = |p: &str| Fact::Content { path: p.to_owned(), unless: None };
        let unit = |u: &str| Fact::Unit(u.to_owned());
        let cases = [
            (Touch::Everything, path("/a"), true),
            (Touch::Everything, Fact::Package("x".into()), true),
            (Touch::Path("/a/b".into()), path("/a/b"), true),
            (Touch::Path("/a/b".into()), content("/a/b"), true),
            (Touch::Path("/a/b".into()), path("/a/b/c"), false),
            (Touch::Path("/a/b".into()), path("/a/bc"), false),
            (Touch::Tree("/a".into()), path("/a/b"), true),
            (Touch::Tree("/a/".into()), path("/a"), true),
            (Touch::Tree("/a".into()), path("/ab"), false),
            (Touch::Tree("/".into()), path("/x"), true),
            (Touch::Tree("/srv".into()), Fact::Mount("/srv".into()), true),
            (Touch::Path("/etc/systemd/system/x.service".into()), unit("x.service"), true),
            (Touch::Path("/etc/systemd/system/x.service".into()), unit("y.service"), false),
            (Touch::Path("/etc/systemd/system/x.service.d/a.conf".into()), unit("x.service"), true),
            (Touch::Path("/etc/systemd/system/x.service.d/a.conf".into()), unit("y.service"), false),
            (Touch::Path("/etc/systemd/system/x@.service".into()), unit("x@1.service"), true),
            (Touch::Path("/etc/systemd/system.conf".into()), unit("y.service"), true),
            (Touch::Path("/etc/nginx/nginx.conf".into()), unit("nginx.service"), false),
            (Touch::Tree("/etc".into()), unit("x.service"), true),
            (Touch::Unit("a.service".into()), unit("b.service"), false),
            (Touch::User("bob".into()), Fact::Group("wheel".into()), true),
            (Touch::User("bob".into()), Fact::User("alice".into()), false),
            (Touch::Group("wheel".into()), Fact::User("bob".into()), true),
            (Touch::Path("/etc/passwd".into()), Fact::User("bob".into()), true),
            (Touch::Sysctl("a".into()), Fact::Sysctl("a".into()), true),
        ];
        for (touch, fact, expected) in cases {
            assert_eq!(touch.reaches(&fact, &[]), expected, "{touch:?} {fact:?}");
        }
    }

    #[test]
    fn commands_are_read_again_where_what_they_look_at_was_touched() {
        let test = Fact::Test("nginx -t".into());
        let touch = Touch::Path("/etc/nginx/x".into());
        assert!(touch.reaches(&test, &[Touch::Everything]));
        assert!(touch.reaches(&test, &[Touch::Unit("a".into()), Touch::Tree("/etc/nginx".into())]));
        assert!(!touch.reaches(&test, &[Touch::Tree("/srv".into())]));
        assert!(Touch::Everything.reaches(&test, &[]));
    }
}
