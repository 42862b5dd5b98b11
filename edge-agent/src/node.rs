//! The agent: everything it decides, without a socket, a file or a clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use headland_detection::Program;
use headland_event::{
    ByteCount, ChannelId, CommitNumber, Entry, EventTime, Incarnation, Lane, Monotonic, NameError,
    Now, Offset, Random, SeededRandom, TopicName, TopicPartition,
};
use headland_platform::telemetry::Span;
use headland_replication::frame::Goodbye;
use headland_replication::{Audit, CloseReason, Identity, Link, LinkConfig, LinkOutput};
use headland_storage::{
    CleanPolicy, CodecNotBuilt, Composed, Composer, LogReader, Missing, Scrub, ScrubRead, Snapshot,
    StateStore, Ticket, TopicCodecs, TopicPattern,
};

/// Lines to records, alerts and commits.
mod capture;
/// Files that rules look in.
mod files;
/// What the agent's streams come to, for the hubs that hold them.
mod audit;
/// What rules raise, in commits of bounded size.
mod results;
/// Snapshots of what an agent derives from its journal.
mod snapshot;
/// Damage to the log.
mod damage;
/// Damage that nobody read yet.
mod scrub;
/// How long the agent has run.
mod uptime;
/// When the log is cleaned, and by what.
mod retention;
/// What the agent keeps of which hub has acknowledged what.
mod keeping;
/// What the agent says about itself.
mod status;

pub use snapshot::TakeUpError;
pub use status::{RuleStatus, ScrubView, SourceStatus, Status};

use crate::config::AgentConfig;
use crate::dead;
use crate::decode::{ReplayedRows, SourceError};
use crate::detect::{Detect, alerts_topic};
use crate::hubs::{HubIndex, Hubs};
use crate::outbox::{Keeping, Outbox, OutboxError, Stretch, partition_of};
use crate::uplink::{self, Uplink};
use capture::Source;
use files::Files;
use keeping::Keep;
use results::Results;
use retention::{Cleaning, Lanes};
use snapshot::Snapshots;
use uptime::Uptime;

/// Commits on their way to the disk; more lines wait in their files.
const IN_FLIGHT_LIMIT: usize = 4;

/// Number of a `[[source]]` in the configuration.
pub type SourceIndex = usize;

/// Work the caller does on behalf of a [`Node`].
#[derive(Debug)]
#[must_use = "an output that is dropped is work that is never done"]
pub enum Output {
    /// Append to the log; answer with [`Node::on_committed`], in order.
    Commit(Composed),
    /// Send a frame; report it with [`Node::on_written`].
    Send {
        /// The lane.
        lane: Lane,
        /// The frame.
        frame: Bytes,
    },
    /// Read entries of the log; answer with [`Node::on_entries`] or [`Node::on_damaged`].
    Read {
        /// The channel they are for.
        channel: ChannelId,
        /// The partition.
        partition: TopicPartition,
        /// Where to start.
        from: Offset,
        /// Where to stop.
        limit: ByteCount,
    },
    /// Dial a hub; answer with [`Node::on_connected`] or [`Node::on_dial_failed`]. One that is
    /// being dialled already is not wanted any more, one that is connected stays until then.
    Dial(HubIndex),
    /// Close the connection once what was sent is written.
    Close(CloseReason),
    /// Export a span.
    Trace(Span),
    /// Save a snapshot of [`Node::snapshot_owner`], for [`Node::take_up`] at the next start.
    Snapshot(Snapshot),
    /// Take away what the policy lets go; answer with [`Node::on_cleaned`] when partitions moved.
    Clean(CleanPolicy),
    /// Read a piece of the log, on a thread of its own; answer with [`Node::on_scrubbed`].
    Scrub(ScrubRead),
}

