//! Roles: folders that say what nodes should be. Here they are found and read; `script::roles` runs them.
//!
//! `roles/<name>/` holds `main.rhai` with `fn apply(nodes, vars)`; beside it `defaults.yml` (its variables), `requires` (the
//! roles that come before it), `templates/` and `files/`.

mod describe;
mod embedded;
pub mod handler;
mod order;
#[cfg(test)]
mod tests;
mod vars;

pub use describe::Variable;
pub use order::{Asked, in_order};
pub use vars::{Setting, Unused, check_names, check_settings, unused};

use crate::base::error::{Error, IoResultExt, Kind, Location, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::Source;
use crate::domain::config::tree::{self, Entry};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Where roles of the binary say they are from, as modules of the standard library do.
const EMBEDDED: &str = "std/roles/";

/// What a role's folder is read from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Home {
    Folder(PathBuf),
    Embedded,
}

/// A file of a role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleFile {
    /// What errors call it: its path, or `std/roles/…` for one in the binary.
    pub name: String,
    pub content: Vec<u8>,
}

impl RoleFile {
    pub fn text(self) -> Result<String> {
        String::from_utf8(self.content).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let line = e.as_bytes()[..at].split(|b| *b == b'\n').count();
            Error::config(format!("{} is not UTF-8 text", self.name)).at(Location::line(self.name, line))
        })
    }
}

/// One role, read and checked.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    /// `main.rhai`. Its name is the one that the script host knows the file by.
    pub main: RoleFile,
    /// The roles that it needs before it, with the lines that say so.
    pub requires: Vec<Asked>,
    defaults: Vec<Entry>,
    home: Home,
}

impl Role {
    /// Reads the role of this name: the project's own, or one of the standard library.
    pub fn load(project: &Path, name: &str) -> Result<Self> {
        let home = find(project, name)?;
        let main = home.file(name, "main.rhai")?.ok_or_else(|| {
            Error::config(format!("role {name} has no main.rhai")).hint(format!(
                "{} is where its `fn apply(nodes, vars)` belongs; `opsrun role new` writes an example.",
                home.path(name, "main.rhai")
            ))
        })?;
        let requires = home.file(name, "requires")?.map(order::read_requires).transpose()?.unwrap_or_default();
        let defaults = home.file(name, "defaults.yml")?.map(read_defaults).transpose()?.unwrap_or_default();
        Ok(Self { name: name.to_owned(), main, requires, defaults, home })
    }

    /// The folder, for people.
    pub fn folder(&self) -> String {
        self.home.path(&self.name, "").trim_end_matches('/').to_owned()
    }

    /// Whether its defaults.yml names this variable.
    pub fn has_variable(&self, name: &str) -> bool {
        self.defaults.iter().any(|e| e.key == name)
    }

    /// Whether its script or one of its templates has this word.
    fn speaks_of(&self, word: &str) -> bool {
        let templates =
            self.files_in("templates").into_iter().filter_map(|t| self.file(&format!("templates/{t}")).ok().flatten());
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        std::iter::once(self.main.clone())
            .chain(templates)
            .any(|file| String::from_utf8_lossy(&file.content).split(|c| !part_of_word(c)).any(|w| w == word))
    }

    /// Every file of its folder, by its path there, sorted.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let with_content = |path: String| Ok(self.file(&path)?.map(|file| (path, file.content)));
        self.files_in("").into_iter().filter_map(|path| with_content(path).transpose()).collect()
    }

    /// Whether it comes with opsrun.
    pub fn is_embedded(&self) -> bool {
        self.home == Home::Embedded
    }

    /// A file of the role's folder, such as `templates/site.conf`; none when there is none.
    pub fn file(&self, path: &str) -> Result<Option<RoleFile>> {
        self.home.file(&self.name, path)
    }

    /// All paths beneath one of the role's folders, such as `templates`, relative to it; beneath all of it, if that is "".
    pub fn files_in(&self, folder: &str) -> Vec<String> {
        self.home.list(&self.name, folder)
    }
}

impl Home {
    fn path(&self, role: &str, file: &str) -> String {
        match self {
            Self::Folder(dir) => dir.join(file).display().to_string(),
            Self::Embedded => format!("{EMBEDDED}{role}/{file}"),
        }
    }

