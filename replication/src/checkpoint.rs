//! Where a mirrored partition stands in the log of its origin: exact translation of offsets.
//!
//! The stamp of every entry says at which offset its ingest hub wrote it. A mirror copies in order,
//! so that local offsets and those of the origin differ by one constant, which is 0 until a hub on
//! the way starts a new life and sends its log again from its beginning: then a new *run* begins
//! behind the old copy. The newest run holds all that the sender has, so it translates every offset
//! of the origin's present log, in both directions and without rounding.
//!
//! ```text
//!   local     0 ........ 90 │ 90 ............ 190        a run begins at local 90
//!   origin    0 ........ 90 │ 0 ....... 60 ── 100        which is the origin's 0
//!   life      1 ─────────── │ 1 ─────── 2 ──────         restored at 60: a fork
//!   part      1 ........... │ 2 ....... 3 ......         what one life wrote, and stands together
//! ```
//! What stands before the newest run is of former copies, and of lives that are over: a group may
//! not have read all of it. So a [`Checkpoint`] keeps the former *parts* too, and says what of them
//! somebody has not read who has read each life so far ([`ReadTo`]).
//!
//! At a *fork* the origin went on with another life: other records stand there now than former
//! readers had read beyond it. A life that was not met before is a fork
//! whatever its counter: a hub that lost its disk counts from 1 again, and one backup may be
//! restored twice.

mod parts;

use std::ops::Range;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Incarnation, Offset, Stamp};

pub use self::parts::{LostEnd, Unread};
use self::parts::{Part, Parts};
use crate::read_to::{LIVES_LIMIT, ReadTo};

const VERSION: u8 = 3;

/// Without former parts, as earlier versions wrote it.
const VERSION_OF_RUN: u8 = 2;

/// The newest run of a partition, and the parts that it has of lives of its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The local offset that the run begins at.
    begins: Offset,
    /// The offset there in the log of the origin.
    origin: Offset,
    /// Lives of the origin that wrote any of the partition, in the order they were met.
    lives: Vec<Incarnation>,
    parts: Parts,
}

/// What an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Nothing: it continues the run.
    On,
    /// A run begins with it.
    Run,
    /// A life of the origin that was not met before goes on from this offset of the origin's log.
    Fork(Offset),
}

impl Checkpoint {
    /// The run that begins with a partition's first entry, at `base`.
    #[must_use]
    pub fn new(base: Offset, stamp: &Stamp) -> Self {
        Self::of_life(base, stamp.offset, stamp.actor.incarnation)
    }

    /// A log that one life wrote, from an offset of it on that is here at `base`.
    #[must_use]
    pub fn of_life(base: Offset, origin: Offset, life: Incarnation) -> Self {
        let parts = Parts::new(Part { begins: base, origin, life });
        Self { begins: base, origin, lives: vec![life], parts }
    }

    /// Whether the next entry, at local offset `base`, changes nothing: the part goes on with it.
    #[must_use]
    pub fn is_next(&self, base: Offset, stamp: &Stamp) -> bool {
        let goes_on = self.origin_of(base) == Some(stamp.offset);
        goes_on && self.parts.last_life() == stamp.actor.incarnation
    }

    /// Takes note of the next entry of the partition, at local offset `base`.
    pub fn follow(&mut self, base: Offset, stamp: &Stamp) -> Followed {
        self.go_on(base, stamp.offset, stamp.actor.incarnation)
    }

    /// Damage took what is here from a local offset on, the end among it. The offsets behind it
    /// stay taken, far more than there were records: they are none of the origin's, so that who
    /// has read up to what follows has read the origin's log no further than it was here.
    pub fn lose_end(&mut self, from: Offset) {
        self.parts.lose_end(from);
    }

    /// What damage took with the end at a local offset and behind it; `None` where it took nothing,
    /// or all that stood before. O(parts).
    #[must_use]
    pub fn lost_at(&self, local: Offset) -> Option<LostEnd> {
        self.parts.lost_at(local)
    }

