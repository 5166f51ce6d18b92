//! Functions by the names that Ansible, and shells, have for them.

/// What people who know other tools look for, and what it is called here.
pub(super) const NAMES: [(&str, &str); 26] = [
    ("apt", "packages"),
    ("authorized_key", "authorized_keys"),
    ("blockinfile", "block"),
    ("chmod", "file"),
    ("copy", "file"),
    ("cron", "timer"),
    ("dnf", "packages"),
    ("fetch", "get"),
    ("get_url", "download_to"),
    ("group", "user_group"),
    ("install", "packages"),
    ("lineinfile", "line"),
    ("ln", "link"),
    ("mkdir", "directory"),
    ("package", "packages"),
    ("run", "sh"),
    ("shell", "sh"),
    ("symlink", "link"),
    ("synchronize", "mirror"),
    ("systemctl", "service"),
    ("systemd", "service"),
    ("unarchive", "unpack"),
    ("uri", "wait_url"),
    ("useradd", "user"),
    ("wait_for", "wait_port"),
    ("yum", "packages"),
];

/// The function that does what one of this name does elsewhere.
pub fn called_here(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)
}
