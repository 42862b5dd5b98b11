//! What damage took from logs beside inventory, asked of hubs that have it, and put back.
//!
//! A range of a log that is lost here is at the hub it was born at, and at those that copied it, at
//! other offsets perhaps. The stamp of the entry behind it tells of which life of its origin it is
//! and which offsets it had there: that is asked for, of the origin first, then of others, each in
//! turn. An entry that comes is taken when its stamp is of that life and of an offset that is lost
//! here; the log then compares it with what is left of it, where its checksum is, and puts it where
//! it was ([`headland_storage::Refill`]). All ranges are asked for before the log is given what
//! came, since a damaged file is written anew for it.
//!
//! What nobody has stays lost and is asked for again after ten minutes, or when a hub comes that
//! was not there. It is not asked for:
//! - at the end of a partition, until something follows: nothing says what it was, but of copies
//!   ([`lost_ends`]) and of what this hub wrote itself;
//! - where a copy began anew in the midst of it: nothing says where its origin had it;
//! - in topics that other hubs do not have, and of inventory, which comes back otherwise
//!   ([`super::lost`]).
//!
//! A range in which one life of the origin follows another comes back from where the later begins;
//! of what this hub wrote itself it is asked for by both, as its offsets are the same everywhere.
//! Of a compacted topic hubs have other bytes for the same offsets: who sends those is not named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    Actor, Alert, ByteCount, Entry, Hole, Incarnation, Monotonic, NodeRule, Now, Offset, RegionId,
    TopicPartition,
};
use headland_replication::frame::{Announce, REFILLS_TOPIC, RefillAsk, RefillPart};
use headland_storage::{MissingOffsets, ReadError, Refill, RefillRefused, Refilled};

use super::recovery::owner;
use super::{Node, Output};
use crate::peer_link::LinkId;
use crate::records::refills_topic;

/// What others lost.
mod answering;
/// What a lost range was where it was born, and who may have it.
mod asking;
/// What peers read of a log that lost some.
mod holding;
/// What was lost at the end of a copy.
mod lost_ends;

/// What no other hub has, asked of agents.
mod resent;

use answering::{Answering, Job};
use holding::Holding;
use resent::Resent;

/// How long a part of an answer may take: a link that carries other things first is slow.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// When what is still lost is asked for again, and how long the log may take to put back what came.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// How soon it is looked again whether something tells now what is lost at the end of a log.
const SOON: Duration = Duration::from_secs(2);

/// Snapshots behind the damaged file until which the log keeps what came in memory: it writes only
/// files anew that no start has to replay, and a start may go on from the older of two.
const SNAPSHOTS_BEHIND: u8 = 2;

/// Where it is written down when the log was last given what came, so that there is a commit for a
/// snapshot to be made behind: a hub that has nothing else to write would never put it back.
const KEY: Bytes = Bytes::from_static(b"refills");

/// Bytes that are gathered before the log is given them: half of what it lets wait.
const GATHERED_BYTES_MAX: usize = 8 << 20;

/// What is asked for, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Refills {
    /// Connections to hubs that read what is asked.
    readers: BTreeSet<LinkId>,
    pub(super) search: Option<Search>,
    /// What came and was not handed to the log yet.
    gathered: Vec<Refill>,
    pub(super) gathered_bytes: usize,
    /// Who gave what was gathered, and what was handed in and of which nothing was heard.
    givers: BTreeMap<(TopicPartition, Offset), RegionId>,
    /// Until when it is waited for the log.
    handed_until: Option<Monotonic>,
    /// What was asked for, as long as it is lost.
    tried: BTreeMap<MissingOffsets, Tried>,
    due_at: Option<Monotonic>,
    /// When a commit was written last for a snapshot to be made behind.
    wrote_at: Option<Monotonic>,
    /// Number of the last question.
    number: u64,
    /// What the log is read for.
    recalling: Option<Recall>,
    answering: Answering,
    /// What agents are asked for.
    pub(super) resent: Resent,
    holding: Holding,
}

/// What was tried for a range.
#[derive(Debug, Default)]
struct Tried {
    again_at: Monotonic,
    /// Whether all of it came the last time.
    is_found: bool,
    /// Regions whose hubs were asked and do not have it, or not all.
    not_at: BTreeSet<RegionId>,
    /// Regions whose hubs sent something else.
    wrong_at: BTreeSet<RegionId>,
}

