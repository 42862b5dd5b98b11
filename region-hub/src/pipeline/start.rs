//! What has to be ready before the stages run: identity, log, node, socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headland_detection::rule_files::{FileError, TableFile, read_files};
use headland_detection::{Program, SqlError};
use headland_event::{ByteCount, Now};
use headland_platform::clock::{Clock, EntropyError, entropy};
use headland_platform::config::{ConfigError, Loaded};
use headland_platform::files::SettledFile;
use headland_platform::socket::SocketError;
use headland_platform::task::Token;
use headland_platform::telemetry::{TraceSink, TraceSinkError};
use headland_platform::tls::{
    ConfiguredError, Identity, Renewal, Role, SpiffeId, UnusableCertificate,
};
use headland_replication::quic::{BindError, Endpoint, ResetKey, Windows};
use headland_storage::{
    AppendError, CloseError, CommitWriter, DiskFile, DiskMedium, DiskStore, JournalReader,
    LogStore, MediumError, NotDurable, OnCopy, OpenError, OpenOptions, ReadError, SnapshotError,
    SnapshotStore, UndecidedLoss, replay_past_damage,
};
use tokio::sync::watch;

use crate::config::HubConfig;
use crate::connections::admission::{Admission, Admitted};
use crate::connections::{PeerAddress, tls_of};
use crate::node::{Node, StartError, TakenBack};

/// Memory of a hub's state cache.
const CACHE_BYTES: ByteCount = ByteCount::mebibytes(16);

