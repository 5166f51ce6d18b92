//! Values that must not be seen.

use crate::base::error::{Error, Kind};
use crate::base::secret;
use crate::script::{Host, ScriptResult};
use rhai::plugin::{NativeCallContext, export_module};

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
        Ok(Host::of(&context).secret(name)?)
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
