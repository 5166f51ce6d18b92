//! Patterns as `ssh_config` has them: `*` and `?`, for names and for files.

use std::path::{Component, Path, PathBuf};

/// Whether the whole text matches. Upper and lower case differ, as they do for OpenSSH.
pub fn matches(pattern: &str, text: &str) -> bool {
    like(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

fn like(pattern: &[char], text: &[char]) -> bool {
    // Where the last star was, and what it has swallowed so far: it swallows one more whenever the rest does not fit.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, swallowed)) => {
                    star = Some((at, swallowed + 1));
                    p = at + 1;
                    t = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The files that match a path with patterns in it, in order of their names. Hidden ones must be named.
pub fn files(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        if !matches!(part, Component::Normal(_)) || !text.contains(['*', '?']) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let chars: Vec<char> = text.chars().collect();
        let fits =
            |name: &str| (!name.starts_with('.') || text.starts_with('.')) && like(&chars, &name.chars().collect::<Vec<_>>());
        let children = |dir: &PathBuf| {
            let names = std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| fits(&e.file_name().to_string_lossy()));
            let mut paths: Vec<PathBuf> = names.map(|e| e.path()).collect();
            paths.sort();
            paths
        };
        found = found.iter().flat_map(children).collect();
    }
    found.retain(|path| path.is_file());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("*.example", "a.example"), ("10.?.*", "10.0.1.2"), ("a**b", "ab"), ("*a*b*", "xaxbx")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("a?", "a"), ("*b", "ba"), ("a*c", "abcd"), ("a", "A")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