/// Why a hub stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The rules do not compile.
    #[error(transparent)]
    Rules(#[from] SqlError),
    /// The file of a table that rules look in does not fit.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate cannot be used, or is another node's.
    #[error(transparent)]
    Identity(#[from] ConfiguredError),
    /// A certificate's file cannot be read, or does not hold now.
    #[error(transparent)]
    Certificate(#[from] UnusableCertificate),
    /// The machine gives no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The log cannot be opened.
    #[error("cannot open the log in {path}")]
    Open {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        source: Box<OpenError>,
    },
    /// The log cannot be read.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// Its snapshots cannot be read.
    #[error("cannot read the snapshots")]
    Snapshots(#[from] SnapshotError),
    /// The node does not fit its log.
    #[error("cannot start")]
    Start(#[source] Box<StartError>),
    /// State is lost by damage, and nobody has decided to go on without it.
    #[error(transparent)]
    LostState(Box<UndecidedLoss>),
    /// No UDP socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No socket for the HTTP interface.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TraceSinkError),
    /// The machine gives no thread.
    #[error("cannot start the journal's thread")]
    Thread(#[source] std::io::Error),
    /// The log failed for good; nothing that was acknowledged is lost.
    #[error("the log failed")]
    Journal(#[source] Box<AppendError>),
    /// The data directory was taken back; the next start goes on in a new life.
    #[error(transparent)]
    TakenBack(#[from] TakenBack),
    /// That its life is over could not be written down: the next start finds out anew.
    #[error("cannot write down that the life of the data directory is over")]
    EndLife(#[source] MediumError),
    /// The log could not be closed; the next start replays its end.
    #[error("the log could not be closed")]
    Close(#[source] Box<CloseError>),
    /// Commits found no room until the end; where they came from has them still.
    #[error("the log was closed before all was durable")]
    NotDurable(#[source] NotDurable),
}

/// What the stages run on.
pub(super) struct Parts {
    pub(super) store: DiskStore,
    pub(super) reader: JournalReader<DiskFile>,
    pub(super) node: Node,
    pub(super) snapshots: SnapshotStore<DiskMedium>,
    pub(super) endpoint: Endpoint,
    pub(super) admission: Admission,
    pub(super) peers: Vec<Option<PeerAddress>>,
    pub(super) traces: Option<TraceSink>,
    pub(super) configured: watch::Receiver<Arc<HubConfig>>,
}

/// Makes everything ready, in the order in which mistakes are cheapest to find.
pub(super) fn start(
    config: &Loaded<HubConfig>,
    clock: &Clock,
    token: &Token,
) -> Result<Parts, RunError> {
    let hub = &config.value;
    let program = rules(config)?;
    let (renewal, identity) = Renewal::begin(&hub.tls, &hub.region, role(hub))?;
    let reset_key = ResetKey::new(identity.derived_key("quic stateless reset"));
    let (address, tls) = (hub.listen.address, tls_of(&identity));
    let endpoint = Endpoint::listen(address, tls, Windows::hub(), &reset_key)?;
    let mut options = OpenOptions::new(entropy()?);
    options.file_bytes = hub.storage.file_bytes.get();
    options.cache_bytes = CACHE_BYTES;
    options.on_copy = OnCopy::NewLife;
    let store = DiskStore::open(&hub.data_dir, options)
        .map_err(|source| open_error(&hub.data_dir, source))?;
    if store.report().copied {
        let (data_dir, life) = (hub.data_dir.display(), store.incarnation());
        tracing::error!(%data_dir, %life, "the data directory is a copy: it goes on in a new life");
    }
    if store.report().renewed {
        let (data_dir, life) = (hub.data_dir.display(), store.incarnation());
        tracing::error!(%data_dir, %life, "the data directory was taken back: a new life begins");
    }
    let reader = store.reader();
    let now = Now { monotonic: clock.monotonic(), wall: clock.wall() };
    let log = (&reader, &store);
    let failed = |error| start_error(&hub.data_dir, error);
    let mut node =
        Node::new(hub, identity.id(), store.incarnation(), log, entropy()?, now).map_err(failed)?;
    if let (Some(rules), Some(program)) = (&hub.rules, program) {
        node = node.with_rules(program, &rules.regions, log).map_err(failed)?;
    }
    node = node.with_scrub(hub.storage.scrub_bytes_per_second.get(), &store).map_err(failed)?;
    let snapshots = store.snapshots();
    let from = node.take_up(snapshots.newest_first(&Node::snapshot_owner())?);
    let missing = replay_past_damage(&reader, from, |commit| node.on_replayed(commit))?;
    node.on_replay_ended(now, missing).map_err(|error| start_error(&hub.data_dir, error))?;
    node.on_opened(now, store.report());
    let peers = hub.peers.iter().map(|peer| {
        let role = Role::Hub(peer.name.to_string());
        let fleet = identity.id().fleet.clone();
        let id = SpiffeId { fleet, region: peer.region.clone(), role };
        let address = peer.address.as_ref()?.get_ref().clone();
        Some(PeerAddress { address, id })
    });
    let peers = peers.collect();
    let (admitted, configured) = Admitted::follow(config, identity.id(), token);
    let admission = Admission { admitted, identity: renewal.follow(identity, token) };
    let traces = hub.telemetry.as_ref().map(|telemetry| {
        let (sink, _exporter) = TraceSink::start(&telemetry.otlp_endpoint, "headland")?;
        Ok::<_, TraceSinkError>(sink)
    });
    let traces = traces.transpose()?;
    Ok(Parts { store, reader, node, snapshots, endpoint, admission, peers, traces, configured })
}

/// The rules of a configuration, compiled.
pub(super) fn rules(config: &Loaded<HubConfig>) -> Result<Option<Program>, RunError> {
    let Some(rules) = &config.value.rules else { return Ok(None) };
    let path = rules.file.get_ref().display().to_string();
    let sql = std::fs::read_to_string(rules.file.get_ref()).map_err(|error| {
        config.error_at(&rules.file, format!("cannot read rules {path}: {error}"))
    })?;
    let mut program = Program::compile(&path, &sql)?;
    program.check_stores()?;
    // A file that does not fit stops the hub as a mistake in a rule does: what others say to be
    // final it could not say.
    let files = read_files(&program, rules.file.get_ref(), SettledFile::open);
    let files = files.into_iter().map(|TableFile { id, table, path, found }| {
        let (rows, _) = found?;
        let (table, path, sha256) = (&**table.name(), path.display(), rows.digest());
        tracing::info!(table, %path, rows = rows.rows().len(), sha256, "rules look in a file");
        Ok((id, Arc::new(rows)))
    });
    for (table, rows) in files.collect::<Result<Vec<_>, FileError>>()? {
        program = program.with_file(table, rows);
    }
    Ok(Some(program))
}

fn role(hub: &HubConfig) -> Role {
    Role::Hub(hub.name.to_string())
}

pub(super) fn identity(hub: &HubConfig) -> Result<Identity, RunError> {
    Ok(Identity::configured(&hub.tls, &hub.region, role(hub))?)
}

fn open_error(path: &Path, source: OpenError) -> RunError {
    RunError::Open { path: path.to_owned(), source: Box::new(source) }
}

fn start_error(data_dir: &Path, source: StartError) -> RunError {
    UndecidedLoss::behind(data_dir, source).map_or_else(
        |other| RunError::Start(Box::new(other)),
        |loss| RunError::LostState(Box::new(loss)),
    )
}

/// What becomes of a life when its store is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The next start goes on in it.
    GoesOn,
    /// The next start begins another one.
    Ends,
}

/// Writes what is queued and closes the log; what found no room is said after that.
pub(super) fn close(writer: CommitWriter<DiskStore>, life: Life) -> Result<(), RunError> {
    let (mut store, written) = writer.close();
    match life {
        Life::GoesOn => {}
        Life::Ends => store.end_life().map_err(RunError::EndLife)?,
    }
    store.close().map_err(|error| RunError::Close(Box::new(error)))?;
    written.map_err(RunError::NotDurable)
}
