//! The content of a file before and after, for people.

use super::style::Style;
use crate::base::secret;
use crate::domain::resource::Diff;
use similar::{ChangeTag, TextDiff};
use std::time::Duration;

/// Lines shown around a change.
const AROUND: usize = 3;
/// Longer diffs are cut: nobody reads them on a terminal.
const LINES: usize = 400;
/// Comparing may take this long; then the diff is right, and longer than need be.
const PATIENCE: Duration = Duration::from_millis(500);

/// Returns the diff in the unified form, ending in a newline. What is secret, or no text, is only spoken of.
pub fn render(diff: &Diff, style: Style) -> String {
    if diff.secret {
        return style.dim("  (not shown: it holds a secret)\n");
    }
    let (Some(before), Some(after)) = (text(diff.before.as_deref()), text(diff.after.as_deref())) else {
        let size = |side: &Option<Vec<u8>>| side.as_ref().map_or("none".to_owned(), |b| format!("{} bytes", b.len()));
        return style.dim(&format!("  (no text: {} before, {} after)\n", size(&diff.before), size(&diff.after)));
    };
    let name = |side: &Option<Vec<u8>>| if side.is_some() { diff.path.as_str() } else { "/dev/null" };
    let mut lines = vec![style.dim(&format!("--- {}", name(&diff.before))), style.dim(&format!("+++ {}", name(&diff.after)))];
    let compared = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
    for hunk in compared.unified_diff().context_radius(AROUND).iter_hunks() {
        lines.push(style.cyan(hunk.header().to_string().trim_end()));
        for change in hunk.iter_changes() {
            let content: &str = change.value();
            let line = content.strip_suffix('\n').unwrap_or(content);
            lines.push(match change.tag() {
                ChangeTag::Delete => style.removed(&format!("-{line}")),
                ChangeTag::Insert => style.green(&format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            });
            if change.missing_newline() {
                lines.push(style.dim("\\ no newline at the end"));
            }
        }
    }
    let left_out = lines.len().saturating_sub(LINES);
    if left_out > 0 {
        lines.truncate(LINES);
        lines.push(style.dim(&format!("… {left_out} more lines")));
    }
    secret::mask(&format!("{}\n", lines.join("\n"))).into_owned()
}

/// No file is the empty text; none when it is no text.
fn text(content: Option<&[u8]>) -> Option<&str> {
    let text = std::str::from_utf8(content.unwrap_or_default()).ok()?;
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(before: Option<&str>, after: Option<&str>) -> Diff {
        let bytes = |t: Option<&str>| t.map(|t| t.as_bytes().to_vec());
        Diff { path: "/etc/motd".into(), before: bytes(before), after: bytes(after), secret: false }
    }

    #[test]
    fn shows_what_differs_and_no_secret() {
        assert_eq!(
            render(&diff(Some("a\nb\nc\n"), Some("a\nB\nc")), Style::plain()),
            "--- /etc/motd\n+++ /etc/motd\n@@ -1,3 +1,3 @@\n a\n-b\n-c\n+B\n+c\n\\ no newline at the end\n"
        );
        assert_eq!(render(&diff(None, Some("x\n")), Style::plain()), "--- /dev/null\n+++ /etc/motd\n@@ -0,0 +1 @@\n+x\n");
        let secret = Diff { secret: true, ..diff(None, Some("hunter2")) };
        assert!(!render(&secret, Style::plain()).contains("hunter2"));
        assert_eq!(render(&diff(Some("a\0"), None), Style::plain()), "  (no text: 2 bytes before, none after)\n");
    }
}