    /// Some of what damage took with the end is here again, at these local offsets. O(parts).
    pub fn regain(&mut self, local: Range<Offset>) {
        self.parts.regain(local);
    }

    /// Local offsets before `end` that stay taken behind damage and were no record's. O(parts²).
    #[must_use]
    pub fn unused(&self, end: Offset) -> Vec<Range<Offset>> {
        self.parts.unused(end)
    }

    /// Where the part ends that a local offset lies in, if damage took what stood behind it, and
    /// the end. O(parts).
    #[must_use]
    pub fn lost_behind(&self, local: Offset) -> Option<Offset> {
        self.parts.lost_behind(local)
    }

    /// Where the offsets begin that stay taken and were no record's, if nothing stands behind them.
    #[must_use]
    pub fn unused_end(&self) -> Option<Offset> {
        self.parts.unused_end()
    }

    /// What follows at `base` was written by a life, at an offset of the origin's log.
    pub fn go_on(&mut self, base: Offset, offset: Offset, life: Incarnation) -> Followed {
        let continues = self.origin_of(base) == Some(offset);
        if !continues {
            (self.begins, self.origin) = (base, offset);
        }
        if !(continues && self.parts.last_life() == life) {
            self.parts.push(Part { begins: base, origin: offset, life });
        }
        if !self.lives.contains(&life) {
            if self.lives.len() >= LIVES_LIMIT {
                self.lives.remove(0);
            }
            self.lives.push(life);
            return Followed::Fork(offset);
        }
        if continues { Followed::On } else { Followed::Run }
    }

    /// Where an offset of the origin's log is here, also of a record that has not arrived; the
    /// beginning of the run for what lies before it.
    #[must_use]
    pub const fn local_of(&self, origin: Offset) -> Offset {
        Offset::new(self.begins.get().saturating_add(origin.since(self.origin)))
    }

    /// Which offset of the origin's log a local one is; `None` in an earlier copy of the log.
    #[must_use]
    pub const fn origin_of(&self, local: Offset) -> Option<Offset> {
        match local.get().checked_sub(self.begins.get()) {
            Some(past) => Some(Offset::new(self.origin.get().saturating_add(past))),
            None => None,
        }
    }

    /// Whether a life of the origin wrote any of the partition, as far as is remembered.
    #[must_use]
    pub fn is_of(&self, life: Incarnation) -> bool {
        self.lives.contains(&life)
    }

    /// How many lives of the origin were met, as far as is remembered.
    #[must_use]
    pub const fn lives(&self) -> usize {
        self.lives.len()
    }

    /// The life that wrote the last part.
    #[must_use]
    pub const fn last_life(&self) -> Incarnation {
        self.parts.last_life()
    }

    /// The life that wrote what is at a local offset, and its offset in the log of the origin: of a
    /// record that has not arrived, as the last life goes on.
    #[must_use]
    pub fn place_at(&self, local: Offset) -> (Incarnation, Offset) {
        self.parts.place_at(local)
    }

    /// Whether what a life wrote of the origin's log from one offset to before another is here,
    /// before the local offset `end`. O(parts).
    #[must_use]
    pub fn holds(&self, life: Incarnation, (from, until): (Offset, Offset), end: Offset) -> bool {
        self.parts.hold(life, (from, until), end)
    }

    /// How far a life wrote the origin's log by what is here before the local offset `end`; 0 of
    /// one that wrote none of it. O(parts).
    #[must_use]
    pub fn end_of(&self, life: Incarnation, end: Offset) -> Offset {
        self.parts.end_of(life, end)
    }

    /// The local offset, `end` at most, before which all stands that other lives wrote than this
    /// one, each record once; `None` where they wrote nothing. O(parts).
    #[must_use]
    pub fn end_of_others(&self, life: Incarnation, end: Offset) -> Option<Offset> {
        let all_of_it = ReadTo::Lives([(life, Offset::new(u64::MAX))].into());
        self.parts.unread(&all_of_it, end).last().map(|range| range.until)
    }

