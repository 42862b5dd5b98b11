//! Reconciling: committed inventory of every region in, derived records out.
//!
//! Commits are read in the order of the journal, and what they derive is committed together with
//! how far that is. One commit may derive more than a commit holds (every pair of concurrent
//! writes is a conflict), so deriving goes in steps of bounded size, each committed with its
//! `Progress`. After a restart the journal is read again from the latest snapshot on; steps that
//! are written are not written a second time.

use std::collections::VecDeque;

use bytes::Bytes;
use headland_event::codec::{CodecError, Writer};
use headland_event::{
    Actor, Batch, ByteCount, Codec, CommitNumber, Entry, Extent, Gap, Hole, Now, Offset,
    OffsetDelta, Record, Stamp, TopicName, TopicPartition, Verdict,
};
use headland_reconcile::{
    Config, Holder, Input, Locality, MemberRecord, MemberReport, Membership, Prepared, READ_AHEAD,
    Reconciler, RestoreError,
};
use headland_storage::StateOwner;

use crate::config::HubConfig;
use crate::ingest::CausalPast;
use crate::members::{is_of_members, reported_topics};
use crate::records::captured_at;
use crate::topics::Topics;

/// Derived records on their way into batches.
mod derived;
/// How far derived records are written.
mod progress;
/// Overlaps with stocktakes that an older version derived and did not write.
mod overlaps;
/// Inventory that does not count yet.
mod held;
#[cfg(test)]
mod tests;

use derived::Derived;
pub(crate) use derived::batches_of;
pub use held::{Held, HeldError};
use overlaps::Rows;
pub use progress::{Counted, Progress};

/// Bytes of derived records after which a step ends, a sixteenth of what a commit may hold. Larger
/// steps delay what waits behind them, smaller ones cost a barrier more often.
const STEP_BYTES_TARGET: usize = 1 << 20;

/// Bytes that may be held back; what would be beyond it stays with its senders until an operator
/// has decided, and everything else goes on.
const HELD_BYTES: u64 = 256 << 20;

/// Shelves that forget what nobody can ask for any more whenever a record is applied, while some
/// are left. With one, a pass takes as many records as there are shelves; more delay each record.
const COMPACTED_EACH: usize = 2;

/// What a record without a value is read as.
static NO_VALUE: Bytes = Bytes::new();

/// The inventory of all regions, as this hub's journal tells it.
#[derive(Debug)]
pub struct Inventory {
    config: Config,
    seed: u64,
    reconciler: Reconciler,
    topic: TopicName,
    /// How derived batches are compressed.
    codec: Codec,
    /// Everything before it is written.
    written: Progress,
    /// Whether that is so of overlaps too.
    overlaps: Rows,
    /// The step that comes next.
    next: Progress,
    /// Whether the last step took all that the reconciler had derived.
    is_drained: bool,
    reading: Reading,
    /// Which lives take part, by the records read so far.
    members: Membership,
    /// The end of what was read in this run of this hub's own records of members.
    members_end: Offset,
    held: Held,
    held_limit: u64,
    /// Commits with inventory that are not read yet. They share their bytes with the batches that
    /// were committed; as long as steps keep up with commits, this is empty.
    waiting: VecDeque<(CommitNumber, VecDeque<Arrived>)>,
    waiting_bytes: u64,
}

/// The commit that is being read.
#[derive(Debug, Default)]
struct Reading {
    batches: VecDeque<Arrived>,
    /// Records of the batch that is being read, with their place in it.
    records: VecDeque<(OffsetDelta, Record)>,
    /// The first of them, read ahead.
    ahead: VecDeque<Prepared>,
    stamped: Option<Stamped>,
    /// The record whose outputs are being taken.
    cause: Record,
    /// Records of the commit that were read.
    count: u64,
}

