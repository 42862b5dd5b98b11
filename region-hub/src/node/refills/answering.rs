//! What another hub's log lost, read here for it.
//!
//! Of each connection one question is answered at a time, and of all of them the log is read for
//! one at a time. An answer ends after a mebibyte: who asked goes on behind that. It goes out when
//! a link has nothing else to send.
//!
//! A copy may hold a log several times, since an origin that begins a life sends it from its
//! beginning. The newest is looked at first. After damage it has a hole where one before it has the
//! records: of that the last entry tells at which offsets it is.

use std::collections::VecDeque;

use headland_event::{ByteCount, Entry, Hole, Now, Offset, TopicPartition};
use headland_replication::frame::{RefillAsk, RefillPart};
use headland_storage::{MissingOffsets, ReadError};

use super::{Node, Output, Recall};
use crate::peer_link::{LinkId, Peer};

/// Bytes of an answer, and of all that waits on a link when the log is read for it.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes read at once.
const READ_BYTES: ByteCount = ByteCount::new(256 << 10);

/// Copies that are looked at for one answer: an origin begins a life now and then.
const COPIES_MAX: usize = 16;

/// Questions that wait: one of each hub. Beyond that the answer is that there is nothing.
const QUESTIONS_MAX: usize = 64;

/// A question that is being answered.
#[derive(Debug)]
pub(super) struct Job {
    link_id: LinkId,
    ask: RefillAsk,
    partition: TopicPartition,
    next: Offset,
    until: Offset,
    /// Where the copy before this one ends, if there may be one.
    earlier: Option<Offset>,
    /// Whether the log is read for the last entry of that.
    is_probing: bool,
    /// Copies that were looked at.
    copies: usize,
    bytes: usize,
}

impl Job {
    /// Looks at the copy before, if nothing was found so far; `false` when there is none.
    const fn look_before(&mut self) -> bool {
        let Some(earlier) = self.earlier else { return false };
        if self.bytes > 0 || self.copies >= COPIES_MAX {
            return false;
        }
        (self.next, self.until) = (earlier, earlier.after(1));
        (self.is_probing, self.copies) = (true, self.copies + 1);
        true
    }

    /// Goes to what is asked for in the copy of which this is the last entry.
    fn enter(&mut self, last: Option<&Entry>) {
        self.is_probing = false;
        let stamp = last.and_then(|last| last.stamp.as_ref());
        let begins = last.zip(stamp);
        let begins = begins.and_then(|(last, of)| last.base.get().checked_sub(of.offset.get()));
        let Some(begins) = begins else {
            (self.earlier, self.until) = (None, self.next);
            return;
        };
        let local = |origin: Offset| Offset::new(origin.get().saturating_add(begins));
        let end = self.until;
        self.next = local(self.ask.from);
        self.until = local(self.ask.until).min(end);
        self.earlier = begins.checked_sub(1).map(Offset::new);
    }
}

/// Questions that wait.
#[derive(Debug, Default)]
pub(super) struct Answering(VecDeque<Job>);

impl Answering {
    /// A connection is over.
    pub(super) fn forget(&mut self, link_id: LinkId) {
        self.0.retain(|job| job.link_id != link_id);
    }
}