    /// The local offset from which on it is known what is here.
    #[must_use]
    pub const fn begins(&self) -> Offset {
        self.parts.begins()
    }

    /// The local offset that the newest run begins at.
    #[must_use]
    pub const fn run_begins(&self) -> Offset {
        self.begins
    }

    /// What is here, before `end`, of what somebody has not read: local ranges in their order.
    #[must_use]
    pub fn unread(&self, read: &ReadTo, end: Offset) -> Vec<Unread> {
        self.parts.unread(&self.named(read), end)
    }

    /// Where somebody reads on who has read all that is here: at its end, or beyond it if that was
    /// read elsewhere.
    #[must_use]
    pub fn ahead(&self, read: &ReadTo, end: Offset) -> Offset {
        self.parts.ahead(&self.named(read), end)
    }

    /// What has been read by who has read all that is here before a local offset, and had read so
    /// far before. Of the part that it lies in that may be less than was known.
    #[must_use]
    pub fn read_to(&self, local: Offset, known: Option<&ReadTo>) -> ReadTo {
        let life = self.parts.at_or_before(local).life;
        let before = self.parts.before(local);
        let Some(known) = known else { return before };
        let mut elsewhere = self.named(known);
        elsewhere.retain(|of| of != life);
        let all = before.join(&elsewhere);
        if all.lives().count() <= LIVES_LIMIT {
            return all;
        }
        // What was read of lives that are not here gives way.
        elsewhere.retain(|of| self.parts.has(of));
        before.join(&elsewhere)
    }

    /// The same of who is set there, whatever was read before: what is here behind it is to be read
    /// again, and of lives that are not here it stays as it is.
    #[must_use]
    pub fn set_to(&self, local: Offset, known: Option<&ReadTo>) -> ReadTo {
        let before = self.parts.before(local);
        let Some(known) = known else { return before };
        let mut elsewhere = self.named(known);
        elsewhere.retain(|of| !self.parts.has(of));
        before.join(&elsewhere)
    }

    /// How far was read, by the lives that are here: who names none means the newest run.
    #[must_use]
    pub fn named(&self, read: &ReadTo) -> ReadTo {
        match read {
            ReadTo::Unnamed(offset) => self.parts.before(self.local_of(*offset)),
            ReadTo::Lives(_) => read.clone(),
        }
    }

    /// The checkpoint as state: version, begin, origin, how many lives, each of them, how many
    /// parts, of each its begin, the origin's offset there, and the life. Without the parts, as
    /// earlier versions read it, while one life wrote all.
    #[must_use]
    pub fn encode(&self) -> bytes::Bytes {
        let Self { begins, origin, lives, parts } = self;
        let is_plain = *parts == newest_run(*begins, *origin, lives);
        let mut writer = Writer::new();
        writer.u8(if is_plain { VERSION_OF_RUN } else { VERSION });
        writer.u64(begins.get());
        writer.u64(origin.get());
        writer.u8(u8::try_from(lives.len()).unwrap_or(u8::MAX));
        lives.iter().for_each(|life| writer.incarnation(*life));
        if !is_plain {
            parts.encode(&mut writer);
        }
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or the version is another one.
    pub fn decode(bytes: bytes::Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("checkpoint version")?;
        if version != VERSION && version != VERSION_OF_RUN {
            let (field, found) = ("checkpoint version", i64::from(version));
            return Err(CodecError::Value { field, at: 0, found, expected: "2 or 3" });
        }
        let begins = Offset::new(reader.u64("checkpoint begin")?);
        let origin = Offset::new(reader.u64("checkpoint origin")?);
        let count = reader.u8("checkpoint lives")?;
        let lives = (0..count).map(|_| reader.incarnation("checkpoint life"));
        let lives = lives.collect::<Result<Vec<_>, _>>()?;
        let parts = if version == VERSION {
            Parts::decode(&mut reader)?
        } else {
            newest_run(begins, origin, &lives)
        };
        reader.end()?;
        Ok(Self { begins, origin, lives, parts })
    }
}

/// The newest run as one part: of whom it is was not always said, and the last life that was met
/// has all of it.
fn newest_run(begins: Offset, origin: Offset, lives: &[Incarnation]) -> Parts {
    let life = lives.last().copied().unwrap_or(Incarnation::new(0, 0));
    Parts::new(Part { begins, origin, life })
}

#[cfg(test)]
mod tests {
    use headland_event::{Actor, EventTime, Extent, Hlc, PartitionIndex, RegionId};
    use proptest::prelude::*;

