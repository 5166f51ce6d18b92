//! The connection to AWS: whose it is, how reads are made, and how a call that changes something is written down around.

use super::fault::Fault;
use super::settings::Access;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::calls::{Call, Calls, Reply};
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_sdk_ec2::config::Builder;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long one request may take, its retries apart.
const REQUEST: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// Requests made again when AWS is busy or an answer is lost; the waits between them grow and adapt.
const ATTEMPTS: u32 = 8;
/// The call that carries a client token.
const TOKENED: &str = "RunInstances";
/// The name under which the journal keeps where the deployment lives. Not a call of AWS's.
const HOME: &str = "Home";

/// A call that did not succeed, or something of this machine's that kept it from being made.
#[derive(Debug)]
pub enum Trouble {
    Refused(Fault),
    Other(Error),
}

impl Trouble {
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Refused(fault) => Some(fault),
            Self::Other(_) => None,
        }
    }

    pub fn is(&self, test: impl Fn(&Fault) -> bool) -> bool {
        self.fault().is_some_and(test)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(fault) => fault.error(),
            Trouble::Other(error) => error,
        }
    }
}

pub type Answer<T> = Result<T, Trouble>;

/// The connection.
pub struct Client {
    pub(super) ec2: aws_sdk_ec2::Client,
    pub region: String,
    /// Where it is, when it is not at AWS.
    pub endpoint_url: Option<String>,
    pub(super) ssm: aws_sdk_ssm::Client,
    pub(super) stacks: aws_sdk_cloudformation::Client,
    pub scaling: aws_sdk_autoscaling::Client,
    pub balancing: aws_sdk_elasticloadbalancingv2::Client,
    pub tagging: aws_sdk_resourcegroupstagging::Client,
    pub(super) buckets: aws_sdk_s3::Client,
    sts: aws_sdk_sts::Client,
    calls: Arc<dyn Calls>,
    settle: Duration,
    account: OnceCell<String>,
}

