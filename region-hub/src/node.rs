//! The hub: everything it decides, without a socket, a file or a clock.
//!
//! Inputs are frames of links, answers of the log and time; outputs are commits, frames and reads.
//! What a peer delivers is stamped and composed into a commit at once, in the order of arrival;
//! once the commit is durable it is acknowledged, offered to other hubs and reconciled, and what
//! that derives goes into a later commit together with how far reconciling has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use bytes::Bytes;
use headland_detection::Program;
use headland_event::{
    ByteCount, ChannelId, CommitNumber, Entry, Incarnation, Lane, Monotonic, Now, Offset, Random,
    RegionId, SeededRandom, TopicPartition,
};
use headland_platform::telemetry::Span;
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{
    Audit, CloseReason, Dialled, Identity, LinkConfig, Peering, Refusal, RefusalCode,
};
use headland_storage::{
    CleanPolicy, Composed, Composer, LogReader, Missing, Refill, Scrub, ScrubRead, Snapshot,
    StateStore, StoredCommit, Ticket, TopicCodecs,
};

/// What would have to change for those who are not admitted.
mod admission;
/// Which connection to each agent and hub is used, and when hubs are dialled.
mod peerings;
/// What peers deliver, on its way into the log.
mod intake;
/// What durable commits derive, composed step by step.
mod derivation;
/// What is composed becomes a commit.
mod commits;
/// Decisions about late events, made at this hub.
mod review;
/// Which lives of hubs take part.
mod members;
/// Where logs end that hubs have to hold alike.
mod ends;
/// What compaction left out of logs.
mod cuts;
/// What the log lost of inventory by damage.
mod lost;
/// What the log lost in one place and has in another.
mod copies;
/// What is handed on of lives that write no more.
mod handing;
/// What a region's own hub gets back of its former lives beside that.
mod giving_back;
/// What this hub counted and its log lost since.
mod counted;
/// What the log lost of all else, and who has it.
mod refills;
/// What operators ask of a region's part.
mod regions;
/// Parts of logs that come before an earlier part.
mod early;
/// Reservations, answered at this hub.
mod escrow;
/// What waits while the disk is full.
mod fullness;
/// Damage to the log.
mod damage;
/// Damage that nobody read yet.
mod scrub;
/// Links to configured hubs: up, down, and what is said of it.
mod links;
/// Over which way a topic comes, where there are several.
mod ways;
/// What operators ask of links, and how links do.
mod flow;
/// How far consumer groups have read.
mod groups;
/// Leaving a region for another one.
mod failover;
/// Whether this region is in use, and regions that are left without an operator.
mod leases;
/// When agents are told that what they sent is safe.
mod acks;
/// Whether the log holds what was written.
mod audit;
/// Logs that end before where others have them.
mod gone_back;
/// Whether a configured hub is reached.
mod reach;
/// When the log is cleaned, and by what.
mod retention;
/// What hubs say of their topics, and what copies take over of it.
mod settings;
/// Records that say that this hub is there.
mod heartbeats;
/// Topics whose partitions grow.
mod growth;
/// Restoring a hub from its journal.
mod recovery;
/// Snapshots of what a hub derives from its journal.
mod snapshot;
/// What the hub says about itself.
mod status;
#[cfg(test)]
mod tests;

pub use acks::{AckStatus, AckVerdict};
pub use audit::AuditStatus;
pub use escrow::EscrowError;
pub use failover::FailoverError;
pub use flow::LinkError;
pub use gone_back::TakenBack;
pub use groups::GroupError;
pub(crate) use leases::LEASES_MEMORY;
pub use leases::LeaseStatus;
pub use recovery::{RecoveryError, owner};
pub use regions::RegionError;
pub use retention::{Keeper, KeptStatus};
pub use review::{ReviewError, ReviewKind, ReviewRequest, Reviewed};
pub use scrub::ScrubView;
pub use snapshot::TakeUpError;
pub use status::{AgentStatus, LinkState, LinkStatus, MissingStatus, Status};