    use super::*;

    fn stamp(life: u32, offset: u64) -> Stamp {
        Stamp {
            actor: Actor {
                region: RegionId::new("eu").unwrap(),
                incarnation: Incarnation::new(life, 7),
                partition: PartitionIndex::new(0),
            },
            offset: Offset::new(offset),
            hlc: Hlc::new(EventTime::default(), 0),
            context: Extent::default(),
            verdicts: Vec::new(),
        }
    }

    fn followed(entries: &[(u64, u32, u64)]) -> (Checkpoint, Vec<Followed>) {
        let (base, life, offset) = entries[0];
        let mut checkpoint = Checkpoint::new(Offset::new(base), &stamp(life, offset));
        let rest = entries[1..].iter();
        let changes = rest.map(|(base, life, offset)| {
            checkpoint.follow(Offset::new(*base), &stamp(*life, *offset))
        });
        let changes = changes.collect();
        (checkpoint, changes)
    }

    #[test]
    fn offsets_of_a_mirror_are_those_of_its_origin() {
        let (checkpoint, changes) = followed(&[(0, 1, 0), (10, 1, 10), (11, 1, 11)]);

        assert_eq!(changes, [Followed::On, Followed::On]);
        assert_eq!(checkpoint.local_of(Offset::new(1_000)), Offset::new(1_000));
        assert_eq!(checkpoint.origin_of(Offset::new(1_000)), Some(Offset::new(1_000)));
    }

    #[test]
    fn a_log_that_is_sent_again_is_translated_into_its_new_copy() {
        let (checkpoint, changes) = followed(&[(0, 1, 0), (90, 1, 0), (150, 2, 60)]);

        assert_eq!(changes, [Followed::Run, Followed::Fork(Offset::new(60))]);
        assert_eq!(checkpoint.local_of(Offset::new(61)), Offset::new(151));
        assert_eq!(checkpoint.origin_of(Offset::new(151)), Some(Offset::new(61)));
        assert_eq!(checkpoint.origin_of(Offset::new(89)), None);
    }

    #[test]
    fn a_life_that_was_known_before_is_no_fork_when_its_records_come_again() {
        let (_, changes) = followed(&[(0, 1, 0), (60, 2, 60), (90, 1, 0), (150, 2, 60)]);

        let [second, again, same] = changes[..] else { panic!("{changes:?}") };
        assert_eq!(second, Followed::Fork(Offset::new(60)));
        assert_eq!((again, same), (Followed::Run, Followed::On));
    }

    #[test]
    fn a_life_that_was_not_met_is_a_fork_whatever_its_counter() {
        let another = |mut stamp: Stamp| {
            stamp.actor.incarnation = Incarnation::new(1, 3);
            stamp
        };
        let mut checkpoint = Checkpoint::new(Offset::new(0), &stamp(3, 0));

        let restored = checkpoint.follow(Offset::new(50), &stamp(2, 20));
        let without_disk = checkpoint.follow(Offset::new(80), &another(stamp(1, 0)));
        let same = checkpoint.follow(Offset::new(81), &another(stamp(1, 1)));

        assert_eq!(restored, Followed::Fork(Offset::new(20)));
        assert_eq!((without_disk, same), (Followed::Fork(Offset::new(0)), Followed::On));
    }

