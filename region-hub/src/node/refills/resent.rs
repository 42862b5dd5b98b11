//! What a log of this hub lost and no other hub has, asked of the agents that wrote it.
//!
//! Agents keep for a while what was acknowledged. Where damage took records of a topic that agents
//! publish, other hubs are asked first, since from them records come back at their offsets
//! ([`super`]). For what these do not have, a minute later, or ten where a hub is away, the
//! log is read through for the dots that it holds, and agents that write to it are told a position
//! before all that they keep. Of what they send again that is stored, behind all else, of which the
//! log holds no dot: nothing is twice in it. What agents do not keep any more stays lost.
//!
//! Where damage took the end of the journal it may have been all that there was of a log: then
//! agents are asked for each log that they write to.
//!
//! Positions on disk stay where they are meanwhile. A hub that stops amid it begins anew, and finds
//! what was stored by then in its log: that a log lost something is kept for a day, as
//! `resent/<log>` of the owner `node`.
//!
//! Agents are not asked for compacted topics: an older value would come behind a newer one. Of what
//! retention let go an agent may keep some: so where a log does not begin at offset 0 an entry is
//! taken only when the log holds one that its agent wrote before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    ByteCount, Dot, Entry, Hole, Monotonic, Now, Offset, PartitionIndex, TopicName, TopicPartition,
};
use headland_replication::frame::Goodbye;
use headland_replication::{Counted, Offer};
use headland_storage::{MissingOffsets, ReadError, StateStore};

use super::{Node, Output, Recall, Refills};
use crate::node::recovery::{RecoveryError, number, owner};
use crate::peer_link::{LinkId, Peer, PeerLink, Receiving};

/// How long hubs have to bring what was lost before agents are asked, and until it is looked again
/// where they still may.
const ASKED_AFTER: Duration = Duration::from_secs(60);

/// How long is waited for a hub that is not there. Agents keep an hour.
pub(super) const HUBS_AWAITED: Duration = Duration::from_secs(10 * 60);

/// Bytes of a log that are read at once for the dots that it holds.
const SURVEY_BYTES: ByteCount = ByteCount::mebibytes(1);

/// How long it is kept over restarts that a log lost something, milliseconds.
const MET_FOR_MILLIS: i64 = 24 * 3_600 * 1_000;

/// What the keys of that begin with.
const KEYS: &[u8] = b"resent/";

/// Logs of which agents are asked for what they lost.
#[derive(Debug, Default)]
pub(in crate::node) struct Resent {
    /// Logs that lost something.
    due: BTreeMap<TopicPartition, Due>,
    /// Those of which agents are asked though nothing is known to be missing: an earlier run met
    /// it, or it may be all that there was of a log.
    unsure: BTreeSet<TopicPartition>,
    /// The log that is read for the dots that it holds, and where that goes on.
    survey: Option<(TopicPartition, Offset)>,
    /// Logs that were read through, of whose agents the connections are to be made anew.
    read: BTreeSet<TopicPartition>,
    /// Dots that logs hold of which agents are asked.
    held: BTreeMap<TopicPartition, Held>,
    /// Agents' logs that are sent again, or were, by the key of their position.
    again: BTreeMap<Bytes, Again>,
}

/// What a log holds.
#[derive(Debug, Default)]
struct Held {
    dots: Counted,
    /// Whether retention let some of it go.
    is_short: bool,
}

/// When agents are asked for what a log lost.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Monotonic,
    /// Until when is waited for hubs that are not there.
    until: Monotonic,
}

/// An agent's log that is sent again.
#[derive(Debug)]
struct Again {
    /// The log here that it goes into.
    local: TopicPartition,
    next: Offset,
    /// Its position on disk: from there on all is new.
    until: Offset,
    /// Records of it that the log here had lost.
    records: u64,
}

impl Resent {
    /// Where an agent's log goes on that is being sent again.
    pub(in crate::node) fn next_of(&self, position_key: &[u8]) -> Option<Offset> {
        let again = self.again.get(position_key).filter(|again| again.next < again.until);
        again.map(|again| again.next)
    }

