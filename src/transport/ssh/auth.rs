//! Proving who we are: with key files, and with what an agent holds.

use super::Inner;
use super::connect::{Failure, Gate, describe};
use super::keys::{self, public_half};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind};
use russh::AgentAuthError;
use russh::MethodKind;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::UnixStream;

/// One connection's way through its keys, with what became of each for the error.
struct Attempt<'a> {
    handle: &'a mut Handle<Gate>,
    endpoint: &'a Endpoint,
    closing: &'a OnceLock<String>,
    /// How long the host may take for each answer.
    limit: Duration,
    tried: Vec<String>,
    /// Whether the host was shown any key: otherwise it is not the host that refused.
    offered: bool,
    hints: Vec<String>,
    /// Asked for once, when the first RSA key is about to be shown. None inside: the host knows only SHA-1.
    rsa_hash: OnceLock<Option<HashAlg>>,
}

struct Agent {
    client: AgentClient<UnixStream>,
    keys: Vec<PublicKey>,
}

pub(super) async fn authenticate(
    inner: &Inner,
    handle: &mut Handle<Gate>,
    endpoint: &Endpoint,
    closing: &OnceLock<String>,
    limit: Duration,
) -> Result<(), Failure> {
    let (tried, hints) = (Vec::new(), Vec::new());
    let mut attempt = Attempt { handle, endpoint, closing, limit, tried, offered: false, hints, rsa_hash: OnceLock::new() };
    let mut agent = if endpoint.agent { attempt.agent(inner).await } else { None };
    for path in &endpoint.keys {
        if attempt.key_file(inner, agent.as_mut(), path).await? {
            return Ok(());
        }
    }
    if let Some(agent) = &mut agent {
        for key in std::mem::take(&mut agent.keys) {
            if attempt.agent_key(agent, &key, "the agent's").await? {
                return Ok(());
            }
        }
    }
    Err(attempt.refused())
}

