//! The standard library in the binary: every `stdlib/*.rhai` of the repository.

use crate::domain::role;

/// Name and text of each module. A test holds this list to the folder.
const MODULES: &[(&str, &str)] = &[
    ("cassandra", include_str!("../../stdlib/cassandra.rhai")),
    ("cassandra_files", include_str!("../../stdlib/cassandra_files.rhai")),
    ("cassandra_hints", include_str!("../../stdlib/cassandra_hints.rhai")),
    ("cassandra_install", include_str!("../../stdlib/cassandra_install.rhai")),
    ("cassandra_settings", include_str!("../../stdlib/cassandra_settings.rhai")),
    ("fetch", include_str!("../../stdlib/fetch.rhai")),
    ("manage", include_str!("../../stdlib/manage.rhai")),
    ("ring", include_str!("../../stdlib/ring.rhai")),
    ("scylla", include_str!("../../stdlib/scylla.rhai")),
    ("service", include_str!("../../stdlib/service.rhai")),
    ("stress", include_str!("../../stdlib/stress.rhai")),
];

/// The text of `std/name`; modules of roles are `std/roles/<role>/name`.
pub fn text(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).or_else(|| role::embedded_module(name))
}

/// All names, without `std/`.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_module_of_the_folder_is_in_the_binary() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|e| e.unwrap().file_name().to_str().unwrap().strip_suffix(".rhai").map(str::to_owned))
            .collect();
        files.sort();
        let mut names: Vec<&str> = super::names().collect();
        names.sort_unstable();
        assert_eq!(names, files, "add the module to MODULES in src/script/stdlib.rs");
    }
}