/// What the log is read for.
#[derive(Debug)]
enum Recall {
    /// The entry behind the range that is sought.
    Behind,
    /// The one before it, of a copy after which others of the log follow.
    Before(Box<Asking>),
    /// The one before it, of a log of this hub, and the life that goes on behind.
    BeforeOwn { behind: Option<Incarnation> },
    /// The dots that a log holds.
    Survey,
    /// What another hub lost.
    Answer(Job),
    /// What came again in a log, whether it is there twice.
    Repeats(TopicPartition),
}

/// A range that is sought.
#[derive(Debug)]
pub(super) struct Search {
    lost: MissingOffsets,
    /// When the step takes too long.
    until: Monotonic,
    /// What is asked for; none while the entry behind the range is read.
    asking: Option<Asking>,
    not_at: BTreeSet<RegionId>,
}

/// A range of a log as others know it, and who is asked.
#[derive(Debug, Clone)]
struct Asking {
    actor: Actor,
    topic: headland_event::TopicName,
    /// Offset at the origin of the first that is lost.
    from: Offset,
    /// Offset there after the last one.
    until: Offset,
    /// Which life the rest may be of, once all were asked for that of the actor.
    next_life: Option<Incarnation>,
    /// From which offset of its own log on the hub that is asked sends it by itself.
    comes_from: Option<Offset>,
    /// Who is left to ask.
    hubs: VecDeque<(RegionId, LinkId)>,
    /// Who is being asked.
    hub: Option<(RegionId, LinkId)>,
    /// What was asked for last, and how far the answer has come.
    asked: Offset,
    next: Offset,
}

impl Search {
    fn new(now: Now, lost: MissingOffsets, asking: Option<Asking>) -> Self {
        let until = now.monotonic.after(ANSWER_WAIT);
        Self { lost, until, asking, not_at: BTreeSet::new() }
    }
}

impl Refills {
    /// Whether the log is read for nothing.
    pub(super) const fn is_read_free(&self) -> bool {
        self.recalling.is_none()
    }

    /// The log is read for what came again in a partition.
    pub(super) fn recall_repeats(&mut self, partition: TopicPartition) {
        debug_assert!(self.is_read_free(), "the log is read for one thing at a time");
        self.recalling = Some(Recall::Repeats(partition));
    }

    fn check_invariants(&self) {
        debug_assert!(self.handed_until.is_none(), "the log has one lot of refills at a time");
        let bytes = self.gathered.iter().map(|refill| refill.entry.batch.as_bytes().len());
        debug_assert_eq!(self.gathered_bytes, bytes.sum::<usize>(), "what is gathered is counted");
        debug_assert!(
            self.gathered.iter().all(|Refill { partition, entry }| {
                self.givers.contains_key(&(partition.clone(), entry.base))
            }),
            "who gave it is known of each"
        );
    }
}

impl Node {
    /// Tells a hub that this one reads what is asked and answered about lost ranges.
    pub(super) fn offer_refills(&mut self, link_id: LinkId) {
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        known.offer_word(self.identity.region(), refills_topic());
    }

    /// A hub reads what is asked about lost ranges; whether that is what it offers. There is
    /// nothing to take of it.
    pub(super) fn on_refills_offered(
        &mut self,
        now: Now,
        link_id: LinkId,
        announce: &Announce,
    ) -> bool {
        let Some(known) = self.peer_links.get_mut(&link_id) else { return false };
        if !known.take_word(announce, REFILLS_TOPIC) {
            return false;
        }
        if announce.offer.origin == *known.identity.region() {
            self.refills.readers.insert(link_id);
            self.refills.tried.values_mut().for_each(|tried| tried.again_at = now.monotonic);
            let has_lost = self.missing.offsets().next().is_some();
            self.refills.due_at = has_lost.then_some(now.monotonic);
        }
        true
    }

