//! The files a config names: looked at before anything is created.

use super::{Config, SecretSource};
use crate::base::error::{Error, IoResultExt, Location, Result};
use crate::base::secret::Secret;
use crate::base::suggest;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::string::FromUtf8Error;

/// Checks that every file the config names is there, and that keys are for nobody else's eyes.
pub fn check(config: &Config) -> Result<()> {
    let named = [
        ("private_key_path", &config.private_key_path),
        ("public_key_path", &config.public_key_path),
        ("known_hosts", &config.known_hosts),
        ("ssh_config", &config.ssh_config),
        ("prices", &config.cloud.prices),
    ];
    for (key, path) in named {
        let Some(path) = path else { continue };
        let metadata = std::fs::metadata(path).map_err(|e| at(config, key, &Error::io("read", path, &e)))?;
        if !metadata.is_file() {
            return Err(at(config, key, &Error::config(format!("{} is not a file", path.display()))));
        }
        if key == "private_key_path" {
            check_mode(path, metadata.mode()).map_err(|e| at(config, key, &e))?;
        }
    }
    Ok(())
}

fn at(config: &Config, key: &str, error: &Error) -> Error {
    let message = format!("`{key}`: {}", error.message());
    let mut out = Error::config(message);
    out.details_mut().hints.clone_from(&error.details().hints);
    match config.place(key) {
        Some(place) => out.at(place),
        None => out,
    }
}

fn check_mode(path: &Path, mode: u32) -> Result<()> {
    const OTHERS: u32 = 0o077;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::config(format!("others may read the private key {path} (mode {:04o}, expected 0600)", mode & 0o7777))
        .hint(format!("Make it yours alone: chmod 600 {path}")))
}

/// Reads a secret's value from where the config says it is.
pub fn fetch_secret(config: &Config, name: &str, source: &SecretSource) -> Result<Secret> {
    let key = if config.places.contains_key(name) { name.to_owned() } else { format!("secrets.{name}") };
    fetch_source(source).map_err(|e| at(config, &key, &e))
}

/// Reads a secret's value.
pub fn fetch_source(source: &SecretSource) -> Result<Secret> {
    match source {
        SecretSource::Value(secret) => Ok(secret.clone()),
        SecretSource::Env(variable) => std::env::var(variable).map(Secret::new).map_err(|_| {
            Error::config(format!("the environment has no variable {variable}")).hint(format!("Set it: export {variable}=…"))
        }),
        SecretSource::File(path) => {
            let text = std::fs::read_to_string(path).at("read", path)?;
            Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
        }
    }
}

/// A config file that cannot be read: a wrong word of the user's, with the nearest file that there is.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let error = Error::config(Error::io("read", path, error).message());
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(dir) else { return error };
    let names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    let wanted = path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    match suggest::nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error,
    }
}

/// A config file that is not text: names the line of the first bad byte.
pub fn not_utf8(path: &Path, error: &FromUtf8Error) -> Error {
    let good = error.utf8_error().valid_up_to();
    let line = error.as_bytes()[..good].split(|b| *b == b'\n').count();
    let name = path.display().to_string();
    Error::config(format!("{name} is not text in UTF-8")).at(Location::line(name, line))
}