/// Why an agent cannot start with its configuration and log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A source does not fit the rules.
    #[error("cannot read source {path}")]
    Source {
        /// The source's file.
        path: String,
        /// What is wrong.
        source: SourceError,
    },
    /// The log's state cannot be taken up.
    #[error("cannot take up the log")]
    Composer(#[from] headland_storage::ComposerError),
    /// The log is another node's, or what it says about the sources cannot be read.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A source's codec cannot be used.
    #[error("cannot compress a source as configured")]
    Codec(#[from] CodecNotBuilt),
    /// The dead letters of a rule's topic cannot be named.
    #[error("the topic of a rule is too long")]
    Topic(#[from] NameError),
}

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    ends: Vec<(TopicPartition, Offset)>,
    /// How far its topic's event time has come once the commit is durable.
    reached: Option<(TopicName, EventTime)>,
    spans: Vec<Span>,
}

/// An agent.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    /// In the order of the configuration.
    hub_identities: Vec<Identity>,
    incarnation: Incarnation,
    sources: Vec<Source>,
    detect: Detect,
    files: Files,
    /// Records of earlier runs to rows, by topic.
    replayed: BTreeMap<TopicName, ReplayedRows>,
    outbox: Outbox,
    lanes: Lanes,
    results: Results,
    audit: Audit,
    snapshots: Snapshots,
    cleaning: Cleaning,
    keep: Keep,
    uptime: Uptime,
    /// Why no snapshot was taken up, when none was.
    no_snapshot: String,
    /// What damage took from the log.
    missing: Missing,
    /// Reads the log through for more of it.
    scrub: Scrub,
    future_records: u64,
    uplink: Option<Uplink>,
    /// What was read for the link while it was not durable yet what of it may be holes; one read a
    /// channel at most.
    held_entries: Vec<(ChannelId, Vec<Entry>)>,
    hubs: Hubs,
    /// The hub ends the connection for a newer one of the same identity.
    is_superseded: bool,
    /// The hub takes nothing of what this agent has.
    is_useless: bool,
    /// Event time by topic, as far as the records behind it are durable.
    reached: BTreeMap<TopicName, EventTime>,
    promised: BTreeMap<TopicName, EventTime>,
    promise_at: Monotonic,
    promise_interval: std::time::Duration,
    in_flight: VecDeque<InFlight>,
    outputs: VecDeque<Output>,
    random: SeededRandom,
}

impl Node {
    /// An agent that takes up where its log ends; before anything else offer it its snapshots by
    /// [`Self::take_up`], then feed it every commit from there on by [`Self::on_replayed`], and end
    /// that by [`Self::on_replay_ended`].
    ///
    /// # Errors
    /// [`StartError`] when configuration, rules and log do not fit.
    pub fn new(
        config: &AgentConfig,
        hubs: Vec<Identity>,
        program: Program,
        incarnation: Incarnation,
        (log, state): (&impl LogReader, &impl StateStore),
        seed: u64,
    ) -> Result<Self, StartError> {
        let mut random = SeededRandom::new(seed);
        let ratio = config.telemetry.as_ref().map_or(0.0, |telemetry| telemetry.trace_ratio);
        let sources = config.sources.iter();
        let sources = sources
            .map(|source| Source::new(source, &program, ratio, state))
            .collect::<Result<Vec<Source>, _>>()?;
        let lanes = Lanes::new(sources.iter().map(|it| (it.decoder.topic().clone(), it.lane)));
        let codecs = config.sources.iter().zip(&sources).map(|(config, source)| {
            (TopicPattern::Exactly(source.decoder.topic().clone()), config.codec)
        });
        let codecs = TopicCodecs::new(codecs.collect())?;
        let files = Files::new(&program, state).map_err(OutboxError::State)?;
        let detect = Detect::new(program, &config.name, random.next_u64());
        for topic in detect.topics() {
            dead::topic_of(topic)?;
        }
        let identity = Identity::Agent { region: config.region.clone(), name: config.name.clone() };
        let mut composer = Composer::new(incarnation, log, state)?;
        composer.add_alerts(alerts_topic());
        let mut outbox = Outbox::new(composer, config.outbox.limits(), codecs);
        outbox.claim(state, &identity)?;
        let keeping = if hubs.len() > 1 { Keeping::Spans } else { Keeping::LastHub };
        outbox.take_up_hubs(state, keeping)?;
        let mut cleaning = Cleaning::due();
        for partition in log.partitions() {
            let lane = lanes.of(&partition.topic);
            outbox.ledger_mut().on_start((&partition, lane), log.start(&partition));
            let dropped = headland_storage::dropped(state, &partition);
            cleaning.take_up(dropped.map_err(OutboxError::State)?);
        }
        Ok(Self {
            identity,
            hubs: Hubs::new(hubs.len(), config.roaming, random.next_u64()),
            hub_identities: hubs,
            incarnation,
            sources,
            detect,
            files,
            replayed: BTreeMap::new(),
            outbox,
            lanes,
            results: Results::new(Outbox::written_results(state)?),
            audit: Audit::new(incarnation, Monotonic::default()),
            snapshots: Snapshots::new(config.storage.snapshot_after.get()),
            cleaning,
            keep: Keep::default(),
            uptime: Uptime::default(),
            no_snapshot: String::new(),
            missing: Missing::default(),
            scrub: Scrub::new(ByteCount::new(0), Monotonic::default()),
            future_records: 0,
            uplink: None,
            held_entries: Vec::new(),
            is_superseded: false,
            is_useless: false,
            reached: BTreeMap::new(),
            promised: BTreeMap::new(),
            promise_at: Monotonic::default(),
            promise_interval: config.outbox.promise_interval.get(),
            in_flight: VecDeque::new(),
            outputs: VecDeque::new(),
            random,
        })
    }