    fn unread(checkpoint: &Checkpoint, read: &ReadTo, end: u64) -> Vec<(u64, u64)> {
        let ranges = checkpoint.unread(read, Offset::new(end)).into_iter();
        ranges.map(|range| (range.from.get(), range.until.get())).collect()
    }

    /// So far of each of these lives.
    fn read(lives: &[(u32, u64)]) -> ReadTo {
        let of = |(life, offset): &(u32, u64)| (Incarnation::new(*life, 7), Offset::new(*offset));
        ReadTo::Lives(lives.iter().map(of).collect())
    }

    #[test]
    fn what_was_not_read_of_a_former_life_comes_first_and_then_the_next_one() {
        let (lost_disk, _) = followed(&[(0, 1, 0), (100, 2, 0)]);

        assert_eq!(unread(&lost_disk, &read(&[(1, 50)]), 120), [(50, 120)]);
        assert_eq!(unread(&lost_disk, &read(&[(1, 100)]), 120), [(100, 120)]);
        assert_eq!(unread(&lost_disk, &read(&[(1, 130), (2, 20)]), 120), []);
        assert_eq!(unread(&lost_disk, &read(&[(1, 50), (2, 5)]), 120), [(50, 100), (105, 120)]);
        assert_eq!(unread(&lost_disk, &ReadTo::Unnamed(Offset::new(5)), 120), [(105, 120)]);
    }

    #[test]
    fn what_stands_in_two_parts_is_read_in_one_of_them() {
        let (restored, _) = followed(&[(0, 1, 0), (90, 1, 0), (150, 2, 60)]);

        assert_eq!(unread(&restored, &read(&[(1, 50)]), 190), [(50, 90), (150, 190)]);
        assert_eq!(unread(&restored, &read(&[(1, 90)]), 190), [(150, 190)]);
        assert_eq!(restored.ahead(&read(&[(1, 90), (2, 105)]), Offset::new(190)).get(), 195);
    }

    #[test]
    fn what_is_here_of_a_life_is_told_from_what_is_not_and_from_what_others_wrote() {
        let (copy, _) = followed(&[(0, 1, 40), (60, 1, 0), (90, 2, 0)]);
        let (life, next) = (Incarnation::new(1, 7), Incarnation::new(2, 7));
        let of = |from: u64, until: u64| (Offset::new(from), Offset::new(until));
        let holds = |from, until| copy.holds(life, of(from, until), Offset::new(120));

        assert_eq!([holds(40, 100), holds(0, 30), holds(29, 30)], [true, true, true]);
        assert_eq!([holds(30, 31), holds(99, 101), holds(39, 41)], [false, false, false]);
        let ends = [life, next, Incarnation::new(3, 7)].map(|of| copy.end_of(of, Offset::new(95)));
        assert_eq!(ends.map(Offset::get), [100, 5, 0]);
        let others = |life, end| copy.end_of_others(life, Offset::new(end)).map(Offset::get);
        assert_eq!((others(next, 120), others(next, 50)), (Some(60), Some(50)), "once each");
        assert_eq!((others(life, 90), others(life, 120)), (None, Some(120)));
    }

    #[test]
    fn who_has_read_up_to_an_offset_has_read_all_parts_before_it() {
        let (checkpoint, _) = followed(&[(0, 1, 0), (90, 1, 0), (150, 2, 60)]);
        let read_to = |local, known: &ReadTo| checkpoint.read_to(Offset::new(local), Some(known));

        assert_eq!(checkpoint.read_to(Offset::new(30), None), read(&[(1, 30)]));
        assert_eq!(checkpoint.read_to(Offset::new(170), None), read(&[(1, 90), (2, 80)]));
        let ahead = read(&[(1, 95), (2, 60), (3, 4)]);
        assert_eq!(read_to(170, &ahead), read(&[(1, 95), (2, 80), (3, 4)]));
        assert_eq!(read_to(80, &ahead), read(&[(1, 80), (2, 60), (3, 4)]), "that goes back");
        let set = checkpoint.set_to(Offset::new(80), Some(&ahead));
        assert_eq!(set, read(&[(1, 80), (3, 4)]), "what is behind is read again");
        assert_eq!(checkpoint.place_at(Offset::new(170)).1, Offset::new(80));
    }