use crate::config::HubConfig;
use crate::global::{Rules, RulesError};
use crate::ingest::{Grant, Ingest};
use crate::peer_link::{LinkId, Peer, PeerLink};
use crate::peer_links::PeerLinks;
use crate::promises::Promises;
use crate::reconcile::Inventory;
use crate::spans::{Export, Spans};
use crate::topics::{TopicError, Topics};
use acks::{Acks, Stored};
use copies::Walks;
use early::Early;
use escrow::Held;
use fullness::Fullness;
use groups::Consumers;
use leases::Leasing;
use links::KnownPeer;
use members::Speaking;
use refills::Refills;
use retention::Keeping;
use snapshot::Snapshots;

/// Bytes composed into one commit before it is handed out; groups and commits are bounded by the
/// log, this keeps a commit well below and its latency small.
const COMMIT_BYTES_TARGET: usize = 1 << 20;

/// Number of a `[[peer]]` in the configuration.
pub type PeerIndex = usize;

/// Work the caller does on behalf of a [`Node`].
#[derive(Debug)]
#[must_use = "an output that is dropped is work that is never done"]
pub enum Output {
    /// Append to the log; answer with [`Node::on_committed`], in order.
    Commit(Composed),
    /// Send a frame; report it with [`Node::on_written`].
    Send {
        /// The connection.
        link_id: LinkId,
        /// The lane.
        lane: Lane,
        /// The frame.
        frame: Bytes,
    },
    /// Read entries of the log; answer with [`Node::on_entries`], [`Node::on_damaged`] or
    /// [`Node::on_read_failed`].
    Read {
        /// The connection they are for.
        link_id: LinkId,
        /// Its channel.
        channel: ChannelId,
        /// The partition.
        partition: TopicPartition,
        /// Where to start.
        from: Offset,
        /// Where to stop.
        limit: ByteCount,
    },
    /// Dial a peer; answer with [`Node::on_connected`] or [`Node::on_dial_failed`].
    Dial(PeerIndex),
    /// Close a connection once what was sent is written.
    Close {
        /// The connection.
        link_id: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// Export a span.
    Trace(Span),
    /// Save a snapshot of [`Node::snapshot_owner`], for [`Node::take_up`] at the next start.
    Snapshot(Snapshot),
    /// Take away what the policy lets go; answer with [`Node::on_cleaned`] when anything went.
    Clean(CleanPolicy),
    /// Read entries of the log that a part of it may be found in; answer with
    /// [`Node::on_looked`].
    Look {
        /// The partition.
        partition: TopicPartition,
        /// Where to start.
        from: Offset,
        /// Where to stop.
        limit: ByteCount,
    },
    /// Read a piece of the log, on a thread of its own; answer with [`Node::on_scrubbed`].
    Scrub(ScrubRead),
    /// Read entries of the log that it lost, or another hub; answer with [`Node::on_recalled`].
    Recall {
        /// The partition.
        partition: TopicPartition,
        /// Where to start.
        from: Offset,
        /// Where to stop.
        limit: ByteCount,
    },
    /// Hand the log what it lost; answer with [`Node::on_refilled`] when that is settled.
    Refill(Refill),
}

/// A commit that is on its way to the disk.
#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    entries: Vec<(TopicPartition, Entry)>,
    stored: Vec<Stored>,
    /// Keys of positions that move with it.
    moved: BTreeSet<Bytes>,
    /// Channels that go on from positions which are durable with this commit.
    subscribed: Vec<(LinkId, ChannelId, Offset)>,
    /// Bytes of derived records in it.
    derived_bytes: usize,
}