impl Client {
    /// Connects to where the deployment lives, or will. No request is made.
    pub async fn connect(access: &Access, calls: Arc<dyn Calls>) -> Result<Self> {
        let home = home(&*calls)?;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(REQUEST).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::adaptive().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        if let Some((id, secret)) = &access.keys {
            let keys = Credentials::new(id.expose(), secret.expose(), None, None, "opsrun-config");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(keys));
        }
        if let Some(url) = &access.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let wanted = access.region.clone();
        if let Some(region) = wanted.clone().or_else(|| home.as_ref().map(|h| h.region.clone())) {
            loader = loader.region(Region::new(region));
        }
        let config = loader.load().await;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(
                Error::config("no AWS region is given").hint("Write `region: eu-central-1` in a config, or set AWS_REGION.")
            );
        };
        if let Some(home) = home.filter(|h| h.region != region) {
            return Err(Error::config(format!("the deployment is in region {}; it cannot move to {region}", home.region))
                .hint("Use another name for one in the new region, or deprovision this one first."));
        }
        // Elsewhere than at AWS a bucket's name is rarely part of a host's name.
        let elsewhere = config.endpoint_url().is_some();
        let buckets = aws_sdk_s3::config::Builder::from(&config).force_path_style(elsewhere);
        Ok(Self {
            ec2: aws_sdk_ec2::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            stacks: aws_sdk_cloudformation::Client::new(&config),
            scaling: aws_sdk_autoscaling::Client::new(&config),
            balancing: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            tagging: aws_sdk_resourcegroupstagging::Client::new(&config),
            buckets: aws_sdk_s3::Client::from_conf(buckets.build()),
            sts: aws_sdk_sts::Client::new(&config),
            region,
            endpoint_url: config.endpoint_url().map(str::to_owned),
            calls,
            settle: access.settle,
            account: OnceCell::new(),
        })
    }

    /// Fails unless the credentials are of the account in which the deployment lives. Returns the account.
    pub async fn account(&self, cx: &Cx) -> Result<String> {
        self.account.get_or_try_init(|| self.ask_account(cx)).await.cloned()
    }

    async fn ask_account(&self, cx: &Cx) -> Result<String> {
        let answer = self.read("GetCallerIdentity", cx, self.sts.get_caller_identity().send()).await.map_err(|trouble| {
            // A region that does not exist shows as an address that cannot be found.
            let silent = trouble.is(|f| f.code.is_empty());
            let error = Error::from(trouble);
            if silent { error.hint(format!("Is the region right? It is {}.", self.region)) } else { error }
        })?;
        let account = answer.account().unwrap_or_default().to_owned();
        if let Some(home) = home(&*self.calls)?.filter(|h| h.account != account) {
            let message =
                format!("the deployment is in AWS account {}, but the credentials are of account {account}", home.account);
            return Err(Error::new(Kind::Provider, message).hint("Use the credentials it was made with."));
        }
        Ok(account)
    }

    /// Writes down where the deployment lives, before anything is made there.
    pub fn settle_in(&self, account: &str) -> Result<()> {
        if home(&*self.calls)?.is_none() {
            let id = self.calls.begin(HOME, json!({ "region": self.region, "account": account }))?;
            self.calls.end(id, Reply::Made(Vec::new()))?;
        }
        Ok(())
    }

    /// Makes a call that changes nothing. Boxed, because the SDK's futures are large.
    #[allow(clippy::unused_self, reason = "reads as `change` does, which needs it")]
    pub fn read<'a, T, E>(
        &'a self,
        call: &'static str,
        cx: &'a Cx,
        send: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> BoxFuture<'a, Answer<T>>
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + std::error::Error + Send + 'static,
    {
        Box::pin(
            async move { cx.cancel.guard(async { Ok(send.await) }).await?.map_err(|e| Trouble::Refused(Fault::new(call, &e))) },
        )
    }

    /// Makes a call that changes something: written down before and after. It is not cut off by Ctrl-C, because then nobody
    /// would know what came of it. `made` takes the IDs out of the answer.
    pub async fn change<T, E, F>(
        &self,
        call: &'static str,
        request: Value,
        cx: &Cx,
        made: impl Fn(&T) -> Vec<String>,
        send: impl Fn() -> F,
    ) -> Answer<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    {
        cx.cancel.check()?;
        let id = self.calls.begin(call, request)?;
        self.finish(id, call, cx, made, send).await
    }

    /// Makes a call that is written down already.
    pub async fn finish<T, E, F>(
        &self,
        id: uuid::Uuid,
        call: &'static str,
        cx: &Cx,
        made: impl Fn(&T) -> Vec<String>,
        send: impl Fn() -> F,
    ) -> Answer<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    {
        let start = std::time::Instant::now();
        let name = call.split_once(':').map_or(call, |(_, name)| name);
        let builds = !["Delete", "Detach", "Terminate", "Revoke"].iter().any(|word| name.starts_with(word));
        let mut wait = Duration::from_millis(500);
        for attempt in 1.. {
            match Box::pin(send()).await {
                Ok(answer) => {
                    self.calls.end(id, Reply::Made(made(&answer)))?;
                    return Ok(answer);
                }
                Err(error) => {
                    let fault = Fault::new(call, &error);
                    // Where the SDK may not retry by itself, busy still means that nothing was done.
                    if fault.is_throttled() && attempt < ATTEMPTS {
                        cx.events.debug(format!("AWS is busy: {call} is made again in {} ms", wait.as_millis()));
                        pause(wait, cx).await?;
                        wait = (wait * 2).min(Duration::from_secs(20));
                        continue;
                    }
                    // What was just made may not be seen yet by who is to use it.
                    if builds && fault.is_absent() && !fault.is("InvalidAMIID.NotFound") && start.elapsed() < self.settle {
                        cx.events.debug(format!("{call} does not see all yet ({}): trying again", fault.code));
                        pause(wait.min(self.settle), cx).await?;
                        continue;
                    }
                    // AWS knows the request again by its token.
                    if call == TOKENED && fault.unsure && attempt < ATTEMPTS {
                        cx.events.debug(format!("the answer to {call} was lost: the same is asked again"));
                        pause(wait, cx).await?;
                        continue;
                    }
                    // An answer that was lost leaves the entry open: what exists will tell.
                    if !fault.unsure {
                        self.calls.end(id, Reply::Refused(format!("{}: {}", fault.code, fault.message)))?;
                    }
                    return Err(Trouble::Refused(fault));
                }
            }
        }
        Err(Error::internal("the loop above has no end").into())
    }

    /// Makes something that the cloud would make twice if it were asked twice, and that only its tags tell apart. `find` looks
    /// for it; an earlier request without an answer is believed to have failed only when nothing was seen for the settle time.
    pub async fn once<T, E, F, R>(
        &self,
        call: &'static str,
        request: Value,
        cx: &Cx,
        find: impl Fn() -> F,
        made: impl Fn(&T) -> String,
        send: impl Fn() -> R,
    ) -> Answer<String>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<Option<String>>>,
        R: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut lost = 0;
        loop {
            for open in self.open(call)?.iter().filter(|c| c.request == request) {
                let found = self.look_until(open.at, call, cx, &find).await?;
                let reply = found.clone().map_or_else(|| Reply::Refused("never seen".to_owned()), |id| Reply::Made(vec![id]));
                self.calls.end(open.id, reply)?;
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            if let Some(found) = find().await? {
                return Ok(found);
            }
            match self.change(call, request.clone(), cx, |answer| vec![made(answer)], &send).await {
                Ok(answer) => return Ok(made(&answer)),
                Err(Trouble::Refused(fault)) if fault.unsure && lost < 3 => {
                    cx.events.debug(format!("the answer to {call} was lost ({}): looking what came of it", fault.message));
                    lost += 1;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn look_until<F: Future<Output = Result<Option<String>>>>(
        &self,
        since: Timestamp,
        call: &str,
        cx: &Cx,
        find: &impl Fn() -> F,
    ) -> Result<Option<String>> {
        let mut wait = Duration::from_millis(100);
        loop {
            if let Some(found) = find().await? {
                return Ok(Some(found));
            }
            let age = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
            let left = self.settle.saturating_sub(age);
            if left.is_zero() {
                return Ok(None);
            }
            cx.events.debug(format!("{call} may still come to light: looking again for {} s", left.as_secs()));
            pause(wait.min(left), cx).await?;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// Whether something that was made then may still come to light.
    pub fn may_appear(&self, made: Timestamp) -> bool {
        Duration::try_from(Timestamp::now().duration_since(made)).unwrap_or_default() < self.settle
    }

    /// Calls of this name whose end is not known.
    pub fn open(&self, call: &str) -> Result<Vec<Call>> {
        Ok(self.all(call)?.into_iter().filter(|c| c.reply.is_none()).collect())
    }

    pub fn end(&self, id: uuid::Uuid, reply: Reply) -> Result<()> {
        self.calls.end(id, reply)
    }

    /// All calls of this name.
    pub fn all(&self, call: &str) -> Result<Vec<Call>> {
        Ok(self.calls.all()?.into_iter().filter(|c| c.name == call).collect())
    }

    /// IDs of all that calls of this name are known to have made.
    pub fn made(&self, call: &str) -> Result<Vec<String>> {
        Ok(self
            .all(call)?
            .into_iter()
            .filter_map(|c| if let Some(Reply::Made(ids)) = c.reply { Some(ids) } else { None })
            .flatten()
            .collect())
    }
}

/// For the calls that the SDK must not make twice by itself.
pub fn no_retries() -> Builder {
    Builder::new().retry_config(RetryConfig::disabled())
}

/// Sleeps, unless interrupted.
pub async fn pause(time: Duration, cx: &Cx) -> Result<()> {
    cx.cancel.pause(time).await
}

struct Home {
    region: String,
    account: String,
}

fn home(calls: &dyn Calls) -> Result<Option<Home>> {
    let word = |c: &Call, key: &str| c.request.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entry = calls.all()?.into_iter().find(|c| c.name == HOME);
    Ok(entry.map(|c| Home { region: word(&c, "region"), account: word(&c, "account") }))
}
