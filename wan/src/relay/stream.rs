//! A TCP relay: the tokio shell around `line.rs`.
//!
//! Each client's connection is ended here and continued by one towards the target, so what loses,
//! doubles or reorders packets has no meaning; see `line.rs` for what has.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::BindError;
use crate::change::Change;
use crate::control::{Controlled, Sides};
use crate::line::{Entry, Line};
use crate::profile::Profile;
use crate::shaper::{Cut, Direction};

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS_LIMIT: usize = 256;

/// The longest chunk: one read, small enough that a slow line paces evenly.
const CHUNK_BYTES_LIMIT: usize = 16 << 10;

/// Chunks of a connection on their way: 16 MiB, 400 Mbit/s over 320 ms. Then the reader waits.
const CHUNKS_LIMIT: usize = 1_024;

/// A bound TCP relay; [`Self::run`] makes it move bytes.
#[derive(Debug)]
pub struct StreamRelay {
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    handle: StreamRelayHandle,
}

/// Controls a [`StreamRelay`] while it runs; clones control the same one.
#[derive(Debug, Clone)]
pub struct StreamRelayHandle {
    state: Arc<Mutex<State>>,
    cut: Arc<watch::Sender<Cut>>,
    stop: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    profile: Profile,
    to_target: Line,
    from_target: Line,
    connections: u64,
    bytes: u64,
}

/// Bytes on their way.
struct Chunk {
    due: Duration,
    bytes: Vec<u8>,
}

impl StreamRelayHandle {
    /// The lock is never held across an await, and a panic while it is held leaves plain data.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controlled for StreamRelayHandle {
    /// Applies a change. A connection has one address for life, so `address` changes nothing.
    fn apply(&self, change: &Change) {
        let mut state = self.lock();
        state.profile = change.onto(state.profile);
        let Profile { to_target, from_target } = state.profile;
        state.to_target.set_profile(to_target);
        state.from_target.set_profile(from_target);
        drop(state);
        if let Some(cut) = change.cut {
            self.cut.send_replace(cut);
        }
    }

    fn report(&self) -> Value {
        let state = self.lock();
        // There is nothing here that could be dropped; lateness is TCP's to hide.
        json!({"is_valid": true, "connections": state.connections, "bytes": state.bytes})
    }

    fn sides(&self) -> Option<Sides> {
        None
    }

    fn stop(&self) {
        self.stop.notify_one();
    }
}

impl StreamRelay {
    /// Binds `listen`, port 0 for any free one, and relays to `target` once run.
    ///
    /// # Errors
    /// [`BindError`] when the address is in use or not this machine's.
    pub async fn bind(
        listen: SocketAddr,
        target: SocketAddr,
        profile: Profile,
        seed: u64,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = State {
            profile,
            to_target: Line::new(profile.to_target, seed),
            from_target: Line::new(profile.from_target, !seed),
            connections: 0,
            bytes: 0,
        };
        let handle = StreamRelayHandle {
            state: Arc::new(Mutex::new(state)),
            cut: Arc::new(watch::Sender::new(Cut::None)),
            stop: Arc::new(Notify::new()),
        };
        Ok(Self { listener, address, target, handle })
    }

    /// The address that clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stays valid while the relay runs and after.
    #[must_use]
    pub fn handle(&self) -> StreamRelayHandle {
        self.handle.clone()
    }

    /// Relays until the handle says stop; connections that are open then are closed.
    ///
    /// `clock` is monotonic and counts from any start.
    ///
    /// # Errors
    /// When the listening socket fails; a connection that breaks ends only itself.
    ///
    /// # Cancel safety
    /// Dropping the future closes all connections.
    pub async fn run<C>(self, clock: C) -> io::Result<()>
    where
        C: Fn() -> Duration + Clone + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < CONNECTIONS_LIMIT;
            // Accepting and joining lose nothing when they are dropped unfinished.
            tokio::select! {
                () = self.handle.stop.notified() => return Ok(()),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept(), if has_room => {
                    let (client, _) = accepted?;
                    self.handle.lock().connections += 1;
                    let (handle, clock) = (self.handle.clone(), clock.clone());
                    connections.spawn(join(client, self.target, handle, clock));
                }
            }
        }
    }
}

/// Joins a client with the target until both have ended what they say.
async fn join<C: Fn() -> Duration + Clone>(
    client: TcpStream,
    target: SocketAddr,
    handle: StreamRelayHandle,
    clock: C,
) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = carry(Direction::ToTarget, from_client, to_server, &handle, clock.clone());
    let back = carry(Direction::FromTarget, from_server, to_client, &handle, clock);
    tokio::try_join!(there, back).map(drop)
}

/// Carries one direction of a connection to its end.
async fn carry<C: Fn() -> Duration + Clone>(
    direction: Direction,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    handle: &StreamRelayHandle,
    clock: C,
) -> io::Result<()> {
    let (tx, rx) = mpsc::channel(CHUNKS_LIMIT);
    let taken = take(direction, read, tx, handle, clock.clone());
    let given = give(direction, write, rx, handle, clock);
    tokio::try_join!(taken, given).map(drop)
}

/// Reads chunks and enters them into the line, waiting while its queue is full.
async fn take<C: Fn() -> Duration>(
    direction: Direction,
    mut read: OwnedReadHalf,
    tx: mpsc::Sender<Chunk>,
    handle: &StreamRelayHandle,
    clock: C,
) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; CHUNK_BYTES_LIMIT];
        let length = read.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        bytes.truncate(length);
        let due = loop {
            let entry = {
                let mut state = handle.lock();
                let line = match direction {
                    Direction::ToTarget => &mut state.to_target,
                    Direction::FromTarget => &mut state.from_target,
                };
                line.on_chunk(clock(), length)
            };
            match entry {
                Entry::DueAt(due) => break due,
                Entry::WaitFor(wait) => tokio::time::sleep(wait).await,
            }
        };
        if tx.send(Chunk { due, bytes }).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes chunks when they are due and the direction is not cut, then ends the stream.
async fn give<C: Fn() -> Duration>(
    direction: Direction,
    mut write: OwnedWriteHalf,
    mut rx: mpsc::Receiver<Chunk>,
    handle: &StreamRelayHandle,
    clock: C,
) -> io::Result<()> {
    let mut cut = handle.cut.subscribe();
    while let Some(Chunk { due, bytes }) = rx.recv().await {
        tokio::time::sleep(due.saturating_sub(clock())).await;
        // The sender of cuts lives as long as the handle does.
        cut.wait_for(|cut| !cut.stops(direction)).await.map_err(io::Error::other)?;
        write.write_all(&bytes).await?;
        handle.lock().bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
    write.shutdown().await
}