/// A region's hub.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    fleet: String,
    data_dir: PathBuf,
    incarnation: Incarnation,
    /// When this run began: the time of what is derived from commits of earlier ones.
    started: Now,
    peers: Vec<KnownPeer>,
    grants: Vec<Grant>,
    topics: Topics,
    composer: Composer,
    ingest: Ingest,
    promises: Promises,
    promise_interval: std::time::Duration,
    promise_at: Monotonic,
    heartbeats: Option<heartbeats::Heartbeats>,
    /// When it is noted next which peers this hub holds everything of.
    watch_at: Monotonic,
    inventory: Inventory,
    rules: Option<Rules>,
    rights: Held,
    /// What it says about members; a hub that is not configured to says nothing.
    speaking: Option<Speaking>,
    fullness: Fullness,
    /// What came before an earlier part of its log.
    early: Early,
    keeping: Keeping,
    acks: Acks,
    /// How batches that are built here are compressed.
    codecs: TopicCodecs,
    /// How far groups have read, and where mirrors stand in the logs of their origins.
    consumers: Consumers,
    leases: Option<Leasing>,
    audit: Audit,
    last_faults: audit::LastFaults,
    gone_back: gone_back::GoneBack,
    snapshots: Snapshots,
    spans: Spans,
    peerings: BTreeMap<Identity, Peering<LinkId>>,
    peer_links: PeerLinks,
    positions: BTreeMap<Bytes, Offset>,
    durable: BTreeMap<TopicPartition, Offset>,
    /// What damage took from the log.
    missing: Missing,
    /// Reads the log through for more of it.
    scrub: Scrub,
    /// Looks for what it took in other places of the log.
    walks: Walks,
    /// What others are asked for that it took.
    refills: Refills,
    /// Why no snapshot was taken up, when none was.
    no_snapshot: String,
    /// Records that are gone, by the holes that became durable in this run.
    gone: damage::Gone,
    stored: Vec<Stored>,
    moved: BTreeSet<Bytes>,
    subscribed: Vec<(LinkId, ChannelId, Offset)>,
    /// Bytes of derived records in the commit being composed.
    derived_pending: usize,
    in_flight: VecDeque<InFlight>,
    outputs: VecDeque<Output>,
    random: SeededRandom,
}

/// Why a hub cannot start with its configuration and log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A declared topic does not fit.
    #[error("cannot declare topics")]
    Topics(#[from] TopicError),
    /// A topic's codec cannot be used.
    #[error("cannot compress topics as configured")]
    Codec(#[from] headland_storage::CodecNotBuilt),
    /// The rules do not fit this hub.
    #[error("cannot run the rules")]
    Rules(#[from] RulesError),
    /// The log's state cannot be taken up.
    #[error("cannot take up the log")]
    Composer(#[from] headland_storage::ComposerError),
    /// The state cannot be read.
    #[error("cannot read the hub's state")]
    Recovery(#[from] RecoveryError),
    /// The data directory is another node's.
    #[error("the data directory {data_dir} is of {found}, the configuration is of {expected}")]
    OtherNode {
        /// The data directory.
        data_dir: PathBuf,
        /// Who wrote it.
        found: String,
        /// Who was to go on with it.
        expected: Identity,
    },
    /// The region was automatic, and others may still leave it.
    #[error(
        "region {region} was in use by leases, and the others leave it when they hear nothing of \
         it: start with [failover] and automatic = false, linked to them, until lease.in_use of \
         GET /v1/status is true, and without [failover] after that"
    )]
    StillAutomatic {
        /// This hub's region.
        region: RegionId,
    },
    /// The beginning of this hub's log of rights is gone: what it holds cannot be counted.
    #[error(
        "rights cannot be counted from {data_dir}: {partition} begins at offset {found} and must \
         begin at 0; start from a backup (headland store restore), or without [escrow]"
    )]
    RightsGone {
        /// The data directory.
        data_dir: PathBuf,
        /// The partition.
        partition: TopicPartition,
        /// The first offset that is left.
        found: Offset,
    },
    /// Retention removed the beginning of what stock is made of, and no snapshot has it.
    #[error(
        "stock cannot be made from {data_dir}: {partition} begins at offset {found}, what was \
         before went by retention, and no snapshot has it ({why}); start with the configuration \
         that wrote it, or from a backup (headland store restore)"
    )]
    HistoryGone {
        /// The data directory.
        data_dir: PathBuf,
        /// The partition.
        partition: TopicPartition,
        /// The first offset that is left.
        found: Offset,
        /// Why no snapshot was taken up.
        why: String,
    },
}

