//! The roles of the standard library in the binary: every file beneath `stdlib/roles/` of the repository.

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../stdlib/roles/", $path)))),*]
    };
}

/// Path and content of each file. A test holds this list to the folder.
const FILES: &[(&str, &[u8])] = files![
    "base/defaults.yml",
    "base/main.rhai",
    "base/templates/auto-upgrades",
    "base/templates/sudoers",
    "base/templates/timesyncd.conf",
    "base/test.rhai",
    "base/test.yml",
    "firewall/defaults.yml",
    "firewall/main.rhai",
    "firewall/templates/nftables.conf",
    "firewall/test.rhai",
    "firewall/test.yml",
    "nginx/defaults.yml",
    "nginx/main.rhai",
    "nginx/templates/site.conf",
    "nginx/test.rhai",
    "nginx/test.yml",
    "node_exporter/defaults.yml",
    "node_exporter/main.rhai",
    "node_exporter/test.rhai",
    "node_exporter/test.yml",
    "postgresql/defaults.yml",
    "postgresql/main.rhai",
    "postgresql/templates/opsrun.conf",
    "postgresql/test.rhai",
    "postgresql/test.yml",
    "redis/defaults.yml",
    "redis/main.rhai",
    "redis/templates/redis.conf",
    "redis/test.rhai",
    "redis/test.yml",
];

/// The content of a file, by its path beneath `stdlib/roles/`.
pub fn file(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(p, _)| *p == path).map(|(_, content)| *content)
}

pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}

/// The names of the roles.
pub fn roles() -> impl Iterator<Item = &'static str> {
    paths().filter_map(|p| p.strip_suffix("/main.rhai")).filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_folder_is_in_the_binary() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib/roles");
        let entries = walkdir::WalkDir::new(&dir).into_iter().flatten().filter(|e| e.file_type().is_file());
        let mut files: Vec<String> = entries.map(|e| e.path().strip_prefix(&dir).unwrap().to_str().unwrap().to_owned()).collect();
        files.sort();
        let mut paths: Vec<&str> = super::paths().collect();
        paths.sort_unstable();
        assert_eq!(paths, files, "name the files in FILES in src/domain/role/embedded.rs");
    }
}