/// What a commit brings, in its order.
#[derive(Debug)]
enum Arrived {
    /// Inventory.
    Events(Stamped),
    /// Inventory that was held back and counts by now.
    Released(Stamped),
    /// A hole in the place of inventory that its sender lost. What it stands for is missing as soon
    /// as something comes behind it, and counts when somebody else brings it.
    StandIn,
    /// Records of who takes part, with the log that they were first written to and where in it, and
    /// where they end in the log of this hub's own.
    Members(Batch, Option<(Actor, Offset)>, Option<Offset>),
}

/// A batch of inventory as its ingest hub stamped it.
#[derive(Debug, Clone)]
struct Stamped {
    locality: Locality,
    stamp: Stamp,
    batch: Batch,
}

/// Derived records that go into one commit.
#[derive(Debug)]
#[must_use = "a step that is dropped is never derived again"]
pub struct Step {
    /// The batches, in order.
    pub batches: Vec<(TopicPartition, Batch)>,
    /// Bytes of their records.
    pub bytes: usize,
    /// How far this is, as the state holds it; it belongs in the same commit.
    pub progress: Bytes,
}

impl Inventory {
    /// The state that holds how far derived records were written.
    pub const OWNER: &'static str = "inventory";

    /// The key it is under.
    const KEY: &'static [u8] = b"written";

