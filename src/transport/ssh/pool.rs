//! Connections are kept and shared: one for each endpoint, and a further one whenever the others are full.

use super::Inner;
use super::connect::{self, Connection};
use crate::base::cancel::Cancel;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Result, ResultExt};
use crate::base::event::Cx;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<Endpoint, Arc<Slot>>>);

/// Everything there is for one endpoint.
#[derive(Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    live: Vec<Arc<Connection>>,
    /// The connect under way. Weak: when all who waited for it have gone away, it is not finished behind their backs.
    pending: Option<WeakShared<Connecting>>,
}

type Connecting = BoxFuture<'static, Result<Arc<Connection>>>;

/// What a connection is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A command: counts against the sessions that servers allow.
    Session,
    /// A channel to somewhere else: does not count.
    Tunnel,
    /// A tunnel whose far reader may stall. Inside one connection a stalled channel holds up all others, so it gets its own.
    Forward,
}

/// A share in a connection, until dropped.
pub(super) struct Lease {
    connection: Arc<Connection>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// An endpoint without what makes no difference to the connection itself.
fn key(endpoint: &Endpoint, purpose: Use) -> Endpoint {
    Endpoint {
        name: if purpose == Use::Forward { "forward".to_owned() } else { String::new() },
        connect_timeout: Duration::ZERO,
        retry_for: Duration::ZERO,
        jump: endpoint.jump.as_deref().map(|jump| Box::new(key(jump, Use::Tunnel))),
        ..endpoint.clone()
    }
}

impl Pool {
    fn slot(&self, endpoint: &Endpoint, purpose: Use) -> Arc<Slot> {
        let key = key(endpoint, purpose);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    /// Forgets every connection to an endpoint, because what was at its other end is gone. Those in use end in their own time.
    pub fn forget(&self, endpoint: &Endpoint) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|known, _| (&known.host, known.port) != (&endpoint.host, endpoint.port));
    }

    /// Forgets a connection that turned out to be dead before anything was done with it.
    pub fn retire(&self, endpoint: &Endpoint, purpose: Use, lease: &Lease) {
        let slot = self.slot(endpoint, purpose);
        let mut state = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.live.retain(|c| !Arc::ptr_eq(c, &lease.connection));
    }
}

impl Inner {
    /// A connection with room for what it is wanted for: a kept one if it is alive, else a new one.
    /// Tasks that ask at the same time share the connect and its outcome.
    pub async fn lease(self: &Arc<Self>, endpoint: &Endpoint, purpose: Use, cx: &Cx) -> Result<Lease> {
        let slot = self.pool.slot(endpoint, purpose);
        loop {
            let pending = match slot.take(self, endpoint, purpose, cx) {
                Ok(lease) => return Ok(lease),
                Err(pending) => pending,
            };
            let connection = cx.cancel.guard(pending).await.on_node(&endpoint.name)?;
            if let Some(lease) = share(&connection, purpose) {
                return Ok(lease);
            }
        }
    }
}

impl Slot {
    fn take(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        endpoint: &Endpoint,
        purpose: Use,
        cx: &Cx,
    ) -> Result<Lease, Shared<Connecting>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.live.retain(|c| !c.is_dead());
        if let Some(lease) = state.live.iter().find_map(|connection| share(connection, purpose)) {
            return Ok(lease);
        }
        if let Some(pending) = state.pending.as_ref().and_then(WeakShared::upgrade) {
            return Err(pending);
        }
        // Others may wait for it too: it does not end because the first who asked gives up.
        let cx = Cx::new(Cancel::new(), cx.events.clone());
        let pending = connecting(Arc::downgrade(self), inner.clone(), endpoint.clone(), cx).shared();
        state.pending = pending.downgrade();
        Err(pending)
    }
}

fn share(connection: &Arc<Connection>, purpose: Use) -> Option<Lease> {
    let permit = match purpose {
        Use::Session => Some(connection.sessions.clone().try_acquire_owned().ok()?),
        Use::Tunnel | Use::Forward => None,
    };
    Some(Lease { connection: connection.clone(), _permit: permit })
}

fn connecting(slot: Weak<Slot>, inner: Arc<Inner>, endpoint: Endpoint, cx: Cx) -> Connecting {
    async move {
        let outcome = connect::connect(&inner, &endpoint, &cx).await.map(Arc::new);
        if let Some(slot) = slot.upgrade() {
            let mut state = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.pending = None;
            state.live.extend(outcome.iter().cloned());
        }
        outcome
    }
    .boxed()
}