impl Attempt<'_> {
    async fn agent(&mut self, inner: &Inner) -> Option<Agent> {
        let Some(socket) = &inner.settings.agent else {
            self.tried.push("ssh-agent: SSH_AUTH_SOCK is not set".to_owned());
            return None;
        };
        let listed = async {
            let mut client = AgentClient::connect_uds(socket).await?;
            let identities = client.request_identities().await?;
            let keys = identities.into_iter().filter_map(|identity| match identity {
                AgentIdentity::PublicKey { key, .. } => Some(key),
                AgentIdentity::Certificate { .. } => None,
            });
            Ok::<_, russh::keys::Error>(Agent { client, keys: keys.collect() })
        };
        match listed.await {
            Ok(agent) => {
                if agent.keys.is_empty() {
                    self.tried.push("ssh-agent: it holds no keys".to_owned());
                    self.hints.push("Give it one: ssh-add".to_owned());
                }
                Some(agent)
            }
            Err(e) => {
                self.tried.push(format!("ssh-agent at {}: {e}", socket.display()));
                None
            }
        }
    }

    /// Returns whether the host let us in. A key that cannot be used is noted, and the next one gets its chance.
    async fn key_file(&mut self, inner: &Inner, agent: Option<&mut Agent>, path: &Path) -> Result<bool, Failure> {
        // An agent that holds this key spares the user its passphrase.
        if let Some(agent) = agent
            && let Some(public) = public_half(path)
            && let Some(at) = agent.keys.iter().position(|k| k.key_data() == public.key_data())
        {
            let public = agent.keys.swap_remove(at);
            return self.agent_key(agent, &public, &format!("{} from the agent:", path.display())).await;
        }
        let key = match inner.keys.load(path).await {
            Ok(key) => key,
            Err(error) => {
                self.tried.push(error.message().to_owned());
                self.hints.extend(error.details().hints.iter().cloned());
                return Ok(false);
            }
        };
        let hash = self.rsa_hash(key.algorithm().is_rsa()).await?;
        let user = self.endpoint.user.clone();
        let offered = self.handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key.clone(), hash));
        let answer = tokio::time::timeout(self.limit, offered).await;
        let name = format!("{} ({})", path.display(), keys::describe(key.public_key()));
        self.judge(answer.map(|r| r.map_err(|e| describe(&e))), &name)
    }

    async fn agent_key(&mut self, agent: &mut Agent, key: &PublicKey, whose: &str) -> Result<bool, Failure> {
        let hash = self.rsa_hash(key.algorithm().is_rsa()).await?;
        let user = self.endpoint.user.clone();
        let offered = self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent.client);
        let name = format!("{whose} {}", keys::describe(key));
        let answer = match tokio::time::timeout(self.limit, offered).await {
            Ok(Err(AgentAuthError::Key(e))) => {
                self.tried.push(format!("{name}: the agent did not sign ({e})"));
                return Ok(false);
            }
            other => other.map(|r| r.map_err(|e| e.to_string())),
        };
        self.judge(answer, &name)
    }

    /// The library waits up to a second for the host to say which hashes it knows: only RSA keys need that.
    async fn rsa_hash(&mut self, is_rsa: bool) -> Result<Option<HashAlg>, Failure> {
        if !is_rsa {
            return Ok(None);
        }
        if let Some(hash) = self.rsa_hash.get() {
            return Ok(*hash);
        }
        let said = self.handle.best_supported_rsa_hash().await.map_err(|e| self.broken(&describe(&e)))?;
        // Hosts that say nothing are old, but nearly all of them know SHA-256.
        Ok(*self.rsa_hash.get_or_init(|| said.unwrap_or(Some(HashAlg::Sha256))))
    }

    fn judge(
        &mut self,
        answer: Result<Result<AuthResult, String>, tokio::time::error::Elapsed>,
        name: &str,
    ) -> Result<bool, Failure> {
        self.offered = true;
        match answer {
            Err(_) => {
                Err(self.broken(&format!("no answer to our key within {}", crate::base::units::format_duration(self.limit))))
            }
            Ok(Err(why)) => Err(self.broken(&why)),
            Ok(Ok(AuthResult::Success)) => Ok(true),
            Ok(Ok(AuthResult::Failure { .. })) if self.handle.is_closed() => {
                self.tried.push(name.to_owned());
                Err(self.closed())
            }
            Ok(Ok(AuthResult::Failure { remaining_methods, partial_success })) => {
                let wants: Vec<String> = remaining_methods.iter().map(|m| <&str>::from(m).to_owned()).collect();
                self.tried.push(if partial_success {
                    format!("{name}: accepted, but the host wants {} as well", wants.join(" or "))
                } else {
                    name.to_owned()
                });
                if remaining_methods.contains(&MethodKind::PublicKey) || remaining_methods.is_empty() {
                    return Ok(false);
                }
                self.hints.push(format!("The host does not accept keys from this user, only {}.", wants.join(", ")));
                Err(self.refused())
            }
        }
    }

    fn broken(&self, why: &str) -> Failure {
        if self.closing.get().is_some_and(|why| why.starts_with("the host ended")) {
            return self.closed();
        }
        let message = format!("cannot connect to {}: {why}", self.endpoint.address());
        Failure::passing(Error::new(Kind::Connection, message))
    }

    /// The host hung up while we were showing keys: on purpose, or because it went away.
    fn closed(&self) -> Failure {
        match self.closing.get() {
            Some(why) if why.starts_with("the host ended") => {
                let mut failure = self.refused();
                failure.error = failure.error.context(why.clone());
                if why.to_lowercase().contains("too many") {
                    let hint = "It was offered more keys than it allows: name the right one first, or leave the agent out.";
                    failure.error = failure.error.hint(hint);
                }
                failure
            }
            why => {
                let why = why.map_or("the connection was closed while logging in", String::as_str);
                let message = format!("cannot connect to {}: {why}", self.endpoint.address());
                Failure::passing(Error::new(Kind::Connection, message))
            }
        }
    }

    fn refused(&self) -> Failure {
        let address = self.endpoint.address();
        let mut error = if self.tried.is_empty() {
            Error::new(Kind::Auth, format!("cannot log in to {address}: no key is given and no agent is asked"))
        } else if !self.offered {
            Error::new(Kind::Auth, format!("cannot log in to {address}: {}", self.tried.join("; ")))
        } else {
            Error::new(Kind::Auth, format!("cannot log in to {address}; tried {}", self.tried.join("; ")))
        };
        for hint in &self.hints {
            error = error.hint(hint.clone());
        }
        if self.endpoint.keys.is_empty() && self.hints.is_empty() && !self.offered {
            error = error.hint("Name a key with `private_key_path` in the config, or put one into an ssh-agent: ssh-add");
        }
        if self.hints.is_empty() && self.offered {
            error = error.hint(format!(
                "Is the user name right, and is the public half of the key in {}'s ~/.ssh/authorized_keys there?",
                self.endpoint.user
            ));
        }
        Failure::last(error)
    }
}