    fn file(&self, role: &str, path: &str) -> Result<Option<RoleFile>> {
        let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Ok(None);
        }
        let name = self.path(role, path);
        match self {
            Self::Embedded => {
                Ok(embedded::file(&format!("{role}/{path}")).map(|content| RoleFile { name, content: content.to_vec() }))
            }
            Self::Folder(dir) => {
                let file = dir.join(path);
                if !file.is_file() {
                    return Ok(None);
                }
                // Whole paths are what the script host knows files by.
                let real = file.canonicalize().at("find", &file)?;
                Ok(Some(RoleFile { name: real.display().to_string(), content: std::fs::read(&real).at("read", &real)? }))
            }
        }
    }

    fn list(&self, role: &str, folder: &str) -> Vec<String> {
        let mut found: Vec<String> = match self {
            Self::Embedded => {
                let prefix = if folder.is_empty() { format!("{role}/") } else { format!("{role}/{folder}/") };
                embedded::paths().filter_map(|p| p.strip_prefix(&prefix)).map(str::to_owned).collect()
            }
            Self::Folder(dir) => {
                let dir = dir.join(folder);
                let files = walkdir::WalkDir::new(&dir).into_iter().flatten().filter(|e| !e.file_type().is_dir());
                files.filter_map(|e| Some(e.path().strip_prefix(&dir).ok()?.to_str()?.to_owned())).collect()
            }
        };
        found.sort();
        found
    }
}

/// The folders of a project in which roles are looked for, best first: a project's own `stdlib/` replaces what is embedded.
fn folders(project: &Path) -> [PathBuf; 2] {
    [project.join("roles"), project.join("stdlib/roles")]
}

fn find(project: &Path, name: &str) -> Result<Home> {
    check_name(name)?;
    for dir in folders(project).map(|d| d.join(name)) {
        if dir.is_dir() {
            return Ok(Home::Folder(dir));
        }
    }
    if embedded::roles().any(|role| role == name) {
        return Ok(Home::Embedded);
    }
    let names = names(project);
    let error = Error::new(Kind::NotFound, format!("there is no role {name}"));
    let error = error.hint_if(did_you_mean(name, names.iter().map(|(name, _)| name.as_str())));
    Err(error.hint(format!(
        "Looked in {} and in the standard library; `opsrun role new {name}` begins one.",
        project.join("roles").display()
    )))
}

/// All roles there are, sorted, each with its folder: the project's own, then those of the standard library that it does not
/// replace.
pub fn names(project: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for folder in folders(project) {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().filter(|e| e.path().is_dir());
        for name in entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| check_name(n).is_ok()) {
            if found.iter().all(|(known, _)| *known != name) {
                let path = folder.join(&name).display().to_string();
                found.push((name, path));
            }
        }
    }
    for name in embedded::roles() {
        if found.iter().all(|(known, _)| known != name) {
            found.push((name.to_owned(), format!("{EMBEDDED}{name}")));
        }
    }
    found.sort();
    found
}

/// The text of a module within an embedded role: `std/roles/nginx/helper`.
pub fn embedded_module(path: &str) -> Option<&'static str> {
    let file = embedded::file(&format!("{}.rhai", path.strip_prefix("roles/")?))?;
    std::str::from_utf8(file).ok()
}

/// Checks that a name can be a role's.
pub fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(good) && name.len() <= 64 {
        return Ok(());
    }
    Err(Error::usage(format!("\"{}\" cannot be the name of a role", name.escape_debug()))
        .hint("A name begins with a letter or digit and holds only letters, digits, `_` and `-`."))
}

fn read_defaults(file: RoleFile) -> Result<Vec<Entry>> {
    let source = Source { name: file.name.clone(), dir: PathBuf::new(), text: file.text()? };
    let tree = tree::parse(&Arc::new(source))?;
    let entries = tree.map().unwrap_or_default();
    if let Some(bad) = entries.iter().find(|e| !vars::is_name(&e.key)) {
        return Err(Error::config(format!("`{}` cannot be the name of a variable", bad.key))
            .at(bad.place.location())
            .hint("Scripts and templates use it as a word: letters, digits and `_`, and no digit first."));
    }
    Ok(entries.to_vec())
}
