//! Values that must not be seen.

use crate::base::error::{Error, Kind, Result};
use crate::base::secret;
use crate::domain::config::{Config, Source};
use crate::domain::deployment::Deployment;
use crate::script::{Host, ScriptResult};
use rhai::plugin::{NativeCallContext, export_module};

/// Where a project keeps what must not be seen.
const CREDENTIALS: &str = "configs/credentials.yml";

/// A secret that the deployment's config files name, or else the project's credentials.
fn configured(host: &Host, name: &str) -> Result<Option<secret::Secret>> {
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

/// The end of every attempt to make a secret a part of a longer text, where it could not be told apart any more.
fn refuse<T>() -> ScriptResult<T> {
    Err(Error::new(Kind::Script, "a secret cannot become part of a string")
        .hint("Give it whole: sh(cmd, #{ env: #{ TOKEN: secret(\"TOKEN\") } }) and $TOKEN in the command, or as `stdin`.")
        .into())
}

#[export_module]
pub mod module {
    /// A value that shows as `***` everywhere; it can be given as `stdin`, in `env`, and as the text of a file.
    ///
    /// It cannot become part of a string, where nobody could tell it from other text any more.
    ///
    /// # Example
    /// ```rhai
    /// let path = secret("PATH");
    /// print(path);                        // ***
    /// sh("test -n \"$P\"", #{ env: #{ P: path } });
    /// ```
    pub type Secret = secret::Secret;

    /// A secret by its name: from the environment, from the config, or asked for on the terminal.
    ///
    /// The config is the deployment's, and then `configs/credentials.yml`: what stands there under `secrets`.
    ///
    /// It prints as `***`, and so does its value wherever it turns up in output, logs and errors.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let token = secret("API_TOKEN");
    /// sh(`curl -H "Authorization: $TOKEN" https://example.com`, #{ env: #{ TOKEN: token } });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn secret(context: NativeCallContext, name: &str) -> ScriptResult<Secret> {
        if let Ok(value) = std::env::var(name) {
            return Ok(Secret::new(value));
        }
        let host = Host::of(&context);
        if let Some(secret) = configured(&host, name)? {
            return Ok(secret);
        }
        match host.ask_secret(name)? {
            Some(secret) => Ok(secret),
            None => Err(Error::new(Kind::NotFound, format!("there is no secret {name}, and no terminal to ask for it"))
                .hint(format!("Set it in the environment ({name}=… opsrun …), or name it under `secrets` in {CREDENTIALS}."))
                .into()),
        }
    }

    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(_secret: &mut Secret) -> String {
        "***".to_owned()
    }

    #[rhai_fn(name = "==", pure)]
    pub fn same(left: &mut Secret, right: Secret) -> bool {
        *left == right
    }

    #[rhai_fn(name = "+", return_raw)]
    pub fn after_text(_text: &str, _secret: Secret) -> ScriptResult<String> {
        refuse()
    }

    #[rhai_fn(name = "+", return_raw)]
    pub fn before_text(_secret: Secret, _text: &str) -> ScriptResult<String> {
        refuse()
    }

    #[rhai_fn(name = "+=", return_raw)]
    pub fn append(_text: &mut rhai::ImmutableString, _secret: Secret) -> ScriptResult<()> {
        refuse()
    }
}