    /// A connection is over.
    pub(super) fn on_refills_down(&mut self, now: Now, link_id: LinkId) {
        self.refills.readers.remove(&link_id);
        self.refills.answering.forget(link_id);
        self.refills.holding.forget(link_id);
        let asked = self.refills.search.as_ref().and_then(|search| search.asking.as_ref());
        let is_asked = asked.and_then(|asking| asking.hub.as_ref());
        if is_asked.is_some_and(|(_, hub)| *hub == link_id) {
            self.ask_next_hub(now);
        }
    }

    /// More was found to be lost.
    pub(super) const fn on_more_lost(&mut self, now: Now) {
        self.refills.due_at = Some(now.monotonic);
    }

    /// When [`Self::look_after_refills`] wants to be called.
    pub(super) fn refills_at(&self) -> Option<Monotonic> {
        let held = self.refills.holding.wake_at();
        self.asked_of_hubs_at().into_iter().chain(self.resent_at()).chain(held).min()
    }

    fn asked_of_hubs_at(&self) -> Option<Monotonic> {
        let Refills { readers, search, handed_until, due_at, recalling, .. } = &self.refills;
        if readers.is_empty() || self.fullness.is_full() {
            return None;
        }
        let search = search.as_ref().map(|search| search.until);
        let handed = handed_until.map(|until| self.write_at().unwrap_or(until).min(until));
        search.or(handed).or_else(|| due_at.filter(|_| recalling.is_none()))
    }

    /// Goes on with what is lost, one range after the other.
    pub(super) fn look_after_refills(&mut self, now: Now) {
        self.look_after_resent(now);
        self.look_after_asked(now);
        self.release_reads(now);
    }

    fn look_after_asked(&mut self, now: Now) {
        if self.refills.readers.is_empty() || self.fullness.is_full() {
            return;
        }
        if let Some(search) = &self.refills.search {
            if search.until <= now.monotonic {
                self.ask_next_hub(now);
            }
            return;
        }
        if let Some(until) = self.refills.handed_until {
            // The log may wait until nothing of the file would have to be replayed.
            self.keeping.on_written();
            if now.monotonic < until {
                return self.write_for_snapshot(now);
            }
            self.snapshots.want(0);
            self.refills.handed_until = None;
            self.refills.givers.clear();
        }
        if self.refills.due_at.is_none_or(|due| now.monotonic < due) {
            return;
        }
        self.seek_next(now);
    }

    /// When a commit is wanted for a snapshot: no more than one in a while, where none is made.
    fn write_at(&self) -> Option<Monotonic> {
        let again_at = self.refills.wrote_at.map(|at| at.after(SOON)).unwrap_or_default();
        self.snapshots.wanted_at().map(|at| at.max(again_at))
    }

    /// Has a commit written when a snapshot is wanted, and nothing else is about to be.
    fn write_for_snapshot(&mut self, now: Now) {
        let is_due = self.write_at().is_some_and(|at| at <= now.monotonic);
        if is_due && self.in_flight.is_empty() && self.composer.pending_bytes() == 0 {
            self.refills.wrote_at = Some(now.monotonic);
            let value = now.wall.millis().to_be_bytes().to_vec();
            self.composer.set(owner("node"), KEY, Some(value.into()));
        }
    }

    /// Begins with the next range that was not asked for, or hands in what came.
    fn seek_next(&mut self, now: Now) {
        self.forget_let_go();
        self.settle_ends();
        let missing = &self.missing;
        self.refills.tried.retain(|lost, _| missing.offsets().any(|known| known == lost));
        let has_room = self.refills.gathered_bytes < GATHERED_BYTES_MAX;
        let next = self.missing.offsets().find(|lost| self.is_sought(lost, now)).cloned();
        let Some(lost) = next.filter(|_| has_room) else { return self.hand_in(now) };
        if self.refills.recalling.is_some() {
            return;
        }
        if let Some(of) = self.lost_of_copy(&lost) {
            self.refills.search = self.search_of_copy(now, lost, of);
            return self.ask_next_hub(now);
        }
        let (partition, from) = (lost.partition.clone(), lost.until);
        self.refills.search = Some(Search::new(now, lost, None));
        self.refills.recalling = Some(Recall::Behind);
        self.outputs.push_back(Output::Recall { partition, from, limit: ByteCount::new(1) });
    }

