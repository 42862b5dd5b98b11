//! Where a mirrored partition stands in the log of its origin: exact translation of offsets.
//!
//! The stamp of every entry says at which offset its ingest hub wrote it. A mirror copies in order,
//! so that local offsets and those of the origin differ by one constant, which is 0 until a hub on
//! the way starts a new life and sends its log again from its beginning: then a new *run* begins
//! behind the old copy. A [`Checkpoint`] is the newest run; it holds all that the sender has, so it
//! translates every offset of the origin's present log, in both directions and without rounding.
//!
//! ```text
//!   local     0 ........ 90 │ 90 ............ 190        a run begins at local 90
//!   origin    0 ........ 90 │ 0 ....... 60 ── 100        which is the origin's 0
//!   life      1 ─────────── │ 1 ─────── 2 ──────         restored at 60: a fork
//! ```
//! At a *fork* the origin went on with another life: what former readers had read beyond it was
//! lost with that life, and other records stand there now. A life that was not met before is a fork
//! whatever its counter: a hub that lost its disk counts from 1 again, and one backup may be
//! restored twice.

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Incarnation, Offset, Stamp};

const VERSION: u8 = 2;

/// Lives that are remembered, the latest met: one that is forgotten and met again sets readers
/// back, who then read again and pass nothing over.
const LIVES_LIMIT: usize = 16;

/// The newest run of a mirrored partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The local offset that the run begins at.
    begins: Offset,
    /// The offset there in the log of the origin.
    origin: Offset,
    /// Lives of the origin that wrote any of the partition, in the order they were met.
    lives: Vec<Incarnation>,
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
        Self { begins: base, origin: stamp.offset, lives: vec![stamp.actor.incarnation] }
    }

    /// Takes note of the next entry of the partition, at local offset `base`.
    pub fn follow(&mut self, base: Offset, stamp: &Stamp) -> Followed {
        let Stamp { actor, offset, .. } = stamp;
        let continues = self.origin_of(base) == Some(*offset);
        if !continues {
            (self.begins, self.origin) = (base, *offset);
        }
        if !self.lives.contains(&actor.incarnation) {
            if self.lives.len() >= LIVES_LIMIT {
                self.lives.remove(0);
            }
            self.lives.push(actor.incarnation);
            return Followed::Fork(*offset);
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

    /// The local offset that the run begins at.
    #[must_use]
    pub const fn begins(&self) -> Offset {
        self.begins
    }

    /// The checkpoint as state: version, begin, origin, how many lives, each of them.
    #[must_use]
    pub fn encode(&self) -> bytes::Bytes {
        let Self { begins, origin, lives } = self;
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(begins.get());
        writer.u64(origin.get());
        writer.u8(u8::try_from(lives.len()).unwrap_or(u8::MAX));
        lives.iter().for_each(|life| writer.incarnation(*life));
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or the version is another one.
    pub fn decode(bytes: bytes::Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("checkpoint version")?;
        if version != VERSION {
            let (field, found) = ("checkpoint version", i64::from(version));
            return Err(CodecError::Value { field, at: 0, found, expected: "2" });
        }
        let begins = Offset::new(reader.u64("checkpoint begin")?);
        let origin = Offset::new(reader.u64("checkpoint origin")?);
        let count = reader.u8("checkpoint lives")?;
        let lives = (0..count).map(|_| reader.incarnation("checkpoint life"));
        let lives = lives.collect::<Result<_, _>>()?;
        reader.end()?;
        Ok(Self { begins, origin, lives })
    }
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

    proptest! {
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