impl Node {
    /// A hub asks for what its log lost. That of an agent is not answered: it has no copies.
    pub(in crate::node) fn on_refill_asked(&mut self, now: Now, link_id: LinkId, ask: &RefillAsk) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        if !matches!(known.peer, Peer::Hub(_)) {
            return;
        }
        // Who does not take what was answered gets no more.
        let is_taken = known.link.refill_bytes().as_len() < ANSWER_BYTES_MAX;
        self.refills.answering.forget(link_id);
        let place = self.place_of(link_id, ask);
        let has_room = is_taken && self.refills.answering.0.len() < QUESTIONS_MAX;
        let Some((partition, next, until)) = place.filter(|_| has_room) else {
            return self.end_answer(now, link_id, ask.number);
        };
        let begins = self.consumers.begins(&partition);
        let earlier = begins.and_then(|begins| begins.get().checked_sub(1)).map(Offset::new);
        let (ask, is_probing, copies) = (ask.clone(), false, 0);
        let job =
            Job { link_id, ask, partition, next, until, earlier, is_probing, copies, bytes: 0 };
        self.refills.answering.0.push_back(job);
        self.answer_on();
    }

    /// Where this hub has what is asked for, if who asks may have it: it wrote it, or the filter of
    /// its link takes the topic.
    fn place_of(
        &self,
        link_id: LinkId,
        ask: &RefillAsk,
    ) -> Option<(TopicPartition, Offset, Offset)> {
        let known = self.peer_links.get(&link_id)?;
        let Peer::Hub(offering) = &known.peer else { return None };
        let region = known.identity.region();
        let is_meant = |topic: &&crate::topics::Topic| {
            topic.origin == ask.origin
                && topic.origin_name == ask.topic
                && offering.gives_back(topic, region)
        };
        self.topics.iter().filter(is_meant).find_map(|topic| {
            let at = TopicPartition::new(topic.name.clone(), ask.partition);
            let local = |of| match topic.is_local() {
                true => Some(of),
                false => self.consumers.local_at(&at, of, ask.life),
            };
            let end = self.durable.get(&at).copied()?;
            let (from, until) = (local(ask.from)?, local(ask.until)?.min(end));
            // An earlier copy may have what this one has not yet.
            Some((at, from.min(until), until))
        })
    }

    /// Reads on for the question that has waited longest, unless the log is read already.
    pub(super) fn answer_on(&mut self) {
        if self.refills.recalling.is_some() {
            return;
        }
        let Some(job) = self.refills.answering.0.pop_front() else { return };
        let (partition, from, limit) = (job.partition.clone(), job.next, READ_BYTES);
        self.refills.recalling = Some(Recall::Answer(job));
        self.outputs.push_back(Output::Recall { partition, from, limit });
    }

    /// What was read for a question.
    pub(super) fn on_found_for(
        &mut self,
        now: Now,
        mut job: Job,
        found: Result<Vec<Entry>, ReadError>,
    ) {
        let link_id = job.link_id;
        let is_over = match found {
            Ok(entries) if job.is_probing => {
                job.enter(entries.first());
                false
            }
            Ok(entries) => entries.is_empty() || self.give_back(&mut job, entries),
            Err(ReadError::Quarantined { partition, from, until }) => {
                job.next = until;
                self.note_damage(now, &MissingOffsets { partition, from, until });
                false
            }
            Err(_) => true,
        };
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let waiting = known.link.refill_bytes().as_len();
        let is_full = job.bytes >= ANSWER_BYTES_MAX || waiting >= ANSWER_BYTES_MAX;
        let is_through = is_over || job.until <= job.next;
        if is_full || is_through && !job.look_before() {
            return self.end_answer(now, link_id, job.ask.number);
        }
        self.refills.answering.0.push_back(job);
        self.drain(now, link_id);
    }

    /// Says what entries are of what is asked for; whether that was all.
    fn give_back(&mut self, job: &mut Job, entries: Vec<Entry>) -> bool {
        let Some(known) = self.peer_links.get_mut(&job.link_id) else { return true };
        for entry in entries {
            if job.until < entry.end() {
                return true;
            }
            let life = entry.stamp.as_ref().map(|stamp| stamp.actor.incarnation);
            let is_meant = job.next <= entry.base && life == Some(job.ask.life);
            job.next = entry.end();
            if is_meant && Hole::of(&entry.batch).is_none() {
                job.bytes += entry.batch.as_bytes().len();
                let part = RefillPart { number: job.ask.number, entry: Some(entry) };
                known.link.answer_refill(part);
            }
        }
        false
    }

    fn end_answer(&mut self, now: Now, link_id: LinkId, number: u64) {
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            known.link.answer_refill(RefillPart { number, entry: None });
        }
        self.drain(now, link_id);
    }
}