    /// Whether more lines can be taken: the disk keeps up, what rules raised is written, and the
    /// outbox has room.
    #[must_use]
    pub fn wants_lines(&self) -> bool {
        let is_free = self.in_flight.len() < IN_FLIGHT_LIMIT && self.results.is_written();
        is_free && !self.outbox.ledger().is_full()
    }

    /// A commit is durable.
    ///
    /// # Panics
    /// When commits are reported in another order than they were handed out.
    pub fn on_committed(&mut self, now: Now, ticket: Ticket, number: CommitNumber) {
        let Some(front) = self.in_flight.pop_front() else { return };
        let InFlight { ticket: expected, ends, reached, spans } = front;
        assert_eq!(ticket, expected, "commits are acknowledged in the order they were composed");
        for (partition, end) in ends {
            self.outbox.on_durable(&partition, end);
            let lane = self.lanes.of(&partition.topic);
            if let Some(uplink) = &mut self.uplink {
                uplink.on_head(&partition.topic, lane, end);
            }
        }
        self.reached.extend(reached);
        self.note_durable(ticket, number);
        self.outbox.on_committed(ticket);
        self.keep_holes(now);
        self.send_held(now);
        self.outputs.extend(spans.into_iter().map(Output::Trace));
        self.promise(now);
        self.drain(now);
    }

    /// The connection to a hub was made; it takes the place of the one that is there.
    pub fn on_connected(&mut self, now: Now, hub: HubIndex) {
        let Some(peer) = self.hub_identities.get(hub) else { return };
        let config = LinkConfig::new(self.identity.clone(), self.incarnation, peer.clone());
        self.hubs.on_connected(now.monotonic, hub);
        self.let_go();
        (self.is_superseded, self.is_useless) = (false, false);
        let link = Link::new(config, self.random.next_u64(), now.monotonic);
        self.uplink = Some(Uplink::new(link, self.identity.region().clone()));
        self.drain(now);
    }

    /// The connection to the hub ended.
    pub fn on_disconnected(&mut self, now: Now) {
        self.let_go();
        let is_useless = std::mem::take(&mut self.is_useless);
        if std::mem::take(&mut self.is_superseded) {
            self.hubs.on_superseded(now.monotonic);
        } else if is_useless {
            self.hubs.on_useless(now.monotonic);
        } else {
            self.hubs.on_lost(now.monotonic);
        }
    }

    /// Lets the link go, with what it still asked for: the next connection is another one.
    fn let_go(&mut self) {
        let is_of_link = |it: &Output| {
            matches!(it, Output::Send { .. } | Output::Read { .. } | Output::Close(_))
        };
        self.outputs.retain(|output| !is_of_link(output));
        self.uplink = None;
        self.held_entries.clear();
        self.promised.clear();
    }

    /// The hub that was last asked for by [`Output::Dial`] could not be connected.
    pub fn on_dial_failed(&mut self, now: Now) {
        if self.uplink.is_some() {
            self.hubs.on_try_failed(now.monotonic);
        } else {
            self.on_disconnected(now);
        }
    }