impl Node {
    /// A hub that takes up where its log ends; before anything else offer it its snapshots by
    /// [`Self::take_up`], then feed it every commit from there on by [`Self::on_replayed`], and end
    /// that by [`Self::on_replay_ended`].
    ///
    /// # Errors
    /// [`StartError`] when configuration and log do not fit.
    pub fn new(
        config: &HubConfig,
        id: &SpiffeId,
        incarnation: Incarnation,
        (log, state): (&impl LogReader, &impl StateStore),
        seed: u64,
        now: Now,
    ) -> Result<Self, StartError> {
        let grants = Grant::of_all(config);
        let identity = Identity::Hub { region: config.region.clone(), name: config.name.clone() };
        let mut random = SeededRandom::new(seed);
        let peers = config.peers.iter().map(|peer| KnownPeer::new(peer, now)).collect();
        let peerings = peerings::peerings(&identity, config, &mut random);
        let ratio = config.telemetry.as_ref().map(|telemetry| telemetry.trace_ratio);
        let mut node = Self {
            identity,
            fleet: id.fleet.clone(),
            data_dir: config.data_dir.clone(),
            incarnation,
            started: now,
            peers,
            topics: Self::declared(config)?,
            composer: Composer::new(incarnation, log, state)?,
            ingest: Ingest::new(config, incarnation),
            promises: Promises::new(&grants, config.progress.agent_hold.get(), now.monotonic),
            promise_interval: config.progress.promise_interval.get(),
            promise_at: now.monotonic,
            heartbeats: config.heartbeats.map(|of| heartbeats::Heartbeats::new(&of, now.monotonic)),
            watch_at: now.monotonic,
            inventory: Inventory::new(config, random.next_u64()),
            speaking: Speaking::of(config, now.monotonic),
            rules: None,
            rights: Self::rights(config, incarnation, state, random.next_u64())?,
            fullness: Fullness::new(),
            early: Early::default(),
            keeping: Keeping::new(config, log, now.monotonic),
            acks: Acks::new(&config.topics),
            codecs: retention::codecs(&config.topics)?,
            consumers: Consumers::default(),
            leases: None,
            audit: Audit::new(incarnation, now.monotonic),
            last_faults: audit::LastFaults::default(),
            gone_back: gone_back::GoneBack::default(),
            snapshots: Snapshots::new(config.storage.snapshot_after.get(), now.monotonic),
            spans: Spans::new(config.region.clone(), ratio.map_or(Export::Off, Export::share)),
            grants,
            peerings,
            peer_links: PeerLinks::default(),
            positions: BTreeMap::new(),
            durable: BTreeMap::new(),
            missing: Missing::default(),
            scrub: Scrub::new(ByteCount::new(0), now.monotonic),
            walks: Walks::default(),
            refills: Refills::default(),
            no_snapshot: String::new(),
            gone: damage::Gone::default(),
            stored: Vec::new(),
            moved: BTreeSet::new(),
            subscribed: Vec::new(),
            derived_pending: 0,
            in_flight: VecDeque::new(),
            outputs: VecDeque::new(),
            random,
        };
        node.claim(state)?;
        if config.escrow.is_some() {
            node.topics.add_escrow()?;
        }
        if config.membership.is_some() {
            node.topics.add_members()?;
        }
        node.restore(state)?;
        node.call_copies();
        node.restore_leases(config.failover.as_ref(), state, now.monotonic)?;
        node.recover(log)?;
        // What is replayed may lack the last entries, and what is lost stays taken.
        node.durable = node.composer.ends().map(|(at, end)| (at.clone(), end)).collect();
        // Without agents nothing else would make the shell ask for the first attempt.
        node.dial(now);
        Ok(node)
    }

