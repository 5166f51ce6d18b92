//! One connection: who may log in, and what its channels are for.

use super::channel::{Link, from_wire};
use super::exec::{self, Order, Program};
use super::inbound::{Backlog, Inbound};
use super::terminal::{self, Wanted};
use super::{Node, forward, sftp};
use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, russh::Error>;

/// What is known of a channel: where its input goes, what was asked for before its command, and the way to that command.
struct Slot {
    inbound: Arc<Inbound>,
    closed: CancellationToken,
    /// Until a command takes it.
    link: Option<Link>,
    env: Vec<(String, String)>,
    terminal: Option<Wanted>,
    orders: Option<mpsc::UnboundedSender<Order>>,
}

/// The channels of a connection. Tasks share it.
#[derive(Clone, Default)]
struct Slots(Arc<Mutex<HashMap<ChannelId, Slot>>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Connection {
    node: Arc<Node>,
    /// Cancelled when the connection is gone.
    end: CancellationToken,
    backlog: Arc<Backlog>,
    logged_in: Arc<AtomicBool>,
    slots: Slots,
    /// Ports the client listens on here.
    listening: HashMap<(String, u32), CancellationToken>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        for slot in self.slots.lock().values() {
            slot.inbound.finish();
        }
        self.end.cancel();
    }
}