    /// Where an agent that offers its log has to begin, whose position is `position`.
    pub(in crate::node) fn begin(
        &mut self,
        at: &Receiving,
        offer: &Offer,
        position: Offset,
    ) -> Offset {
        let is_read = self.survey.as_ref().is_none_or(|(log, _)| *log != at.local);
        if !is_read || !self.held.contains_key(&at.local) {
            return position;
        }
        let again = self.again.entry(at.position_key.clone()).or_insert_with(|| Again {
            local: at.local.clone(),
            next: Offset::default(),
            until: position,
            records: 0,
        });
        again.next = again.next.max(offer.start).min(again.until);
        if again.next < again.until { again.next } else { position }
    }

    /// Whether an entry was sent again that the log has, or that stands for what is gone.
    pub(in crate::node) fn is_known(&self, at: &Receiving, entry: &Entry) -> bool {
        let held = self.held.get(&at.local);
        let is_let_go =
            || held.is_some_and(|held| held.is_short && !held.dots.knows_before(entry.dot));
        let is_hole = || Hole::of(&entry.batch).is_some();
        self.next_of(&at.position_key).is_some()
            && (self.has(&at.local, entry) || is_hole() || is_let_go())
    }

    /// Whether a log that agents are asked for has some of an entry, as far as is known.
    pub(in crate::node) fn has(&self, local: &TopicPartition, entry: &Entry) -> bool {
        let held = self.held.get(local);
        held.is_some_and(|held| held.dots.knows(entry.dot, entry.batch.span()))
    }

    /// An agent's entry was stored.
    pub(in crate::node) fn note(&mut self, at: &Receiving, (dot, span): (Dot, u64)) {
        let Some(held) = self.held.get_mut(&at.local) else { return };
        held.dots.count(dot, span);
        let again = self.again.get_mut(&at.position_key);
        if let Some(again) = again.filter(|again| again.next < again.until) {
            again.records += span;
        }
    }

    /// An agent's log has come up to `next`; returns the position to write down where it is being
    /// sent again.
    pub(in crate::node) fn go_on(&mut self, at: &Receiving, next: Offset) -> Option<Offset> {
        let again = self.again.get_mut(&at.position_key)?;
        if again.next >= again.until {
            return None;
        }
        again.next = next.min(again.until);
        if again.next == again.until {
            let (log, records) = (&at.local, again.records);
            let key = String::from_utf8_lossy(&at.position_key);
            tracing::info!(agent = %key, %log, records, "an agent sent again what was lost");
        }
        Some(again.until)
    }

    /// What is sent again into a log counts no more.
    fn forget(&mut self, local: &TopicPartition) {
        self.again.retain(|_, again| again.local != *local);
        self.held.remove(local);
    }
}

impl Node {
    /// A log lost something: agents are asked for it later, if they write to it.
    pub(in crate::node) fn ask_agents_later(&mut self, now: Now, log: &TopicPartition) {
        if self.is_of_agents(log) && !self.refills.resent.due.contains_key(log) {
            self.ask_agents_of(now, log.clone());
            let value = now.wall.millis().to_be_bytes().to_vec();
            self.composer.set(owner("node"), key_of(log), Some(value.into()));
        }
    }

    fn ask_agents_of(&mut self, now: Now, log: TopicPartition) {
        // Where there are no hubs nothing is waited for.
        let wait = if self.peers.is_empty() { Duration::ZERO } else { ASKED_AFTER };
        let (at, until) = (now.monotonic.after(wait), now.monotonic.after(HUBS_AWAITED));
        self.refills.resent.due.insert(log, Due { at, until });
    }

