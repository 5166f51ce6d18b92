//! Where secrets come from: the environment, the config, or whoever sits at the terminal.

use super::Host;
use crate::base::error::{Error, Kind, Result};
use crate::base::secret::Secret;
use crate::domain::config::{Config, Source};
use crate::domain::deployment::Deployment;
use rhai::{Dynamic, Map};

/// Where a project keeps what must not be seen.
const CREDENTIALS: &str = "configs/credentials.yml";

/// A secret that the deployment's config files name, or else the project's credentials.
fn configured(host: &Host, name: &str) -> Result<Option<Secret>> {
    if let Some(deployment) = host.deployment().filter(|d| Deployment::exists(host.project(), d))
        && let Some(secret) = Deployment::open(host.project(), deployment)?.secret(name)?
    {
        return Ok(Some(secret));
    }
    let file = host.path(CREDENTIALS);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &file, &error)),
    };
    let dir = file.parent().unwrap_or(&file).to_owned();
    // It is one of the files that make up a config; alone it need not say where nodes come from.
    let rest = Source { name: "opsrun".to_owned(), dir: dir.clone(), text: "provider: local".to_owned() };
    let credentials = Source { name: CREDENTIALS.to_owned(), dir, text };
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    Config::from_sources(vec![rest, credentials], home.as_deref())?.secret(name)
}

impl Host {
    /// A secret by its name. Who was asked for it once is not asked again.
    pub fn secret(&self, name: &str) -> Result<Secret> {
        if let Ok(value) = std::env::var(name) {
            return Ok(Secret::new(value));
        }
        if let Some(secret) = configured(self, name)? {
            return Ok(secret);
        }
        if let Some(secret) = self.state().typed.get(name) {
            return Ok(secret.clone());
        }
        let Some(secret) = self.ask_secret(name)? else {
            return Err(Error::new(Kind::NotFound, format!("there is no secret {name}, and no terminal to ask for it"))
                .hint(format!("Set it in the environment ({name}=… opsrun …), or name it under `secrets` in {CREDENTIALS}.")));
        };
        self.state().typed.insert(name.to_owned(), secret.clone());
        Ok(secret)
    }

    /// Puts secrets where a value, or one within it, only names them: `{ secret: NAME }`.
    pub fn fill_in_secrets(&self, value: &mut Dynamic) -> Result<()> {
        if let Some(secret) = named(value).map(|name| self.secret(&name)).transpose()? {
            *value = Dynamic::from(secret);
        } else if let Some(mut map) = value.write_lock::<Map>() {
            map.values_mut().try_for_each(|inner| self.fill_in_secrets(inner))?;
        } else if let Some(mut items) = value.write_lock::<rhai::Array>() {
            items.iter_mut().try_for_each(|inner| self.fill_in_secrets(inner))?;
        }
        Ok(())
    }
}

/// The name in `{ secret: NAME }`.
fn named(value: &Dynamic) -> Option<String> {
    let map = value.read_lock::<Map>()?;
    let name = map.get("secret").filter(|_| map.len() == 1)?;
    name.read_lock::<rhai::ImmutableString>().map(|name| name.to_string())
}