/// What a command takes of its channel.
struct Begin {
    link: Link,
    env: Vec<(String, String)>,
    terminal: Option<Wanted>,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Connection {
    pub fn new(node: Arc<Node>, end: CancellationToken, backlog: Arc<Backlog>, logged_in: Arc<AtomicBool>) -> Self {
        Self { node, end, backlog, logged_in, slots: Slots::default(), listening: HashMap::new() }
    }

    /// Whether this user may come in with this key. There is one of each.
    fn admits(&self, user: &str, key: &PublicKey) -> Auth {
        if *key.key_data() == self.node.key && user == self.node.house.user { Auth::Accept } else { Auth::reject() }
    }

    fn slot(&self) -> Slot {
        let inbound = Arc::new(Inbound::new(self.node.house.spool.clone(), self.backlog.clone()));
        Slot { inbound, closed: self.end.child_token(), link: None, env: Vec::new(), terminal: None, orders: None }
    }

    /// Notes a channel the client opens. Its input reaches us through `data`, not through the channel: see `inbound`.
    fn note(&self, channel: Channel<Msg>, session: &Session) -> Link {
        let (_, write) = channel.split();
        let mut slot = self.slot();
        let link = Link::new(slot.inbound.clone(), slot.closed.clone(), write, session.handle());
        slot.link = Some(link.clone());
        self.slots.lock().insert(link.id, slot);
        link
    }

    /// Runs a task of the node that serves this channel; the channel is forgotten when it ends.
    fn spawn(&self, id: ChannelId, task: impl Future<Output = ()> + Send + 'static) {
        let slots = self.slots.clone();
        self.node.tasks.spawn(async move {
            task.await;
            slots.lock().remove(&id);
        });
    }

    /// What a command needs of its channel, once.
    fn begin(&self, id: ChannelId) -> Option<Begin> {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(&id)?;
        let link = slot.link.take()?;
        let (sender, orders) = mpsc::unbounded_channel();
        slot.orders = Some(sender);
        Some(Begin { link, env: std::mem::take(&mut slot.env), terminal: slot.terminal.take(), orders })
    }

    fn run(&self, id: ChannelId, program: Program, session: &mut Session) -> Outcome {
        let Some(Begin { link, env, terminal, orders }) = self.begin(id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let node = self.node.clone();
        match terminal {
            Some(wanted) => self.spawn(id, terminal::run(node, link, program, env, wanted, orders)),
            None => self.spawn(id, exec::run(node, link, program, env, orders)),
        }
        Ok(())
    }

    fn order(&self, id: ChannelId, order: Order) {
        if let Some(orders) = self.slots.lock().get(&id).and_then(|s| s.orders.as_ref()) {
            let _ = orders.send(order);
        }
    }
}

/// Opens a channel to the client for a connection that came in for it, and carries that.
async fn offer(
    node: Arc<Node>,
    slots: Slots,
    handle: Handle,
    (host, port): (String, u32),
    tcp: tokio::net::TcpStream,
    from: std::net::SocketAddr,
) {
    let opened = handle.channel_open_forwarded_tcpip(host, port, from.ip().to_string(), u32::from(from.port())).await;
    let Ok(channel) = opened else { return };
    let (_, write) = channel.split();
    let id = write.id();
    let slot = slots.lock().get(&id).map(|s| (s.inbound.clone(), s.closed.clone()));
    if let Some((inbound, closed)) = slot {
        forward::carry(&node, tcp, Link::new(inbound, closed, write, handle)).await;
    }
    slots.lock().remove(&id);
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
        self.note(channel, session);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Outcome {
        let (link, host, node) = (self.note(channel, session), host.to_owned(), self.node.clone());
        self.spawn(link.id, async move {
            match forward::connect(node.address, &host, port).await {
                Ok(tcp) => {
                    let _ = tcp.set_nodelay(true);
                    reply.accept().await;
                    forward::carry(&node, tcp, link).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Outcome {
        let (link, path, node) = (self.note(channel, session), self.node.home.join(path), self.node.clone());
        self.spawn(link.id, async move {
            match UnixStream::connect(path).await {
                Ok(unix) => {
                    reply.accept().await;
                    forward::carry(&node, unix, link).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    /// The client took a channel that `offer` opened. No data of it can have come before this.
    async fn channel_open_confirmation(&mut self, id: ChannelId, _: u32, _: u32, _: &mut Session) -> Outcome {
        let slot = self.slot();
        self.slots.lock().insert(id, slot);
        Ok(())
    }

    async fn tcpip_forward(&mut self, host: &str, port: &mut u32, session: &mut Session) -> Outcome<bool> {
        let Ok(listener) = forward::listen(host, *port).await else { return Ok(false) };
        if *port == 0 {
            *port = listener.local_addr().map_or(0, |a| u32::from(a.port()));
        }
        let place = (host.to_owned(), *port);
        let (stop, handle, slots, node) = (self.end.child_token(), session.handle(), self.slots.clone(), self.node.clone());
        if let Some(before) = self.listening.insert(place.clone(), stop.clone()) {
            before.cancel();
        }
        self.node.tasks.spawn(async move {
            let accepted = |tcp, from| {
                node.tasks.spawn(offer(node.clone(), slots.clone(), handle.clone(), place.clone(), tcp, from));
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = forward::accept(node.clone(), listener, accepted) => {}
            }
        });
        Ok(true)
    }

    async fn cancel_tcpip_forward(&mut self, host: &str, port: u32, _: &mut Session) -> Outcome<bool> {
        let stop = self.listening.remove(&(host.to_owned(), port));
        Ok(stop.inspect(CancellationToken::cancel).is_some())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Outcome {
        if let Some(slot) = self.slots.lock().get(&channel) {
            slot.inbound.push(data);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Outcome {
        if let Some(slot) = self.slots.lock().get(&channel) {
            slot.inbound.finish();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Outcome {
        if let Some(slot) = self.slots.lock().remove(&channel) {
            slot.inbound.finish();
            slot.closed.cancel();
        }
        Ok(())
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut Session) -> Outcome {
        let fits = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') && !name.starts_with("OPSRUN_");
        if fits && let Some(slot) = self.slots.lock().get_mut(&channel) {
            slot.env.push((name.to_owned(), value.to_owned()));
            return session.channel_success(channel);
        }
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Outcome {
        let size = terminal::size(columns, rows, width, height);
        match self.slots.lock().get_mut(&channel) {
            Some(slot) if !term.contains('\0') => {
                slot.terminal = Some(Wanted { term: term.to_owned(), size, modes: modes.to_vec() });
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _: &mut Session,
    ) -> Outcome {
        self.order(channel, Order::Resize(terminal::size(columns, rows, width, height)));
        Ok(())
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Outcome {
        self.run(channel, Program::Shell, session)
    }

    async fn exec_request(&mut self, channel: ChannelId, line: &[u8], session: &mut Session) -> Outcome {
        self.run(channel, Program::Line(line.to_vec()), session)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Outcome {
        if name != "sftp" {
            return session.channel_failure(channel);
        }
        let Some(Begin { link, .. }) = self.begin(channel) else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        self.spawn(channel, sftp::serve(self.node.home.clone(), link));
        Ok(())
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Outcome {
        if let Some(signal) = from_wire(&signal) {
            self.order(channel, Order::Signal(signal));
        }
        Ok(())
    }
}