    /// Nothing reconciled yet.
    #[must_use]
    pub fn new(config: &HubConfig, seed: u64) -> Self {
        let region = config.region.clone();
        let restock_below = config.reconcile.restock_below;
        let topic = config.reconcile.topic.clone();
        let codec = config.reconcile.codec;
        let multi_value = config.reconcile.multi_value.clone();
        let config = Config { multi_value, ..Config::new(region, restock_below) };
        Self {
            reconciler: Reconciler::new(config.clone(), seed),
            config,
            seed,
            topic,
            codec,
            written: Progress::default(),
            overlaps: Rows::Current,
            next: Progress::default(),
            is_drained: true,
            reading: Reading::default(),
            members: Membership::new(),
            members_end: Offset::new(0),
            held: Held::default(),
            held_limit: HELD_BYTES,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Takes note of how far derived records were written before a restart.
    ///
    /// # Errors
    /// [`CodecError`] when the value is of no known version.
    pub fn restore(&mut self, value: Bytes) -> Result<(), CodecError> {
        (self.written, self.overlaps) = Rows::restore(value)?;
        Ok(())
    }

    /// Where the state holds how far derived records were written.
    #[must_use]
    pub fn place() -> (StateOwner, Bytes) {
        (crate::node::owner(Self::OWNER), Bytes::from_static(Self::KEY))
    }

    /// Takes note of a durable commit; its inventory is reconciled by [`Self::poll_step`].
    pub fn on_commit(
        &mut self,
        topics: &Topics,
        number: CommitNumber,
        entries: &[(TopicPartition, Entry)],
    ) {
        let arrived = |(partition, entry): &(TopicPartition, Entry)| {
            let topic = topics.get(&partition.topic)?;
            let batch = entry.batch.clone();
            if is_of_members(&topic.origin_name) {
                let own_end = topic.is_local().then(|| entry.end());
                let first = entry.stamp.as_ref().map(|of| (of.actor.clone(), of.offset));
                return Some(Arrived::Members(batch, first, own_end));
            }
            let is_inventory = topic.origin_name == self.topic;
            let stamp = entry.stamp.clone().filter(|_| is_inventory)?;
            if entry.is_stand_in() {
                return Some(Arrived::StandIn);
            }
            let locality = if topic.is_local() { Locality::Local } else { Locality::Remote };
            Some(Arrived::Events(Stamped { locality, stamp, batch }))
        };
        let batches: VecDeque<Arrived> = entries.iter().filter_map(arrived).collect();
        if !batches.is_empty() {
            let last = self.waiting.back().map_or(self.next.commit, |(last, _)| *last);
            debug_assert!(last < number, "commits come in their order");
            self.waiting_bytes += bytes_of(&batches);
            self.waiting.push_back((number, batches));
        }
    }

    /// Reconciles what waits, until a commit is through or as much is derived as one commit should
    /// take; `None` when nothing more waits. What was written before a restart is left out.
    ///
    /// Beyond the step, memory is bounded by what one record causes: a copy of each write of its
    /// key, at most.
    pub fn poll_step(&mut self, topics: &Topics, now: Now) -> Option<Step> {
        let mut derived = Derived::default();
        loop {
            while let Some(output) = self.reconciler.poll_output() {
                if self.overlaps.are_left_out(&output) {
                    continue;
                }
                let at = self.next;
                self.next.output += 1;
                if at < self.written {
                    continue;
                }
                derived.push(&output, &self.reading.cause, now.wall);
                if derived.bytes() >= STEP_BYTES_TARGET {
                    self.is_drained = false;
                    return Some(self.step(derived, self.next, topics));
                }
            }
            self.is_drained = true;
            if self.read_record(now) {
                continue;
            }
            if !derived.is_empty() {
                let through = Progress::at_start_of(self.next.commit.after(1));
                return Some(self.step(derived, through, topics));
            }
            if let Some(step) = self.catch_up(topics, now) {
                return Some(step);
            }
            let (number, batches) = self.waiting.pop_front()?;
            self.waiting_bytes -= bytes_of(&batches);
            self.next = Progress::at_start_of(number);
            self.reading = Reading { batches, ..Reading::default() };
        }
    }

    fn step(&mut self, derived: Derived, progress: Progress, topics: &Topics) -> Step {
        debug_assert!(self.written < progress, "derived records are written in their order");
        self.written = progress;
        let progress = progress.encode(self.overlaps.counted());
        Step { bytes: derived.bytes(), batches: derived.batches(topics, self.codec), progress }
    }

    /// Applies the next record of the commit being read; says whether there was one.
    fn read_record(&mut self, now: Now) -> bool {
        self.next = Progress { record: self.reading.count, output: 0, ..self.next };
        if self.reading.records.is_empty() && !self.open_batch() {
            return false;
        }
        if self.reading.ahead.is_empty() {
            let values = self.reading.records.iter().take(READ_AHEAD);
            let values = values.map(|(_, record)| record.value.as_ref().unwrap_or(&NO_VALUE));
            self.reading.ahead = self.reconciler.prepare(values).into();
        }
        let Some((stamped, delta, record, prepared)) = self.reading.next() else { return true };
        let value = record.value.clone().unwrap_or_default();
        let Stamped { locality, stamp, batch } = stamped;
        let (delta, verdict) = match Hole::of(batch) {
            // There is no event, and it was passed over when it was opened.
            Some(_) => (batch.last_delta(), Verdict::Forbidden),
            None => (delta, stamp.verdict(delta)),
        };
        let input = Input {
            actor: &stamp.actor,
            offset: stamp.offset.at(delta),
            hlc: stamp.hlc,
            context: &stamp.context,
            verdict,
            locality: *locality,
            captured_at: captured_at(&record).unwrap_or(now.wall),
            detected_at: now.wall,
            value: &value,
        };
        self.reconciler.on_prepared(input, &prepared);
        self.reconciler.poll_compaction(COMPACTED_EACH);
        self.reading.cause = record;
        true
    }

    /// Opens the next batch of the commit that is read; says whether there was one.
    fn open_batch(&mut self) -> bool {
        match self.reading.batches.pop_front() {
            None => return false,
            Some(Arrived::Events(stamped)) => {
                if let Some(stamped) = self.held.pass(&self.members, stamped) {
                    self.begin(&stamped);
                    self.reading.open(stamped);
                }
            }
            // Whatever of its log is still held stands behind it.
            Some(Arrived::Released(stamped)) => {
                self.begin(&stamped);
                self.reading.open(stamped);
            }
            // It has one record, which is no event.
            Some(Arrived::StandIn) => self.reading.count += 1,
            Some(Arrived::Members(batch, first, own_end)) => {
                let by = if own_end.is_some() { Locality::Local } else { Locality::Remote };
                self.read_members(&batch, first.as_ref(), by);
                self.members_end = own_end.unwrap_or(self.members_end);
            }
        }
        true
    }

    /// Takes note of what a batch passes over that comes next: it is missing until it comes.
    fn begin(&mut self, Stamped { stamp, batch, .. }: &Stamped) {
        let Stamp { actor, offset, .. } = stamp;
        if let Some(Gap { from, until }) = self.reconciler.begin(actor, *offset) {
            tracing::error!(
                %actor, %from, %until,
                "more gaps than are kept: what lies in this one counts as if it were here"
            );
        }
        if Hole::of(batch).is_some() {
            // An agent shed it: what stands behind it happened after all of it.
            self.reconciler.pass(actor, *offset, offset.after(batch.span()));
        }
    }

    /// Takes note of who takes part; what was held and counts by now is read next.
    ///
    /// What this hub says of itself that it has applied is where it forgets what nobody can ask for
    /// any more: so what is void because of that follows from the journal alone.
    fn read_members(&mut self, batch: &Batch, first: Option<&(Actor, Offset)>, by: Locality) {
        if Hole::of(batch).is_some() {
            // Later records of the same writer say what the ones that are gone said, but for those
            // of stocktakes that do not count: whoever else cannot judge one has said so too.
            return;
        }
        let mut is_void = false;
        for (delta, record) in batch.numbered_records().unwrap_or_default() {
            match MemberRecord::parse(record.value.as_deref().unwrap_or_default()) {
                Ok(MemberRecord::Change(signed)) => self.members.on_change(&signed.change),
                Ok(MemberRecord::Report(mut report)) => {
                    // What a later version says of more topics is not for this one.
                    let known = reported_topics();
                    let others = report.others.as_ref();
                    report.others = others.map(|said| said.of(|topic, _| known.contains(topic)));
                    if by == Locality::Local && self.has_all_of(&report) {
                        let MemberReport { stable, unstable, .. } = report.clone();
                        self.reconciler.begin_compaction(&Extent::new(stable, unstable));
                    }
                    let applied = self.reconciler.applied();
                    // Whoever hands it on, it stands in the log of the life that it is about.
                    match first.filter(|(actor, _)| Holder::of(actor) == report.life) {
                        Some((_, first)) => {
                            self.members.on_report_at(report, first.at(delta), &applied);
                        }
                        None => self.members.on_report(report, &applied),
                    }
                }
                Ok(MemberRecord::Void(void)) => {
                    self.reconciler.on_void(&void, by);
                    self.reading.cause = record;
                    is_void = true;
                }
                Err(error) => tracing::error!(%error, "a record of members does not count"),
            }
        }
        // What it derives is told from what the record behind it derives.
        self.reading.count += u64::from(is_void);
        let released = self.held.release(&self.members);
        released.into_iter().rev().for_each(|stamped| {
            self.reading.batches.push_front(Arrived::Released(stamped));
        });
    }

    /// Whether all is applied that was when this hub composed a report. After damage it may not be:
    /// a stocktake that counted could not be judged when it comes back, were anything forgotten.
    fn has_all_of(&self, report: &MemberReport) -> bool {
        let extent = self.reconciler.extent();
        let mut gaps = extent.gaps().iter();
        extent.ends().covers(&report.applied)
            && gaps.all(|(actor, gap)| report.missing.spans(actor, gap.from, gap.until))
    }

    /// Bytes of commits with inventory that are not read yet.
    #[must_use]
    pub const fn waiting_bytes(&self) -> ByteCount {
        ByteCount::new(self.waiting_bytes)
    }

    /// Whether a batch that ends at `end` of a log would be held back, and there is no room.
    #[must_use]
    pub fn lacks_room_for(&self, actor: &Actor, end: Offset) -> bool {
        self.held.bytes() >= self.held_limit && !self.members.accepts(actor, end)
    }

    /// Holds less back, so that a test reaches the limit.
    #[cfg(test)]
    pub(crate) const fn limit_held(&mut self, limit: ByteCount) {
        self.held_limit = limit.get();
    }

    /// This hub's own records of members are damaged: what only they say is said again.
    pub fn say_again(&mut self) {
        self.reconciler.say_again();
    }

    /// Which lives take part, by what was read so far.
    #[must_use]
    pub const fn members(&self) -> &Membership {
        &self.members
    }

    /// The end of what was read in this run of this hub's own records of members.
    #[must_use]
    pub const fn members_end(&self) -> Offset {
        self.members_end
    }

    /// Records that are held back since their life's log ends before them.
    #[must_use]
    pub fn held_records(&self) -> u64 {
        self.held.iter().map(|stamped| stamped.batch.span()).fold(0, u64::saturating_add)
    }

    /// The topic that is reconciled, and the units below which a shelf runs low.
    #[must_use]
    pub const fn configuration(&self) -> (&TopicName, i64) {
        (&self.topic, self.config.restock_below)
    }

    /// Whether every commit so far is reconciled whole and what it derived was taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_over() && self.is_drained
    }

    /// Appends what is held back to a snapshot. O(bytes held).
    pub fn write_held(&self, writer: &mut Writer) {
        debug_assert!(self.is_idle(), "what is being read is in no snapshot");
        self.held.write(writer);
    }

    /// Goes on behind commit `at` from the reconciler's snapshot there, and from who took part and
    /// what was held back, before anything is read.
    ///
    /// # Errors
    /// [`RestoreError`] when it is none; nothing changes.
    pub fn take_up(
        &mut self,
        at: CommitNumber,
        state: &[u8],
        (members, held): (Membership, Held),
    ) -> Result<(), RestoreError> {
        self.reconciler = Reconciler::restore(self.config.clone(), self.seed, state)?;
        (self.members, self.held) = (members, held);
        self.next = Progress::at_start_of(at);
        Ok(())
    }

    /// What is born here from now on happens after, when everything that was composed is read.
    #[must_use]
    pub fn past(&self) -> CausalPast {
        CausalPast::resume(self.reconciler.extent(), self.members.clone(), self.held.parts())
    }

    /// What is reconciled so far.
    #[must_use]
    pub const fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }
}