    /// The end of the journal is lost: of whichever log it was, agents are asked for it later.
    pub(in crate::node) fn ask_agents_for_all_later(&mut self, now: Now) {
        let local = self.topics.iter().filter(|topic| topic.is_local());
        let logs = local.flat_map(|topic| {
            let of = |index| TopicPartition::new(topic.name.clone(), PartitionIndex::new(index));
            (0..topic.partitions).map(of)
        });
        for log in logs.filter(|log| self.is_of_agents(log)).collect::<Vec<_>>() {
            self.ask_agents_later(now, &log);
            self.refills.resent.unsure.insert(log);
        }
    }

    /// Takes up which logs lost something in earlier runs.
    pub(in crate::node) fn restore_resent(
        &mut self,
        state: &impl StateStore,
    ) -> Result<(), RecoveryError> {
        let now = self.started;
        for (key, value) in state.scan(&owner("node"), KEYS)? {
            let met_at = number("node", &value)?.cast_signed();
            let Some(log) = log_of(&key) else { continue };
            if now.wall.millis().saturating_sub(met_at) > MET_FOR_MILLIS || !self.is_of_agents(&log)
            {
                self.composer.set(owner("node"), key, None);
            } else {
                self.ask_agents_of(now, log.clone());
                self.refills.resent.unsure.insert(log);
            }
        }
        Ok(())
    }

    /// Whether agents write to a log, and it holds all that they wrote.
    fn is_of_agents(&self, log: &TopicPartition) -> bool {
        let topic = self.topics.get(&log.topic).filter(|topic| topic.is_local());
        topic.is_some_and(|topic| {
            let is_compacted = self.keeping.compaction(topic).is_some();
            !is_compacted && self.grants.iter().any(|grant| grant.covers(&topic.name))
        })
    }

    /// When [`Self::look_after_resent`] wants to be called.
    pub(in crate::node) fn resent_at(&self) -> Option<Monotonic> {
        let Resent { due, survey, .. } = &self.refills.resent;
        let is_idle = survey.is_none() && !self.fullness.is_full();
        due.values().map(|due| due.at).min().filter(|_| is_idle)
    }

    /// Begins with a log that is due.
    pub(in crate::node) fn look_after_resent(&mut self, now: Now) {
        if self.refills.resent.survey.is_some() || self.fullness.is_full() {
            return;
        }
        let are_all_there = self.refills.readers.len() >= self.peers.len();
        let due = self.refills.resent.due.iter().filter(|(_, due)| due.at <= now.monotonic);
        let due: Vec<_> = due.map(|(log, due)| (log.clone(), *due)).collect();
        for (log, Due { until, .. }) in due {
            let lost = || self.missing.offsets().filter(|lost| lost.partition == log);
            let is_unsure = self.refills.resent.unsure.contains(&log);
            let is_awaited = !are_all_there && now.monotonic < until;
            let is_nowhere = || is_unsure || lost().any(|lost| !self.may_be_brought(lost));
            let is_for_agents = !is_awaited && is_nowhere();
            let is_over = !is_unsure && lost().next().is_none();
            if is_over || !self.is_of_agents(&log) {
                self.refills.resent.due.remove(&log);
                self.composer.set(owner("node"), key_of(&log), None);
            } else if !is_for_agents {
                let at = now.monotonic.after(ASKED_AFTER);
                self.refills.resent.due.insert(log, Due { at, until });
            } else if self.refills.resent.survey.is_none() {
                self.begin_survey(log);
            }
        }
        self.survey_on();
        if self.refills.resent.survey.is_none() {
            self.connect_agents_anew(now);
        }
    }

    /// Whether hubs may still bring a range back: they were not asked yet, or had all of it.
    fn may_be_brought(&self, lost: &MissingOffsets) -> bool {
        let tried = self.refills.tried.get(lost);
        let may_be_asked = self.is_refilled(lost) && !self.refills.readers.is_empty();
        tried.map_or(may_be_asked, |tried| tried.is_found)
    }

