//! Paths on a node, as resources write them.

use super::super::{Known, PathKind};
use crate::base::error::{Error, Result};
use crate::base::shell::quote;
use crate::base::stage::STAGE;

/// A path as all resources write it: one slash between names, none at the end, never to be taken for an option.
/// Relative ones are relative to the login folder, as those of `put`.
pub fn checked(given: &str) -> Result<String> {
    let bad = |why: &str| Error::usage(format!("the path \"{}\" {why}", given.escape_debug()));
    if given.is_empty() {
        return Err(Error::usage("the path on the node is empty"));
    }
    if given.chars().any(char::is_control) {
        return Err(bad("has a line break or another control character in it"));
    }
    let rest = match given.strip_prefix('~') {
        None => given,
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        Some(_) => return Err(bad("is another user's home, which is not looked up").hint("Write its full path.")),
    };
    let names: Vec<&str> = rest.split('/').filter(|n| !n.is_empty() && *n != ".").collect();
    if names.contains(&"..") {
        return Err(bad("goes up with \"..\"").hint("Write the path it means: what lies beneath what must be plain to see."));
    }
    let names = names.join("/");
    Ok(if rest.starts_with('/') {
        format!("/{names}")
    } else if names.is_empty() {
        ".".to_owned()
    } else {
        format!("./{names}")
    })
}

/// The directory that holds it; none for `/` and the login folder.
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// Why nothing can be made at a path: the directory that should hold it is not there.
pub fn no_parent(path: &str, known: &Known) -> Result<Option<String>> {
    let Some(parent) = parent(path) else { return Ok(None) };
    Ok(match known.path(parent)? {
        None => Some(format!("there is no directory {parent}")),
        // Where a link leads is seen when it is used.
        Some(state) if matches!(state.kind, PathKind::Directory | PathKind::Link) => None,
        Some(state) => Some(format!("{parent} is {}", state.described())),
    })
}

/// Shell that succeeds where nothing is in a directory.
pub fn is_empty(path: &str) -> String {
    format!("[ -z \"$(ls -A {} 2>/dev/null)\" ]", quote(path))
}

/// Shell that makes `$stage`, a directory beside a path that is ours alone: what is made in it is moved into place when it is
/// whole.
pub fn stage_beside(path: &str) -> String {
    format!("{STAGE}stage {}\nmkdir -m 700 -- \"$stage\"\n", quote(parent(path).unwrap_or(".")))
}

/// All directories above it, the nearest first.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |p| parent(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_to_write_a_path() {
        for (given, path) in [
            ("/etc//nginx/./x/", "/etc/nginx/x"),
            ("/", "/"),
            ("~/a b", "./a b"),
            ("~", "."),
            ("-rf", "./-rf"),
            ("a/$(x)'\"", "./a/$(x)'\""),
            ("/srv/größe", "/srv/größe"),
        ] {
            assert_eq!(checked(given).unwrap(), path);
        }
        for given in ["", "a\nb", "/a\0", "~bob/x", "/srv/../etc"] {
            assert!(checked(given).is_err(), "{given:?}");
        }
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("./a/b").collect::<Vec<_>>(), ["./a", "."]);
    }
}