    /// Runs rules over the rows of `regions`, before a snapshot is taken up: their results go to
    /// topics of this hub.
    ///
    /// # Errors
    /// [`StartError`] when rules, regions or the names of results do not fit.
    pub fn with_rules(
        mut self,
        program: Program,
        regions: &[RegionId],
        (log, state): (&impl LogReader, &impl StateStore),
    ) -> Result<Self, StartError> {
        // Not drawn: the schedule of all else is that of a hub without rules.
        let (own, seed) = (self.identity.region(), self.incarnation.nonce());
        let mut rules = Rules::new(program, own, regions, &self.topics, seed)?;
        for topic in rules.topics() {
            self.topics.add_results(topic)?;
        }
        rules.read_progress(state)?;
        rules.read_ends(&self.topics, log);
        self.rules = Some(rules);
        Ok(self)
    }

    /// Takes note of a commit found in the log at the start, in commit order.
    pub fn on_replayed(&mut self, commit: StoredCommit) {
        let StoredCommit { number, entries, state: _ } = commit;
        for (partition, entry) in &entries {
            self.observe(partition, entry);
        }
        self.sum_up(&entries);
        self.reconcile(number, &entries, self.started);
    }

    /// A connection was made; the peer's certificate says who it is.
    pub fn on_connected(&mut self, now: Now, link_id: LinkId, id: &SpiffeId, dialled: Dialled) {
        let Some((identity, peer)) = self.known(id) else {
            return self.turn_away(now, link_id, id);
        };
        let link = LinkConfig::new(self.identity.clone(), self.incarnation, identity.clone());
        let mut link = PeerLink::new(link, peer, self.random.next_u64(), now.monotonic);
        if let Some(peer) = self.peers.iter().find(|peer| peer.identity == identity) {
            link = link.named(peer.naming.clone());
        }
        tracing::info!(peer = %identity, %link_id, "connected");
        self.peer_links.insert(link_id, link);
        if let Some(peering) = self.peerings.get_mut(&identity) {
            peering.on_connected(now.monotonic, link_id, dialled);
        }
        self.settle(now, &identity);
        self.drain(now, link_id);
    }

    /// Who a certificate belongs to and what that allows; `None` for anybody not configured.
    fn known(&self, id: &SpiffeId) -> Option<(Identity, Peer)> {
        if id.fleet != self.fleet {
            return None;
        }
        match &id.role {
            Role::Agent(name) => {
                let grant = self.grants.iter().find(|grant| grant.agent().as_str() == name)?;
                let region = id.region.clone();
                let identity = Identity::Agent { region, name: grant.agent().clone() };
                (id.region == *grant.region(self.identity.region()))
                    .then(|| (identity, Peer::Agent(grant.clone())))
            }
            Role::Hub(name) => self.peers.iter().find_map(|peer| {
                let Identity::Hub { region, name: known } = &peer.identity else { return None };
                (*region == id.region && known.as_str() == name)
                    .then(|| (peer.identity.clone(), Peer::Hub(peer.offering.clone())))
            }),
        }
    }

