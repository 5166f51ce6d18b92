//! The lines of all sessions, in a file that only its owner can read, and never with a secret in it.

use super::lex::tokens;
use crate::base::error::{Error, IoResultExt, Result};
use crate::base::secret;
use rustyline::config::Config;
use rustyline::history::{FileHistory, History as _, SearchDirection};
use std::borrow::Cow;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Lines kept in the file.
pub const LENGTH: usize = 10_000;

/// `$XDG_STATE_HOME/opsrun/history`, else `~/.local/state/opsrun/history`; none where there is no home.
pub fn file() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = from("XDG_STATE_HOME").filter(|p| p.is_absolute()).or_else(|| from("HOME").map(|h| h.join(".local/state")))?;
    Some(state.join("opsrun/history"))
}

/// Makes the folder of the file.
pub fn make_folder(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).at("make the folder", folder)
}

/// Whether a line may be kept: it holds no secret, and asks for none.
pub fn may_keep(line: &str) -> bool {
    let asks = tokens(line).windows(2).any(|w| w[0].is("secret") && w[1].is("("));
    !asks && matches!(secret::mask(line), Cow::Borrowed(_))
}

/// Takes the lines out of the file that are known only now to hold a secret.
pub fn clean(file: &Path, config: &Config) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let broken = |e| Error::internal(format!("cannot clean the history {}: {e}", file.display()));
    let mut kept = FileHistory::with_config(config);
    let mut all = FileHistory::with_config(config);
    all.load(file).map_err(broken)?;
    for i in 0..all.len() {
        let line = all.get(i, SearchDirection::Forward).map_err(broken)?;
        if let Some(line) = line.filter(|l| may_keep(&l.entry)) {
            kept.add(&line.entry).map_err(broken)?;
        }
    }
    if kept.len() < all.len() {
        kept.save(file).map_err(broken)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keeps_no_secrets() {
        secret::register("hunter2-of-history");
        assert!(may_keep("d.sh(\"uptime\")"));
        assert!(!may_keep("let p = \"hunter2-of-history\""));
        assert!(!may_keep("let p = secret(\"DB_PASSWORD\")"));
        assert!(may_keep("// secret(1)"));
    }

    #[test]
    fn takes_out_what_became_secret_later() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/opsrun/history");
        make_folder(&file).unwrap();
        let config = Config::builder().build();
        let mut history = FileHistory::with_config(&config);
        for line in ["let a = 1", "let p = \"word-that-turns-secret\"", "fn f() {\n  1\n}"] {
            history.add(line).unwrap();
        }
        history.save(&file).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        secret::register("word-that-turns-secret");
        clean(&file, &config).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("turns-secret") && text.contains("let a = 1"), "{text}");
        let mut again = FileHistory::with_config(&config);
        again.load(&file).unwrap();
        assert_eq!(again.len(), 2);
    }
}