    /// The hub has put a newer connection of the same identity in this one's place.
    pub const fn on_superseded(&mut self) {
        self.is_superseded = true;
    }

    /// A frame arrived.
    pub fn on_frame(&mut self, now: Now, lane: Lane, frame: Bytes) {
        if let Some(uplink) = &mut self.uplink {
            uplink.link.on_frame(now.monotonic, lane, frame);
            self.drain(now);
        }
    }

    /// The driver has written bytes of a lane.
    pub fn on_written(&mut self, now: Now, lane: Lane, bytes: ByteCount) {
        if let Some(uplink) = &mut self.uplink {
            uplink.link.on_written(lane, bytes);
            self.drain(now);
        }
    }

    /// The log's answer to [`Output::Read`].
    pub fn on_entries(&mut self, now: Now, channel: ChannelId, entries: Vec<Entry>) {
        self.scrub.on_other_read();
        if !self.outbox.may_send_holes() {
            self.held_entries.push((channel, entries));
            return;
        }
        let partition = self.uplink.as_ref().and_then(|uplink| uplink.partition(channel));
        let Some(partition) = partition.cloned() else { return };
        let dropped = self.dropped_of(&partition);
        let (settled, hub) = (self.outbox.settled(), self.hub_identities.get(self.hubs.current()));
        let stretch = |at| match hub {
            Some(hub) => settled.stretch(&partition, hub, at),
            None => Stretch { is_elsewhere: false, end: None },
        };
        if let Some(uplink) = &mut self.uplink {
            uplink.on_entries(channel, entries, &dropped, stretch);
            self.drain(now);
        }
    }