    /// Begins to read a log for the dots that it holds. What is on its way to the disk it has too.
    fn begin_survey(&mut self, log: TopicPartition) {
        self.cut_commit();
        let start = self.keeping.start(&log);
        let mut held = Held { is_short: start > Offset::default(), ..Held::default() };
        let on_their_way = self.in_flight.iter().flat_map(|commit| &commit.entries);
        for (_, entry) in on_their_way.filter(|(partition, _)| *partition == log) {
            held.dots.count(entry.dot, entry.batch.span());
        }
        self.refills.resent.due.remove(&log);
        self.refills.resent.unsure.remove(&log);
        self.refills.resent.forget(&log);
        self.refills.resent.held.insert(log.clone(), held);
        self.refills.resent.survey = Some((log, start));
    }

    /// Reads on for the dots that a log holds, unless the log is read for others.
    pub(in crate::node) fn survey_on(&mut self) {
        let Refills { resent, recalling, .. } = &mut self.refills;
        let Some((partition, from)) = resent.survey.clone().filter(|_| recalling.is_none()) else {
            return;
        };
        *recalling = Some(Recall::Survey);
        self.outputs.push_back(Output::Recall { partition, from, limit: SURVEY_BYTES });
    }

    /// What was read for the dots that a log holds.
    pub(in crate::node) fn on_surveyed(&mut self, now: Now, found: Result<Vec<Entry>, ReadError>) {
        let Resent { survey, held, due, .. } = &mut self.refills.resent;
        let Some((log, next)) = survey else { return };
        match found {
            Ok(entries) => {
                let held = held.entry(log.clone()).or_default();
                for entry in &entries {
                    held.dots.count(entry.dot, entry.batch.span());
                }
                if let Some(last) = entries.last() {
                    *next = last.end();
                    return;
                }
            }
            Err(ReadError::Quarantined { partition, from, until }) => {
                let is_on = *next < until;
                *next = until;
                self.note_damage(now, &MissingOffsets { partition, from, until });
                if is_on {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%log, %error, "agents are not asked for what was lost, for now");
                let at = now.monotonic.after(ASKED_AFTER);
                due.insert(log.clone(), Due { at, until: at });
                let log = log.clone();
                *survey = None;
                self.refills.resent.forget(&log);
            }
        }
        if let Some((log, _)) = self.refills.resent.survey.take() {
            tracing::info!(%log, "agents are asked for what this log lost and no hub has");
            self.refills.resent.read.insert(log);
        }
        self.look_after_resent(now);
    }

    /// A lost range of a log came back from a hub: of what agents send again it is not known any
    /// more whether the log has it.
    pub(in crate::node) fn look_again_for_resent(&mut self, now: Now, log: &TopicPartition) {
        if self.refills.resent.held.contains_key(log) {
            self.refills.resent.forget(log);
            self.refills.resent.survey.take_if(|(of, _)| of == log);
            self.ask_agents_later(now, log);
            self.refills.resent.read.insert(log.clone());
            self.connect_agents_anew(now);
        }
    }

    /// Makes the connections of agents anew that write to what was read: they are told where to go
    /// on.
    fn connect_agents_anew(&mut self, now: Now) {
        let logs = std::mem::take(&mut self.refills.resent.read);
        if logs.is_empty() {
            return;
        }
        let writes = |known: &PeerLink| {
            matches!(known.peer, Peer::Agent(_)) && logs.iter().any(|log| known.takes(log))
        };
        let links = self.peer_links.iter().filter(|(_, known)| writes(known));
        for link_id in links.map(|(link_id, _)| *link_id).collect::<Vec<LinkId>>() {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, link_id);
        }
    }
}

fn key_of(log: &TopicPartition) -> Bytes {
    [KEYS, log.to_string().as_bytes()].concat().into()
}

fn log_of(key: &[u8]) -> Option<TopicPartition> {
    let (topic, partition) = str::from_utf8(key.strip_prefix(KEYS)?).ok()?.rsplit_once('/')?;
    let partition = PartitionIndex::new(partition.parse().ok()?);
    Some(TopicPartition::new(TopicName::new(topic).ok()?, partition))
}