    #[test]
    fn offsets_that_stay_taken_behind_damage_are_none_that_the_origin_gives() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0)]);

        checkpoint.lose_end(Offset::new(60));
        let followed = checkpoint.follow(Offset::new(10_060), &stamp(1, 65));

        assert_eq!(followed, Followed::Run);
        let here = |read_to: u64| unread(&checkpoint, &read(&[(1, read_to)]), 10_070);
        assert_eq!(here(40), [(40, 10_070)], "who comes to the damage is told of it");
        assert_eq!([here(60), here(65)], [[(10_060, 10_070)]; 2]);
        assert_eq!(here(70), [(10_065, 10_070)]);
        let to = |local| checkpoint.read_to(Offset::new(local), None);
        assert_eq!([to(60), to(5_000), to(10_060)], [(); 3].map(|()| read(&[(1, 60)])));
        assert_eq!(to(10_061), read(&[(1, 66)]));
        assert_eq!(checkpoint.place_at(Offset::new(10_060)).1, Offset::new(65));
        assert_eq!(Checkpoint::decode(checkpoint.encode()), Ok(checkpoint));
    }

    #[test]
    fn what_is_lost_of_all_a_copy_had_leaves_nothing_that_was_read() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0), (50, 2, 0)]);

        checkpoint.lose_end(Offset::new(0));
        checkpoint.follow(Offset::new(10_000), &stamp(2, 20));

        assert_eq!(checkpoint.read_to(Offset::new(10_001), None), read(&[(2, 21)]));
        assert_eq!(unread(&checkpoint, &read(&[(1, 9)]), 10_005), [(10_000, 10_005)]);
    }

    /// What is lost at a local offset, as offsets of the origin.
    fn lost(checkpoint: &Checkpoint, local: u64) -> Option<(u64, Option<u64>)> {
        let lost = checkpoint.lost_at(Offset::new(local))?;
        Some((lost.from.get(), lost.until.map(Offset::get)))
    }

    fn unused(checkpoint: &Checkpoint, end: u64) -> Vec<(u64, u64)> {
        let unused = checkpoint.unused(Offset::new(end)).into_iter();
        unused.map(|range| (range.start.get(), range.end.get())).collect()
    }

    #[test]
    fn what_follows_a_lost_end_says_how_much_of_it_was_records() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0)]);

        checkpoint.lose_end(Offset::new(60));
        checkpoint.follow(Offset::new(10_060), &stamp(1, 65));

        assert_eq!(
            [59, 60, 62].map(|local| lost(&checkpoint, local)),
            [None, Some((60, Some(65))), Some((62, Some(65)))]
        );
        assert_eq!(lost(&checkpoint, 10_060), None);
        assert_eq!(unused(&checkpoint, 10_070), [(65, 10_060)]);
        assert_eq!(checkpoint.lost_behind(Offset::new(7)), Some(Offset::new(60)));
        assert_eq!(checkpoint.unused_end(), None);
    }

    #[test]
    fn what_came_back_of_a_lost_end_is_read_by_who_had_not_come_further() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0)]);
        checkpoint.lose_end(Offset::new(60));
        checkpoint.follow(Offset::new(10_060), &stamp(1, 65));

        checkpoint.regain(Offset::new(60)..Offset::new(63));
        let part = (lost(&checkpoint, 63), unused(&checkpoint, 10_070));
        checkpoint.regain(Offset::new(63)..Offset::new(65));

        assert_eq!(part, (Some((63, Some(65))), vec![(65, 10_060)]));
        assert_eq!(unused(&checkpoint, 10_070), [(65, 10_060)], "and nothing is lost");
        let here = |read_to: u64| unread(&checkpoint, &read(&[(1, read_to)]), 10_070);
        assert_eq!(here(60), [(60, 65), (10_060, 10_070)]);
        assert_eq!(here(66), [(10_061, 10_070)]);
        assert_eq!(Checkpoint::decode(checkpoint.encode()), Ok(checkpoint));
    }

    #[test]
    fn a_lost_end_that_was_all_records_leaves_nothing_when_it_is_back() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0)]);
        checkpoint.lose_end(Offset::new(60));
        checkpoint.follow(Offset::new(65), &stamp(1, 65));
        assert_eq!(unused(&checkpoint, 70), []);

        checkpoint.regain(Offset::new(60)..Offset::new(65));

        assert_eq!(unread(&checkpoint, &read(&[(1, 60)]), 70), [(60, 70)]);
        assert_eq!(lost(&checkpoint, 60), None);
    }

    #[test]
    fn an_end_behind_which_nothing_stands_is_no_records() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0)]);

        checkpoint.lose_end(Offset::new(65));

        assert_eq!(unused(&checkpoint, 10_060), [(65, 10_060)]);
        assert_eq!(checkpoint.unused_end(), Some(Offset::new(65)));
        assert_eq!(unread(&checkpoint, &read(&[(1, 60)]), 10_060), [(60, 65)]);
        assert_eq!(checkpoint.place_at(Offset::new(10_060)).1, Offset::new(65));
        assert_eq!(checkpoint.ahead(&read(&[(1, 65)]), Offset::new(10_060)).get(), 10_060);
        checkpoint.follow(Offset::new(10_060), &stamp(1, 65));
        assert_eq!(unread(&checkpoint, &read(&[(1, 64)]), 10_070), [(64, 65), (10_060, 10_070)]);
    }

    #[test]
    fn where_another_life_follows_a_lost_end_nothing_says_how_much_was_lost() {
        let (mut checkpoint, _) = followed(&[(0, 1, 0)]);

        checkpoint.lose_end(Offset::new(60));
        checkpoint.follow(Offset::new(10_060), &stamp(2, 0));

        assert_eq!(lost(&checkpoint, 60), Some((60, None)));
        assert_eq!(unused(&checkpoint, 10_070), []);
    }

    #[test]
    fn a_checkpoint_of_an_earlier_version_knows_the_newest_run() {
        let mut writer = Writer::new();
        writer.u8(VERSION_OF_RUN);
        writer.u64(100);
        writer.u64(0);
        writer.u8(2);
        [1, 2].iter().for_each(|life| writer.incarnation(Incarnation::new(*life, 7)));

        let checkpoint = Checkpoint::decode(writer.finish()).unwrap();

        assert_eq!(checkpoint.begins(), Offset::new(100));
        assert!(checkpoint.is_of(Incarnation::new(1, 7)));
        assert_eq!(unread(&checkpoint, &ReadTo::Unnamed(Offset::new(5)), 120), [(105, 120)]);
        assert_eq!(unread(&checkpoint, &read(&[(2, 7)]), 120), [(107, 120)]);
    }

    #[test]
    fn what_one_life_wrote_is_kept_as_earlier_versions_read_it() {
        let (one, _) = followed(&[(0, 1, 0), (10, 1, 10)]);
        let (two, _) = followed(&[(0, 1, 0), (10, 2, 10)]);

        assert_eq!([one.encode()[0], two.encode()[0]], [VERSION_OF_RUN, VERSION]);
        assert_eq!([&one, &two].map(|of| Checkpoint::decode(of.encode())), [Ok(one), Ok(two)]);
    }

    #[test]
    fn of_more_lives_than_are_named_those_give_way_that_are_not_here() {
        let entries: Vec<_> = (1..20).map(|life| (u64::from(life) * 10, life, 0)).collect();
        let (checkpoint, _) = followed(&entries);
        let known: Vec<_> = (100..110).map(|life| (life, 5)).collect();

        let all = checkpoint.read_to(Offset::new(195), Some(&read(&known)));

        let here: Vec<_> = (4..20).map(|life| (life, if life == 19 { 5 } else { 10 })).collect();
        assert_eq!(all, read(&here));
    }

    #[test]
    fn more_parts_than_are_remembered_forget_the_oldest() {
        let mut checkpoint = Checkpoint::new(Offset::new(0), &stamp(1, 0));
        for again in 1..300 {
            checkpoint.follow(Offset::new(again * 10), &stamp(1, 0));
        }

        assert_eq!(checkpoint.begins(), Offset::new((300 - 256) * 10));
        assert_eq!(Checkpoint::decode(checkpoint.encode()), Ok(checkpoint));
    }

    proptest! {
        #[test]
        fn who_reads_and_commits_range_after_range_reads_each_record_once(
            parts in prop::collection::vec((1_u32..4, 0_u64..30, 1_u64..20), 1..8),
            page in 1_u64..15,
        ) {
            let mut checkpoint: Option<Checkpoint> = None;
            let mut all = std::collections::BTreeMap::new();
            let mut written = std::collections::BTreeMap::<u32, u64>::new();
            let mut end = 0;
            for (life, again, count) in parts {
                // A life's log comes on, or once more from somewhere.
                let known = written.entry(life).or_default();
                let origin = (*known).min(again);
                let entry = stamp(life, origin);
                match &mut checkpoint {
                    None => checkpoint = Some(Checkpoint::new(Offset::new(end), &entry)),
                    Some(checkpoint) => drop(checkpoint.follow(Offset::new(end), &entry)),
                }
                for at in 0..count {
                    all.insert(end + at, (life, origin + at));
                }
                end += count;
                *known = (*known).max(origin + count);
            }
            let checkpoint = checkpoint.unwrap();
            let (mut known, mut seen) = (None::<ReadTo>, Vec::new());
            for _ in 0..all.len() + 10 {
                let none = read(&[]);
                let ranges = checkpoint.unread(known.as_ref().unwrap_or(&none), Offset::new(end));
                let Some(range) = ranges.first() else { break };
                let until = range.until.get().min(range.from.get() + page);
                seen.extend((range.from.get()..until).map(|at| all[&at]));
                let next = checkpoint.read_to(Offset::new(until), known.as_ref());
                known = Some(known.map_or_else(|| next.clone(), |known| known.join(&next)));
            }

            let mut expected: Vec<_> = all.values().copied().collect();
            expected.sort_unstable();
            expected.dedup();
            seen.sort_unstable();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn translation_is_exact_and_monotonic_in_both_directions(
            begins in 0_u64..1 << 40, origin in 0_u64..1 << 40, past in 0_u64..1 << 40,
        ) {
            let checkpoint = Checkpoint::new(Offset::new(begins), &stamp(1, origin));

            let there = checkpoint.local_of(Offset::new(origin + past));

            prop_assert_eq!(checkpoint.origin_of(there), Some(Offset::new(origin + past)));
            prop_assert!(checkpoint.local_of(Offset::new(origin + past + 1)) > there);
        }

        #[test]
        fn decode_of_encode_is_the_same_checkpoint(
            begins: u64, origin: u64, lives in prop::collection::vec(any::<u32>(), 1..40),
        ) {
            let mut checkpoint = Checkpoint::new(Offset::new(begins), &stamp(lives[0], origin));
            for life in lives {
                checkpoint.follow(Offset::new(begins), &stamp(life, origin));
            }

            prop_assert_eq!(Checkpoint::decode(checkpoint.encode()), Ok(checkpoint));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            drop(Checkpoint::decode(bytes.into()));
        }
    }
}
