//! What has to be ready before the stages run: rules, identity, log, node, socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use headland_detection::rule_files::{FileError, TableFile, read_files};
use headland_detection::{FileRows, Program, SqlError, TableId};
use headland_event::{HubName, NameError, Now};
use headland_platform::clock::{Clock, EntropyError, entropy};
use headland_platform::config::{ConfigError, Loaded};
use headland_platform::files::SettledFile;
use headland_platform::socket::SocketError;
use headland_platform::task::Token;
use headland_platform::telemetry::{TraceSink, TraceSinkError};
use headland_platform::tls::{
    ConfiguredError, Identity, Renewal, Role, SpiffeId, UnusableCertificate,
};
use headland_replication::quic::{BindError, Endpoint, Windows};
use headland_storage::{
    AppendError, CloseError, CommitWriter, DiskFile, DiskMedium, DiskStore, JournalReader,
    LogStore, NotDurable, OnCopy, OpenError, OpenOptions, ReadError, SnapshotError, SnapshotStore,
    UndecidedLoss, replay_past_damage,
};

use crate::config::AgentConfig;
use crate::connection::{HubAddress, tls_of};
use crate::decode::{SourceDecoder, SourceError};
use crate::node::{Node, StartError};
use crate::source::{self, FollowError, Follower};