    /// A frame arrived.
    pub fn on_frame(&mut self, now: Now, link_id: LinkId, lane: Lane, frame: Bytes) {
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            known.link.on_frame(now.monotonic, lane, frame);
            self.drain(now, link_id);
        }
    }

    /// The driver has written bytes of a lane.
    pub fn on_written(&mut self, now: Now, link_id: LinkId, lane: Lane, bytes: ByteCount) {
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            known.link.on_written(lane, bytes);
            self.drain(now, link_id);
        }
    }

    /// The log could not answer [`Output::Read`]. Nothing would ask again on this connection, so it
    /// is closed; the next one starts over.
    pub fn on_read_failed(&mut self, now: Now, link_id: LinkId) {
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            let text = "the log cannot be read here";
            known.link.refuse_peer(Refusal::new(RefusalCode::PositionUnavailable, text));
            self.drain(now, link_id);
        }
    }

    /// A commit is durable: acknowledges it, offers it and reconciles it.
    ///
    /// # Panics
    /// When commits are reported in another order than they were handed out.
    pub fn on_committed(&mut self, now: Now, ticket: Ticket, number: CommitNumber) {
        let Some(front) = self.in_flight.pop_front() else { return };
        let InFlight { ticket: expected, entries, stored, subscribed, .. } = front;
        assert_eq!(ticket, expected, "commits are acknowledged in the order they were composed");
        self.grow_heads(&entries);
        for stored in stored {
            self.on_stored(now, stored);
        }
        for (link_id, channel, next) in subscribed {
            self.go_on(now, (link_id, channel), next);
        }
        self.outputs.extend(self.acks.on_committed(ticket));
        self.on_leases_kept(now, ticket);
        self.mark(now, &entries);
        self.count_holes(&entries);
        self.audit_committed(&entries);
        self.keeping.on_written();
        for span in self.spans.of(&self.topics, &entries, now) {
            self.outputs.push_back(Output::Trace(span));
        }
        self.hand_out_snapshot(ticket);
        self.note_rights(now, &entries);
        self.reconcile(number, &entries, now);
        self.release(now);
        if !self.fullness.is_full() {
            self.raise_faults(now);
        }
        self.snapshot(now, (ticket, number), &entries);
        for link_id in self.peer_links.awake() {
            self.drain(now, link_id);
        }
    }

    fn grow_heads(&mut self, entries: &[(TopicPartition, Entry)]) {
        let mut grown: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for (partition, entry) in entries {
            grown.insert(partition, entry.end());
        }
        for (partition, end) in grown {
            self.durable.insert(partition.clone(), end);
            self.note_former_of(partition);
            let Some(topic) = self.topics.get(&partition.topic) else { continue };
            for link_id in self.peer_links.hubs() {
                if let Some(known) = self.peer_links.get_mut(&link_id) {
                    known.on_head(topic, partition, end);
                }
            }
            for peer in &mut self.peers {
                peer.lag.on_head(partition, end);
            }
        }
    }

    /// Time has come to [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Now) {
        self.dial(now);
        self.look_after_leases(now);
        for link_id in self.peer_links.due(now.monotonic) {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.link.on_timeout(now.monotonic);
            }
        }
        for link_id in self.peer_links.awake() {
            self.drain(now, link_id);
        }
        self.watch_peers(now);
        if !self.fullness.is_full() {
            self.write_rights(now, None);
            self.name_absent(now);
            self.promise(now);
            self.beat(now);
            self.state(now);
            self.speak_of_members(now);
            self.say_changed_settings(now);
            self.raise_faults(now);
            self.release(now);
        }
        self.clean(now);
        self.write_snapshot(now);
        self.scrub(now);
        self.look_on(now);
        self.look_after_refills(now);
    }

    /// When [`Self::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let promise = (!self.peer_links.is_empty()).then_some(self.promise_at);
        let notices = self.peers.iter().filter_map(|peer| peer.reach.poll_timeout());
        let audit = self.audit.poll_timeout().filter(|_| !self.fullness.is_full());
        let timers = self.dial_at().into_iter().chain(self.peer_links.poll_timeout());
        let timers = timers.chain(self.promises.poll_timeout()).chain(promise).chain(notices);
        let timers = timers.chain(audit).chain(self.leases_at()).chain(self.scrub_at());
        let timers = timers.chain(self.walks.poll_timeout()).chain(self.beat_at());
        let timers = timers.chain(self.refills_at()).chain(self.offsets_at());
        timers.chain(self.clean_at()).chain(self.members_at()).chain(self.snapshot_at()).min()
    }

    /// The next piece of work, `None` when there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.taken_back().is_some() {
            return None;
        }
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.take_commit().map(Output::Commit)
    }
}
