//! Where formations come from: files of the project, and those that come with opsrun.

use super::File;
use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::did_you_mean;
use std::path::Path;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../stdlib/formations/", $name, ".yml")))),*]
    };
}

/// Name and text of each. A test holds this list to the folder.
const FORMATIONS: &[(&str, &str)] = files!["balancer", "cache", "database", "network", "security", "web"];

/// Finds one: a path relative to the project, or a name: `formations/NAME.yml` of the project, else the one that comes with
/// opsrun.
pub fn find(project: &Path, name: &str) -> Result<File> {
    let is_path = name.contains('/') || [".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end));
    if is_path {
        return File::read(&project.join(name), name);
    }
    let own = format!("formations/{name}.yml");
    if project.join(&own).is_file() {
        return File::read(&project.join(&own), &own);
    }
    if let Some((name, text)) = FORMATIONS.iter().find(|(known, _)| *known == name) {
        return Ok(File { name: format!("std/formations/{name}.yml"), text: (*text).to_owned() });
    }
    let all = names(project);
    let error = Error::new(Kind::Config, format!("there is no formation `{name}`"));
    let error = error.hint_if(did_you_mean(name, all.iter().map(String::as_str)));
    Err(error.hint(format!("Looked for {own} and among those that come with opsrun; a path ends in .yml, .yaml or .json.")))
}

/// The names of all formations there are.
pub fn names(project: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(project.join("formations")).into_iter().flatten().flatten();
    let own = entries.filter_map(|e| e.file_name().into_string().ok()).filter_map(|n| n.strip_suffix(".yml").map(str::to_owned));
    let mut all: Vec<String> = own.chain(FORMATIONS.iter().map(|(name, _)| (*name).to_owned())).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_formation_of_the_repository_is_in_the_binary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib/formations");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap().trim_end_matches(".yml").to_owned())
            .collect();
        there.sort();
        assert_eq!(there, FORMATIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