/// Why an agent stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate's file cannot be read, or does not hold now.
    #[error(transparent)]
    Certificate(#[from] UnusableCertificate),
    /// The rules do not compile.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The file of a table that rules look in does not fit.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate cannot be used, or is another node's.
    #[error(transparent)]
    Identity(#[from] ConfiguredError),
    /// The hub's name does not fit.
    #[error("the hub cannot be named")]
    HubName(#[from] NameError),
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
    /// A source's first line cannot be read.
    #[error("cannot read a source")]
    Source(#[from] FollowError),
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
    /// The journal's thread ended: nothing would become durable any more.
    #[error("the journal's thread is gone")]
    JournalGone,
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
    pub(super) followers: Vec<Follower>,
    pub(super) endpoint: Endpoint,
    pub(super) hubs: Vec<HubAddress>,
    pub(super) traces: Option<TraceSink>,
}

/// Makes everything ready, in the order in which mistakes are cheapest to find.
pub(super) async fn start(
    config: &Loaded<AgentConfig>,
    clock: &Clock,
    token: &Token,
) -> Result<Parts, RunError> {
    let agent = &config.value;
    let renewal = Renewal::begin(&agent.tls, &agent.region, role(agent));
    let Prepared { program, identity: _, hubs: hub_identities } = prepare(config)?;
    let (renewal, identity) = renewal?;
    let endpoint_tls = tls_of(&identity);
    let fleet = identity.id().fleet.clone();
    let identity = renewal.follow(identity, token);
    let hubs = agent.hubs.iter().map(|hub| HubAddress {
        address: hub.address.get_ref().clone(),
        id: SpiffeId {
            fleet: fleet.clone(),
            region: hub.region(&agent.region).clone(),
            role: Role::Hub(hub.name.clone()),
        },
        identity: identity.clone(),
    });
    let hubs: Vec<HubAddress> = hubs.collect();
    let mut options = OpenOptions::new(entropy()?);
    options.on_copy = OnCopy::NewLife;
    options.file_bytes = agent.storage.file_bytes.get_ref().get();
    let store = DiskStore::open(&agent.data_dir, options)
        .map_err(|source| open_error(&agent.data_dir, source))?;
    if store.report().copied {
        let (data_dir, life) = (agent.data_dir.display(), store.incarnation());
        tracing::error!(%data_dir, %life, "the data directory is a copy: it goes on in a new life");
    }
    let reader = store.reader();
    let log = (&reader, &store);
    let files = files(agent.rules.file.get_ref(), &program);
    let scrub_bytes_per_second = agent.storage.scrub_bytes_per_second.get();
    let mut node = Node::new(agent, hub_identities, program, store.incarnation(), log, entropy()?)
        .and_then(|node| node.with_scrub(scrub_bytes_per_second, &store, clock.monotonic()))
        .map_err(|error| start_error(&agent.data_dir, error))?;
    let snapshots = store.snapshots();
    let from = node.take_up(snapshots.newest_first(&Node::snapshot_owner())?);
    let missing = replay_past_damage(&reader, from, |commit| node.on_replayed(&commit))?;
    let now = Now { monotonic: clock.monotonic(), wall: clock.wall() };
    node.on_replay_ended(now, missing);
    files.into_iter().for_each(|(table, rows, bytes)| node.on_file(table, &rows, bytes));
    let followers = followers(agent, &mut node)?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let endpoint = Endpoint::bind(any, endpoint_tls, Windows::agent())?;
    let traces = agent.telemetry.as_ref().map(|telemetry| {
        let (sink, _exporter) = TraceSink::start(&telemetry.otlp_endpoint, "headland-agent")?;
        Ok::<_, TraceSinkError>(sink)
    });
    let traces = traces.transpose()?;
    Ok(Parts { store, reader, node, snapshots, followers, endpoint, hubs, traces })
}

/// What the files of a configuration hold.
pub(super) struct Prepared {
    pub(super) program: Program,
    pub(super) identity: Identity,
    /// The hubs, in order.
    pub(super) hubs: Vec<headland_replication::Identity>,
}

/// Reads the files of a configuration and checks that they fit it: rules, tables of sources,
/// certificate.
pub(super) fn prepare(config: &Loaded<AgentConfig>) -> Result<Prepared, RunError> {
    let agent = &config.value;
    let program = compile(config)?;
    for source in &agent.sources {
        match SourceDecoder::new(source, &program, 0.0) {
            Ok(_) => {}
            Err(SourceError::SharedTopic(error)) => return Err(error.into()),
            Err(error) => return Err(config.error_at(&source.table, error.to_string()).into()),
        }
    }
    let identity = Identity::configured(&agent.tls, &agent.region, role(agent))?;
    let hubs = agent.hubs.iter().map(|hub| {
        let (region, name) = (hub.region(&agent.region).clone(), HubName::new(&hub.name)?);
        Ok(headland_replication::Identity::Hub { region, name })
    });
    let hubs = hubs.collect::<Result<_, NameError>>()?;
    Ok(Prepared { program, identity, hubs })
}

fn role(agent: &AgentConfig) -> Role {
    Role::Agent(agent.name.to_string())
}

fn compile(config: &Loaded<AgentConfig>) -> Result<Program, RunError> {
    let file = &config.value.rules.file;
    let path = file.get_ref().display();
    let sql = std::fs::read_to_string(file.get_ref())
        .map_err(|error| config.error_at(file, format!("cannot read rules {path}: {error}")))?;
    let program = Program::compile(&path.to_string(), &sql)?;
    program.check_stores()?;
    Ok(program)
}

/// The files that rules look in. One that does not fit is told; the rules that need it go on with
/// what the journal has of it, or refuse their rows, and others go on.
fn files(rules: &Path, program: &Program) -> Vec<(TableId, Arc<FileRows>, Bytes)> {
    let mut found = Vec::new();
    for TableFile { id, table, path: _, found: file } in
        read_files(program, rules, SettledFile::open)
    {
        match file {
            Ok((rows, bytes)) => found.push((id, Arc::new(rows), Bytes::from(bytes))),
            Err(error) => {
                let table = &**table.name();
                tracing::error!(table, "the file of a table is not used:\n{error}");
            }
        }
    }
    found
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

/// Followers that go on where the log says; a file that was begun gives its first line again.
fn followers(agent: &AgentConfig, node: &mut Node) -> Result<Vec<Follower>, RunError> {
    let mut followers = Vec::new();
    for (index, source) in agent.sources.iter().enumerate() {
        let position = node.source_position(index).unwrap_or_default();
        if node.wants_first_line(index)
            && let Some(line) = source::first_line(&source.path.get_ref().resolved)?
        {
            node.on_first_line(index, &line);
        }
        followers.push(Follower::new(&source.path.get_ref().resolved, position));
    }
    Ok(followers)
}

/// Writes what is queued and closes the log; what found no room is said after that.
pub(super) fn close(writer: CommitWriter<DiskStore>) -> Result<(), RunError> {
    let (store, written) = writer.close();
    store.close().map_err(|error| RunError::Close(Box::new(error)))?;
    written.map_err(RunError::NotDurable)
}