    /// Time has come to [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Now) {
        let hub = self.hubs.current();
        self.hubs.on_timeout(now.monotonic);
        if self.hubs.current() != hub {
            // It was left: what it still says is not the next one's.
            self.let_go();
        }
        if let Some(uplink) = &mut self.uplink {
            uplink.link.on_timeout(now.monotonic);
        }
        self.promise(now);
        self.state(now);
        self.keep_acknowledged(now);
        self.clean(now);
        self.write_snapshot(now);
        self.scrub(now);
        self.drain(now);
    }

    /// When [`Self::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let link = self.uplink.as_ref().and_then(|uplink| uplink.link.poll_timeout());
        let is_ready = self.uplink.as_ref().is_some_and(Uplink::is_ready);
        let promise = is_ready.then_some(self.promise_at);
        let timers = link.into_iter().chain(self.hubs.poll_timeout()).chain(promise);
        let audit = self.audit.poll_timeout().filter(|_| self.can_state());
        let timers = timers.chain(self.cleaning.due_at).chain(audit).chain(self.keep.due_at());
        timers.chain(self.snapshot_at()).chain(self.scrub.poll_timeout()).min()
    }

    /// The next piece of work, `None` when there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(hub) = self.hubs.poll_output() {
            return Some(Output::Dial(hub));
        }
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.take_results()
    }

    /// Sends promises that have risen, at most once per interval; they only name what is durable.
    fn promise(&mut self, now: Now) {
        let Some(uplink) = self.uplink.as_mut().filter(|uplink| uplink.is_ready()) else { return };
        if now.monotonic < self.promise_at {
            return;
        }
        self.promise_at = now.monotonic.after(self.promise_interval);
        for (topic, watermark) in &self.reached {
            if self.promised.get(topic).is_none_or(|promised| promised < watermark) {
                self.promised.insert(topic.clone(), *watermark);
                let end = self.outbox.durable_end(&partition_of(topic));
                uplink.promise(topic, *watermark, end);
            }
        }
    }

    /// Does what the link asks for until it asks for nothing more.
    fn drain(&mut self, now: Now) {
        while let Some(output) = self.uplink.as_mut().and_then(|uplink| uplink.link.poll_output()) {
            match output {
                LinkOutput::Send { lane, frame } => {
                    self.outputs.push_back(Output::Send { lane, frame });
                }
                LinkOutput::PeerReady(_) => self.on_hub_ready(now),
                LinkOutput::Read { channel, from, limit } => {
                    let Some(uplink) = &mut self.uplink else { continue };
                    uplink.on_read(channel, from);
                    if let Some(partition) = uplink.partition(channel).cloned() {
                        self.outputs.push_back(Output::Read { channel, partition, from, limit });
                    }
                }
                LinkOutput::Acked { channel, next } => {
                    self.on_acked(now, channel, next);
                }
                LinkOutput::OfferRefused { channel, refusal, asked: _ } => {
                    let uplink = self.uplink.as_ref();
                    let partition = uplink.and_then(|u| u.partition(channel));
                    let partition = partition.map(ToString::to_string);
                    tracing::error!(partition, %refusal, "the hub refused a topic; kept here");
                    self.on_refused(channel);
                }
                // An agent subscribes to nothing.
                LinkOutput::Announced(announce) => {
                    let text = "an agent takes no topics";
                    let code = headland_replication::RefusalCode::NotAuthorised;
                    let refusal = headland_replication::Refusal::new(code, text);
                    if let Some(uplink) = &mut self.uplink {
                        uplink.link.refuse(announce.channel, refusal);
                    }
                }
                LinkOutput::Deliver { .. }
                | LinkOutput::Promised(_)
                | LinkOutput::Leased(_)
                | LinkOutput::RefillAsked(_)
                | LinkOutput::Refilled(_)
                | LinkOutput::Ended { .. } => {}
                LinkOutput::Close(reason) => {
                    if uplink::is_superseded(&reason) {
                        self.on_superseded();
                    }
                    self.outputs.push_back(Output::Close(reason));
                }
            }
        }
    }

    /// The hub has everything of a channel before `next`.
    fn on_acked(&mut self, now: Now, channel: ChannelId, next: Offset) {
        let hub = self.hub_identities.get(self.hubs.current());
        let taken = self.uplink.as_mut().and_then(|uplink| uplink.on_acked(channel));
        let (Some((partition, is_first)), Some(hub)) = (taken, hub) else { return };
        let is_of_source =
            || self.sources.iter().any(|source| *source.decoder.topic() == partition.topic);
        if is_first && is_of_source() {
            self.hubs.on_taken(now.monotonic);
        }
        if is_first {
            self.outbox.on_stands(partition, hub, next);
        }
        self.outbox.on_acked(partition, hub, next);
        self.keep_holes(now);
        self.keep_soon(now);
    }

    /// Sends what was read before it was durable what of it may be holes.
    fn send_held(&mut self, now: Now) {
        if self.outbox.may_send_holes() {
            for (channel, entries) in std::mem::take(&mut self.held_entries) {
                self.on_entries(now, channel, entries);
            }
        }
    }

    /// The hub does not take a channel. Where there is another hub, one that takes nothing of what
    /// the sources give is left: its region was left, or does not know this agent's topics.
    fn on_refused(&mut self, channel: ChannelId) {
        let Some(uplink) = &mut self.uplink else { return };
        uplink.on_refused(channel);
        let topics = self.sources.iter().map(|source| source.decoder.topic());
        if self.hubs.are_several() && uplink.is_useless(topics) {
            self.is_useless = true;
            uplink.link.close(Goodbye::Reconfigured);
        }
    }

    /// Offers every topic of the agent, empty ones too: the hub learns what will be promised.
    fn offer_all(&mut self) {
        let mut topics: BTreeSet<TopicName> = [alerts_topic()].into();
        for source in &self.sources {
            topics.insert(source.decoder.topic().clone());
            topics.insert(source.decoder.dead_topic().clone());
        }
        topics.extend(self.outbox.durable().map(|(partition, _)| partition.topic.clone()));
        for topic in topics {
            let head = self.outbox.durable_end(&partition_of(&topic));
            let lane = self.lanes.of(&topic);
            if let Some(uplink) = &mut self.uplink {
                uplink.on_head(&topic, lane, head);
            }
        }
    }

    fn on_hub_ready(&mut self, now: Now) {
        self.hubs.on_hello(now.monotonic);
        let Some(uplink) = &mut self.uplink else { return };
        uplink.on_ready();
        if let Some(hub) = self.hub_identities.get(self.hubs.current()) {
            self.outbox.on_hub(hub);
            tracing::info!(%hub, "the hub is ready");
        }
        self.offer_all();
        self.promise_at = now.monotonic;
        self.promise(now);
    }
}

#[cfg(test)]
mod tests;
