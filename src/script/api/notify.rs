//! `notify(…)`: tells people that something is over.

use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::domain::environment::Environment;
use crate::domain::notify::{self, Channel, Email, Hidden, Message, Notify, Security, Settings, Way, When};
use crate::script::roles::Call;
use crate::script::{Host, Options, Placed, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

fn tell(context: &NativeCallContext, subject: &str, options: Map) -> ScriptResult<bool> {
    let host = Host::of(context);
    let mut options = Options::new("notify", options);
    let text = options.string("text")?.unwrap_or_default();
    let failed = options.bool("failed")?.unwrap_or(false);
    let mut notify = Notify::default();
    if let Some(name) = options.string("environment")? {
        notify = Environment::load(&host.project().root, &name)?.notify;
        if notify.channels.is_empty() {
            return Err(Error::usage(format!("environment {name} says nobody to tell"))
                .hint("Write who into its file: `notify: { command: { run: [./tell.sh] } }`.")
                .into());
        }
    }
    let mut add = |way| notify.channels.push(Channel { way, when: When::Always });
    if let Some(map) = options.map("email")? {
        add(Way::Email(Box::new(email(map)?)));
    }
    if let Some(url) = options.value("slack") {
        add(Way::Slack(hidden(&url, "slack")?));
    }
    if let Some(words) = options.strings("command")? {
        if words.is_empty() {
            return Err(Error::usage("option \"command\" of notify has no words").into());
        }
        add(Way::Command(words, host.project().root.clone()));
    }
    options.finish()?;
    if notify.channels.is_empty() {
        return Err(Error::usage("notify was told nobody to tell")
            .hint("Give one or more of the options `environment`, `email`, `slack` and `command`.")
            .into());
    }
    if !host.acts(context, &Call::changes("notify", subject)) {
        return Ok(true);
    }
    let message = Message::new(subject, &text, failed);
    Ok(host.block_on(async { Ok(notify::send(&notify, &message, &host.cx).await) })?)
}

fn email(map: Map) -> Result<Email> {
    let mut options = Options::new("notify's option \"email\"", map);
    let mut needed = |key| {
        let value = options.string(key)?;
        value.ok_or_else(|| Error::usage(format!("notify's option \"email\" has no \"{key}\"")))
    };
    let (server, from) = (needed("server")?, needed("from")?);
    let port =
        options.count("port")?.map(|p| u16::try_from(p).map_err(|_| Error::usage(format!("{p} is no port")))).transpose()?;
    let security = options.string("security")?.map(|word| Security::from_word(&word)).transpose()?;
    let settings = Settings {
        server,
        port,
        security: security.unwrap_or(Security::StartTls),
        user: options.string("user")?,
        password: options.value("password").map(|p| hidden(&p, "password")).transpose()?,
        from,
        to: options.strings("to")?.unwrap_or_default(),
    };
    options.finish()?;
    Email::new(settings)
}

/// A secret, and not the text itself: that would stand in the script.
fn hidden(value: &Dynamic, option: &str) -> Result<Hidden> {
    match value.read_lock::<Secret>() {
        Some(secret) => Ok(Hidden::known(option, secret.clone())),
        None => Err(Error::usage(format!("\"{option}\" of notify must be a secret"))
            .hint(format!("Give it by its name: #{{ {option}: secret(\"NAME\") }}."))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Tells people something: by e-mail, in Slack, through a command; returns whether all were told.
    ///
    /// Who could not be told within 20 seconds is a warning, and the script goes on. Secrets in the texts are masked.
    /// Options: `text` (what there is to say beyond the subject), `failed` (true: the news are bad), and who is told, one or more of:
    /// `environment` (its name: everybody under `notify:` in its file), `slack` (a webhook's address, as a secret),
    /// `command` (an array of words; it runs in the project's folder, the text is its stdin, the subject `OPSRUN_SUBJECT` and
    /// `OPSRUN_OUTCOME` is `done` or `failed`), `email` (#{ server, port, security, user, password, from, to }; `security` is
    /// `starttls`, `tls` or `none`, `password` a secret, `to` one address or an array).
    ///
    /// # Example
    /// ```rhai
    /// let told = notify("restore is done", #{ text: "3 nodes, 5 minutes\n", command: ["sh", "-c", "cat > told.txt; echo \"$OPSRUN_SUBJECT\" >> told.txt"] });
    /// assert_eq(told, true);
    /// assert_eq(file::read("told.txt"), "3 nodes, 5 minutes\nrestore is done\n");
    /// ```
    #[rhai_fn(name = "notify", return_raw)]
    pub fn notify(context: NativeCallContext, subject: &str, options: Map) -> ScriptResult<bool> {
        tell(&context, subject, options).here(&context)
    }
}