fn bytes_of(batches: &VecDeque<Arrived>) -> u64 {
    let length = |arrived: &Arrived| match arrived {
        Arrived::Events(stamped) | Arrived::Released(stamped) => stamped.bytes(),
        Arrived::Members(_, _, _) | Arrived::StandIn => 0,
    };
    batches.iter().map(length).fold(0, u64::saturating_add)
}

impl Stamped {
    fn bytes(&self) -> u64 {
        u64::try_from(self.batch.as_bytes().len()).unwrap_or(u64::MAX)
    }

    /// The offset after it in the log it is of.
    fn end(&self) -> Offset {
        self.stamp.offset.after(self.batch.span())
    }
}

impl Reading {
    fn is_over(&self) -> bool {
        self.batches.is_empty() && self.records.is_empty()
    }

    fn open(&mut self, stamped: Stamped) {
        // The records were decoded when the batch was stamped, here or at its ingest hub.
        let records = stamped.batch.numbered_records().unwrap_or_default();
        debug_assert_eq!(records.len(), stamped.batch.len(), "a stamped batch decodes");
        debug_assert!(self.ahead.is_empty(), "what was read ahead is of the batch before");
        self.records = records.into();
        self.stamped = Some(stamped);
    }

    /// The next record of the open batch, with that batch and its place there.
    fn next(&mut self) -> Option<(&Stamped, OffsetDelta, Record, Prepared)> {
        let (delta, record) = self.records.pop_front()?;
        let prepared = self.ahead.pop_front()?;
        self.count += 1;
        Some((self.stamped.as_ref()?, delta, record, prepared))
    }
}
