//! One connection: who may log in, and what its channels are for.

use super::Node;
use super::channel::{Link, from_wire};
use super::exec::{self, Order};
use super::inbound::{Backlog, Inbound};
use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Sig};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, russh::Error>;

/// A channel, what was asked for before its command, and the way to that command.
struct Slot {
    link: Link,
    env: Vec<(String, String)>,
    orders: Option<mpsc::UnboundedSender<Order>>,
}

pub struct Connection {
    node: Arc<Node>,
    /// Cancelled when the connection is gone.
    end: CancellationToken,
    backlog: Arc<Backlog>,
    logged_in: Arc<AtomicBool>,
    slots: Arc<Mutex<HashMap<ChannelId, Slot>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Connection {
    pub fn new(node: Arc<Node>, end: CancellationToken, backlog: Arc<Backlog>, logged_in: Arc<AtomicBool>) -> Self {
        Self { node, end, backlog, logged_in, slots: Arc::default() }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<ChannelId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this user may come in with this key. There is one of each.
    fn admits(&self, user: &str, key: &PublicKey) -> Auth {
        if *key.key_data() == self.node.key && user == self.node.house.user { Auth::Accept } else { Auth::reject() }
    }

    /// Input reaches us through `data`, not through the channel: see `inbound`.
    fn link(&self, channel: Channel<Msg>, session: &Session) -> Link {
        let (_, write) = channel.split();
        let inbound = Arc::new(Inbound::new(self.node.house.spool.clone(), self.backlog.clone()));
        Link::new(inbound, self.end.child_token(), write, session.handle())
    }

    /// Runs a task of the node that serves this channel; the channel is forgotten when it ends.
    fn spawn(&self, id: ChannelId, task: impl Future<Output = ()> + Send + 'static) {
        let slots = self.slots.clone();
        self.node.tasks.spawn(async move {
            task.await;
            slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// What a command needs of its channel, once.
    fn begin(&self, id: ChannelId) -> Option<(Link, Vec<(String, String)>, mpsc::UnboundedReceiver<Order>)> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&id).filter(|s| s.orders.is_none())?;
        let (sender, orders) = mpsc::unbounded_channel();
        slot.orders = Some(sender);
        Some((slot.link.clone(), std::mem::take(&mut slot.env), orders))
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Outcome<Auth> {
        Ok(self.admits(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Outcome<Auth> {
        Ok(self.admits(user, key.public_key))
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Outcome {
        self.logged_in.store(true, Ordering::Release);
        Ok(())
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, session: &mut Session) -> Outcome {
        let link = self.link(channel, session);
        self.slots().insert(link.id, Slot { link, env: Vec::new(), orders: None });
        reply.accept().await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Outcome {
        if let Some(slot) = self.slots().get(&channel) {
            slot.link.inbound.push(data);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Outcome {
        if let Some(slot) = self.slots().get(&channel) {
            slot.link.inbound.finish();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Outcome {
        if let Some(slot) = self.slots().remove(&channel) {
            slot.link.closed.cancel();
        }
        Ok(())
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut Session) -> Outcome {
        let fits = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') && !name.starts_with("OPSRUN_");
        if fits && let Some(slot) = self.slots().get_mut(&channel) {
            slot.env.push((name.to_owned(), value.to_owned()));
            return session.channel_success(channel);
        }
        session.channel_failure(channel)
    }

    async fn exec_request(&mut self, channel: ChannelId, line: &[u8], session: &mut Session) -> Outcome {
        let Some((link, env, orders)) = self.begin(channel) else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        self.spawn(channel, exec::run(self.node.clone(), link, line.to_vec(), env, orders));
        Ok(())
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Outcome {
        if let Some(orders) = self.slots().get(&channel).and_then(|s| s.orders.as_ref())
            && let Some(signal) = from_wire(&signal)
        {
            let _ = orders.send(Order::Signal(signal));
        }
        Ok(())
    }
}
