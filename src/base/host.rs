//! This machine, as it calls itself.

/// Its name, or words for it.
pub fn name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok());
    name.unwrap_or_else(|| "this host".to_owned())
}