    /// What retention let go is not missed any more.
    fn forget_let_go(&mut self) {
        let start = |lost: &MissingOffsets| self.keeping.start(&lost.partition).min(lost.until);
        let is_gone =
            |lost: &&MissingOffsets| self.may_come_back(&lost.partition) && lost.from < start(lost);
        let gone = self.missing.offsets().filter(is_gone);
        let gone: Vec<(MissingOffsets, Offset)> =
            gone.map(|lost| (lost.clone(), start(lost))).collect();
        for (lost, start) in gone {
            self.missing.mend(&lost.partition, lost.from..start);
        }
    }

    /// Whether a range is to be asked for now.
    fn is_sought(&self, lost: &MissingOffsets, now: Now) -> bool {
        let tried = self.refills.tried.get(lost);
        let is_due = tried.is_none_or(|tried| tried.again_at <= now.monotonic);
        is_due && self.is_refilled(lost)
    }

    /// Whether others may have a range, and it is known what it was: something follows it here.
    fn is_refilled(&self, lost: &MissingOffsets) -> bool {
        let MissingOffsets { partition, until, .. } = lost;
        let end = self.durable.get(partition).copied().unwrap_or_default();
        let may_be_last = || self.is_own(partition) || self.lost_of_copy(lost).is_some();
        self.may_come_back(partition) && (*until < end || may_be_last())
    }

    /// The answer to [`Output::Recall`].
    pub fn on_recalled(&mut self, now: Now, found: Result<Vec<Entry>, ReadError>) {
        match self.refills.recalling.take() {
            Some(Recall::Behind) => self.on_behind(now, found),
            Some(Recall::Before(asking)) => self.on_before(now, *asking, found),
            Some(Recall::BeforeOwn { behind }) => self.on_before_own(now, found, behind),
            Some(Recall::Survey) => self.on_surveyed(now, found),
            Some(Recall::Answer(job)) => self.on_found_for(now, job, found),
            Some(Recall::Repeats(log)) => self.on_repeats(now, &log, found),
            None => {}
        }
        self.answer_on();
        if self.refills.search.is_none() {
            self.look_after_refills(now);
        }
        self.survey_on();
        self.look_for_repeats();
    }

    /// Asks the next hub for what the one before had not, or ends the search.
    fn ask_next_hub(&mut self, now: Now) {
        let Some(search) = &mut self.refills.search else { return };
        let came = came_of(&self.refills.gathered, &search.lost);
        let is_lacking = |asking: &&mut Asking| came < asking.until.since(asking.from);
        let Some(asking) = search.asking.as_mut().filter(is_lacking) else {
            return self.end_search(now);
        };
        asking.hub = None;
        let readers = &self.refills.readers;
        let mut hubs = std::iter::from_fn(|| asking.hubs.pop_front());
        let Some(hub) = hubs.find(|(_, link_id)| readers.contains(link_id)) else {
            return self.ask_for_next_life(now);
        };
        asking.hub = Some(hub);
        asking.next = asking.from;
        self.ask(now);
    }

    /// Asks all once more, for what another life wrote there.
    fn ask_for_next_life(&mut self, now: Now) {
        let Some(Search { lost, asking: Some(asking), .. }) = &self.refills.search else {
            return self.end_search(now);
        };
        let Some(life) = asking.next_life else { return self.end_search(now) };
        let hubs = self.hubs_to_ask(lost, &asking.actor.region);
        if let Some(Search { asking: Some(asking), .. }) = &mut self.refills.search {
            (asking.actor.incarnation, asking.next_life, asking.hubs) = (life, None, hubs);
        }
        self.ask_next_hub(now);
    }

    /// Asks the hub that is being asked for what is left.
    fn ask(&mut self, now: Now) {
        let Refills { search, number, .. } = &mut self.refills;
        let Some(search) = search else { return };
        let Some(asking) = &mut search.asking else { return };
        let Some((_, link_id)) = asking.hub else { return };
        *number += 1;
        asking.asked = asking.next;
        search.until = now.monotonic.after(ANSWER_WAIT);
        let ask = RefillAsk {
            number: *number,
            origin: asking.actor.region.clone(),
            topic: asking.topic.clone(),
            partition: asking.actor.partition,
            life: asking.actor.incarnation,
            from: asking.next,
            until: asking.until,
        };
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            known.link.ask_refill(ask);
        }
        self.drain(now, link_id);
    }

    /// All were asked for a range, or so much came that it is handed in before more is asked for.
    fn end_search(&mut self, now: Now) {
        let Some(Search { lost, not_at, asking, .. }) = self.refills.search.take() else { return };
        let is_through = self.refills.gathered_bytes < GATHERED_BYTES_MAX;
        if is_through && !not_at.is_empty() && asking.is_some() {
            let MissingOffsets { partition, from, until } = &lost;
            let regions = not_at.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ");
            tracing::warn!(%partition, %from, %until, regions, "not all of it is there either");
        }
        let came = came_of(&self.refills.gathered, &lost);
        let is_whole = asking.is_some_and(|asking| came >= asking.until.since(asking.from));
        let is_found = !is_through || is_whole;
        let tried = self.refills.tried.entry(lost).or_default();
        tried.is_found = is_found;
        (tried.again_at, tried.not_at) = (now.monotonic.after(AGAIN), not_at);
        self.refills.due_at = Some(now.monotonic);
        self.look_after_refills(now);
    }

    /// A part of an answer came.
    pub(super) fn on_refill_part(&mut self, now: Now, link_id: LinkId, part: RefillPart) {
        let RefillPart { number, entry } = part;
        let Refills { search, number: last, .. } = &mut self.refills;
        let Some(search) = search.as_mut().filter(|_| number == *last) else { return };
        let lost = search.lost.clone();
        let Some(asking) = &mut search.asking else { return };
        let Some((region, hub)) = asking.hub.clone() else { return };
        if hub != link_id {
            return;
        }
        let Some(entry) = entry else {
            // It says so much at once, and there may be more.
            if asking.asked < asking.next && asking.next < asking.until {
                return self.ask(now);
            }
            if asking.next < asking.until {
                search.not_at.insert(region);
            }
            return self.ask_next_hub(now);
        };
        // In the log of who is asked.
        let (begins, ends) = (entry.base, entry.end());
        if asking.comes_from.is_some_and(|from| from <= begins) {
            let goes_on = entry.stamp.map(|stamp| stamp.offset);
            return self.on_rest_comes(now, goes_on);
        }
        match taken(&lost, asking, entry) {
            Ok(refill) => {
                asking.next = asking.from.after(refill.entry.end().since(lost.from));
                search.until = now.monotonic.after(ANSWER_WAIT);
                let goes_on = (asking.comes_from == Some(ends)).then_some(asking.next);
                // What its agent has sent again is in the log already, at other offsets.
                if !self.refills.resent.has(&refill.partition, &refill.entry) {
                    self.gather(region, refill);
                }
                if goes_on.is_some() {
                    self.on_rest_comes(now, goes_on);
                } else if self.refills.gathered_bytes >= GATHERED_BYTES_MAX {
                    self.end_search(now);
                }
            }
            Err(why) => {
                search.not_at.insert(region.clone());
                self.on_wrong(now, &region, &lost, why);
                self.ask_next_hub(now);
            }
        }
    }

    fn gather(&mut self, region: RegionId, refill: Refill) {
        let place = (refill.partition.clone(), refill.entry.base);
        if self.refills.givers.contains_key(&place) {
            return;
        }
        self.refills.gathered_bytes += refill.entry.batch.as_bytes().len();
        self.refills.givers.insert(place, region);
        self.refills.gathered.push(refill);
        self.refills.check_invariants();
    }

    /// A hub sent what cannot be what was lost: it is named, and not asked for that again.
    fn on_wrong(&mut self, now: Now, region: &RegionId, lost: &MissingOffsets, why: &str) {
        let MissingOffsets { partition, from, until } = lost;
        tracing::error!(%region, %partition, %from, %until, why, "refused what a hub sent for it");
        self.refills.tried.entry(lost.clone()).or_default().wrong_at.insert(region.clone());
        let place = (format!("{}|{partition}", self.identity), from.to_string());
        let facts = [("region", region.to_string()), ("why", why.to_owned())];
        let alert = Alert::of_node(NodeRule::RefusedRefill, place, now.wall, facts);
        self.raise(&alert, now);
    }

    /// Gives the log what came.
    fn hand_in(&mut self, now: Now) {
        let again = self.missing.offsets().filter(|lost| self.may_come_back(&lost.partition));
        let soon = now.monotonic.after(SOON);
        let again = again.map(|lost| self.refills.tried.get(lost).map_or(soon, |of| of.again_at));
        self.refills.due_at = again.min();
        if self.refills.gathered.is_empty() {
            return;
        }
        self.refills.gathered_bytes = 0;
        self.refills.handed_until = Some(now.monotonic.after(AGAIN));
        self.snapshots.want(SNAPSHOTS_BEHIND);
        self.outputs.extend(self.refills.gathered.drain(..).map(Output::Refill));
        self.keeping.on_written();
    }

    /// What became of entries that were handed to the log.
    pub fn on_refilled(&mut self, now: Now, refilled: Vec<Refilled>) {
        for Refilled { partition, from, until, result } in refilled {
            let giver = self.refills.givers.remove(&(partition.clone(), from));
            let region = giver.as_ref().map_or("", RegionId::as_str);
            match (result, &giver) {
                (Ok(()) | Err(RefillRefused::Intact), _) => {
                    tracing::info!(%partition, %from, %until, region, "lost records are back");
                    self.missing.mend(&partition, from..until);
                    self.regain_end(&partition, from..until);
                    self.look_again_for_resent(now, &partition);
                }
                (Err(RefillRefused::Differs), Some(giver)) => {
                    let is_there = |lost: &&MissingOffsets| {
                        lost.partition == partition && lost.from <= from && until <= lost.until
                    };
                    let lost = self.missing.offsets().find(is_there).cloned();
                    let lost = lost.unwrap_or(MissingOffsets { partition, from, until });
                    if self.is_compacted(&lost.partition) {
                        // A copy that was compacted, or the other way round, has other bytes.
                        let tried = self.refills.tried.entry(lost).or_default();
                        tried.not_at.insert(giver.clone());
                        continue;
                    }
                    self.on_wrong(now, giver, &lost, "its checksum is not that of what is lost");
                    self.refills.tried.entry(lost).or_default().again_at = now.monotonic;
                }
                (Err(why), _) => {
                    tracing::warn!(%partition, %from, %until, %why, "not put back for now");
                }
            }
        }
        if self.refills.givers.is_empty() && self.refills.handed_until.take().is_some() {
            self.snapshots.want(0);
            self.refills.due_at = Some(now.monotonic);
        }
        self.release_reads(now);
    }

    fn is_compacted(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic);
        topic.is_some_and(|topic| self.keeping.compaction(topic).is_some())
    }

    /// Regions whose hubs were asked for a range and do not have all of it.
    pub(super) fn not_at(&self, lost: &MissingOffsets) -> Vec<RegionId> {
        let tried = self.refills.tried.get(lost);
        tried.into_iter().flat_map(|tried| tried.not_at.iter().cloned()).collect()
    }
}

/// How many records of a range came.
fn came_of(gathered: &[Refill], lost: &MissingOffsets) -> u64 {
    let is_of_it = |refill: &&Refill| {
        let Refill { partition, entry } = refill;
        *partition == lost.partition && lost.from <= entry.base && entry.end() <= lost.until
    };
    gathered.iter().filter(is_of_it).map(|refill| refill.entry.batch.span()).sum()
}

/// What an entry puts back of a range, at the offset that it had here.
fn taken(lost: &MissingOffsets, asking: &Asking, entry: Entry) -> Result<Refill, &'static str> {
    let Some(stamp) = &entry.stamp else { return Err("it has no stamp") };
    if stamp.actor != asking.actor {
        return Err("its stamp is of another log, or of another life");
    }
    let end = stamp.offset.after(entry.batch.span());
    if stamp.offset < asking.next || asking.until < end {
        return Err("its stamp is of other offsets");
    }
    if entry.is_stand_in() || Hole::of(&entry.batch).is_some() {
        return Err("it stands for records that are gone there");
    }
    if entry.batch.records().is_err() {
        return Err("its records cannot be read");
    }
    let base = lost.from.after(stamp.offset.since(asking.from));
    let entry = Entry { base, ..entry };
    Ok(Refill { partition: lost.partition.clone(), entry })
}
