//! What the ingest hub says about a batch, and the entry a log keeps.
//!
//! ```text
//! stamp v1:  1 version u8 │ actor { region, incarnation, partition } │ offset u64
//!            │ hlc { wall i64, logical u32 } │ verdicts u32 × { delta u32, verdict u8 }
//!            │ context (a vector clock)
//! stamp v2:  as v1 with version 2, and at the end: gaps u32 × { entry u32, from u64, until u64 }
//! ```
//! Version 2 is written only where something below the ends of the clock was not seen. A gap names
//! its log by the number of that log's entry in the clock; gaps stand by rising entry and offset,
//! none touches another, and each lies below the end of its entry: so one context has one encoding.
//!
//! Dot and stamp travel beside the batch, in the journal's entry and in the link's frame, never
//! inside the records; mirrors copy both unchanged.

use crate::batch::Batch;
use crate::clock::{Actor, VectorClock};
use crate::codec::{CodecError, Reader, Writer};
use crate::extent::{Extent, Gap, Gaps};
use crate::hlc::Hlc;
use crate::hole::{DropPolicy, Hole};
use crate::id::{Dot, Offset, OffsetDelta, PartitionIndex, Sequence};
use crate::limits::{BATCH_RECORDS_LIMIT, SEEN_GAPS_LIMIT};
use crate::progress::Verdict;
use crate::time::EventTime;

/// The version of a stamp whose hub had seen all below the ends of its clock.
const STAMP_VERSION: u8 = 1;

/// The version that names what it had not seen.
const STAMP_VERSION_GAPS: u8 = 2;

/// A verdict on one record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictAt {
    /// Where the record stands in its batch; it keeps its verdict when others are compacted away.
    pub delta: OffsetDelta,
    /// What was decided about it.
    pub verdict: Verdict,
}

/// What the ingest hub decided about a batch, once, when it wrote it to its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The log the batch was first written to at a hub.
    pub actor: Actor,
    /// Offset of the batch's first record in that log.
    pub offset: Offset,
    /// The hub's clock when it did so.
    pub hlc: Hlc,
    /// What the hub's journal held before, and what of it was missing there: the causal past of
    /// the batch. Empty where the topic is not reconciled.
    pub context: Extent,
    /// Records that were late, future or forbidden, by rising delta; all others are on time.
    pub verdicts: Vec<VerdictAt>,
}

impl Stamp {
    /// The highest version of stamps that is read.
    pub const VERSION_READ: u8 = STAMP_VERSION_GAPS;

    /// The verdict on the record at `delta` in the batch.
    #[must_use]
    pub fn verdict(&self, delta: OffsetDelta) -> Verdict {
        self.verdicts
            .binary_search_by_key(&delta, |at| at.delta)
            .ok()
            .and_then(|found| self.verdicts.get(found))
            .map_or(Verdict::OnTime, |at| at.verdict)
    }

    /// Appends the stamp in the layout above.
    ///
    /// # Panics
    /// When its context has more actors than a clock may have, or more gaps than a stamp may:
    /// nobody could read it back. [`Extent::seen_by`] keeps to both.
    pub fn write(&self, writer: &mut Writer) {
        let Self { actor, offset, hlc, context, verdicts } = self;
        debug_assert_eq!(check_order(0, verdicts), Ok(()), "verdicts stand by rising delta");
        let has_gaps = !context.gaps().is_empty();
        writer.u8(if has_gaps { STAMP_VERSION_GAPS } else { STAMP_VERSION });
        writer.name(actor.region.as_str());
        writer.incarnation(actor.incarnation);
        writer.u32(actor.partition.get());
        writer.u64(offset.get());
        writer.i64(hlc.wall().millis());
        writer.u32(hlc.logical());
        writer.length(verdicts.len());
        for VerdictAt { delta, verdict } in verdicts {
            writer.u32(delta.get());
            writer.u8(verdict.code());
        }
        context.ends().write(writer);
        if has_gaps {
            write_gaps(context, writer);
        }
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or a field is outside its range.
    pub fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        let version = reader.u8("stamp version")?;
        if version != STAMP_VERSION && version != STAMP_VERSION_GAPS {
            let (field, found, expected) = ("stamp version", i64::from(version), "1 or 2");
            return Err(CodecError::Value { field, at, found, expected });
        }
        let actor = Actor {
            region: reader.name("stamp region")?,
            incarnation: reader.incarnation("stamp incarnation")?,
            partition: PartitionIndex::new(reader.u32("stamp partition")?),
        };
        let offset = Offset::new(reader.u64("stamp offset")?);
        let wall = EventTime::from_millis(reader.i64("stamp wall clock")?);
        let hlc = Hlc::new(wall, reader.u32("stamp logical clock")?);
        let count = reader.length("verdicts", BATCH_RECORDS_LIMIT)?;
        let at = reader.position();
        let verdicts = (0..count).map(|_| read_verdict(reader)).collect::<Result<Vec<_>, _>>()?;
        check_order(at, &verdicts)?;
        let ends = VectorClock::read(reader)?;
        let has_gaps = version == STAMP_VERSION_GAPS;
        let gaps = if has_gaps { read_gaps(reader, &ends)? } else { Gaps::new() };
        let context = Extent::new(ends, gaps);
        Ok(Self { actor, offset, hlc, context, verdicts })
    }
}

/// Appends the gaps of a context. O(actors + gaps).
fn write_gaps(context: &Extent, writer: &mut Writer) {
    let named = |(entry, actor): (u32, &Actor)| {
        context.gaps().of(actor).iter().map(move |gap| (entry, *gap)).collect::<Vec<_>>()
    };
    let entries = (0..).zip(context.ends().iter().map(|(actor, _)| actor));
    let gaps: Vec<(u32, Gap)> = entries.flat_map(named).collect();
    assert_eq!(gaps.len(), context.gaps().len(), "a gap of a log that the clock does not name");
    assert!(gaps.len() <= SEEN_GAPS_LIMIT, "a stamp of more gaps than a reader takes is written");
    writer.length(gaps.len());
    for (entry, Gap { from, until }) in gaps {
        writer.u32(entry);
        writer.u64(from.get());
        writer.u64(until.get());
    }
}

/// Reads what [`write_gaps`] wrote, and nothing that it would not have written.
fn read_gaps(reader: &mut Reader, ends: &VectorClock) -> Result<Gaps, CodecError> {
    let at = reader.position();
    let count = reader.length("stamp gaps", SEEN_GAPS_LIMIT)?;
    if count == 0 {
        let (field, expected) = ("stamp gaps", "one at least in version 2");
        return Err(CodecError::Value { field, at, found: 0, expected });
    }
    let (entries, mut gaps): (Vec<_>, _) = (ends.iter().collect(), Gaps::new());
    let mut latest = 0;
    for _ in 0..count {
        let at = reader.position();
        let entry = reader.u32("stamp gap entry")?;
        let gap = Gap {
            from: Offset::new(reader.u64("stamp gap start")?),
            until: Offset::new(reader.u64("stamp gap end")?),
        };
        let log = usize::try_from(entry).ok().and_then(|entry| entries.get(entry));
        let log = log.filter(|(_, end)| entry >= latest && gap.until < *end);
        let before = gaps.len();
        let given_up = log.and_then(|(actor, _)| gaps.note(actor, gap));
        if given_up.is_some() || gaps.len() == before {
            let (field, found) = ("stamp gap", i64::from(entry));
            let expected = "below the end of an entry of the clock, behind the gaps before it";
            return Err(CodecError::Value { field, at, found, expected });
        }
        latest = entry;
    }
    Ok(gaps)
}

/// Out of order, a verdict would be found by some searches and not by others.
fn check_order(at: usize, verdicts: &[VerdictAt]) -> Result<(), CodecError> {
    let deltas = || verdicts.iter().map(|at| at.delta);
    let falls = deltas().zip(deltas().skip(1)).find(|(delta, next)| next <= delta);
    falls.map_or(Ok(()), |(_, next)| {
        let (field, found) = ("verdict delta", i64::from(next.get()));
        Err(CodecError::Value { field, at, found, expected: "above the one before" })
    })
}

fn read_verdict(reader: &mut Reader) -> Result<VerdictAt, CodecError> {
    let delta = OffsetDelta::new(reader.u32("verdict delta")?);
    let at = reader.position();
    let code = reader.u8("verdict")?;
    let verdict = Verdict::from_code(code).ok_or_else(|| CodecError::Value {
        field: "verdict",
        at,
        found: i64::from(code),
        expected: "0 to 3",
    })?;
    Ok(VerdictAt { delta, verdict })
}

/// One batch in one partition of a node's log, with what travels beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the first record in the partition that holds the entry.
    pub base: Offset,
    /// Dot of the first record.
    pub dot: Dot,
    /// What the ingest hub said; absent in an agent's outbox.
    pub stamp: Option<Stamp>,
    /// The records.
    pub batch: Batch,
}

impl Entry {
    /// Offset after the batch's span, whether its last records are still there or not.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.base.after(self.batch.span())
    }

    /// Whether a hub put a hole here in the place of records that it lost: whoever else holds them
    /// may bring them. A hole that an agent named is a part of the log, the same at everybody: of
    /// an earlier life the agent knows no dots either, but only it says so, or that another hub has
    /// what is gone.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        let Some(hole) = Hole::of(&self.batch) else { return false };
        let is_of_agents = match hole.policy {
            DropPolicy::EarlierLife | DropPolicy::Elsewhere => true,
            DropPolicy::Time
            | DropPolicy::Bytes
            | DropPolicy::Acknowledged
            | DropPolicy::Compacted
            | DropPolicy::Damaged => false,
        };
        !is_of_agents && self.dot.sequence == Sequence::new(0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::{Incarnation, RegionId};

    fn stamp() -> Stamp {
        let actor = Actor {
            region: RegionId::new("eu").unwrap(),
            incarnation: Incarnation::new(2, 3),
            partition: PartitionIndex::new(1),
        };
        let mut context = VectorClock::new();
        context.advance(&actor, Offset::new(41));
        Stamp {
            actor,
            offset: Offset::new(41),
            hlc: Hlc::new(EventTime::from_millis(1_000), 2),
            context: context.into(),
            verdicts: vec![
                VerdictAt { delta: OffsetDelta::new(1), verdict: Verdict::Late },
                VerdictAt { delta: OffsetDelta::new(4), verdict: Verdict::Future },
            ],
        }
    }

    #[test]
    fn a_record_without_a_verdict_is_on_time() {
        let verdicts: Vec<Verdict> =
            (0..6).map(|delta| stamp().verdict(OffsetDelta::new(delta))).collect();

        use Verdict::{Future, Late, OnTime};
        assert_eq!(verdicts, [OnTime, Late, OnTime, OnTime, Future, OnTime]);
    }

    #[test]
    fn verdicts_that_do_not_rise_are_refused() {
        let mut writer = Writer::new();
        stamp().write(&mut writer);
        let mut bytes = writer.finish().to_vec();
        // The second delta stands before its verdict and the context.
        let context = 4 + 3 + 12 + 4 + 8;
        let at = bytes.len() - context - 2;
        assert_eq!(bytes[at], 4);
        bytes[at] = 1;

        let read = Stamp::read(&mut Reader::new(Bytes::from(bytes)));

        let (field, expected) = ("verdict delta", "above the one before");
        assert_eq!(read, Err(CodecError::Value { field, at: 44, found: 1, expected }));
    }

    /// A stamp whose hub missed parts of two of three logs.
    fn with_gaps(gaps: &[(u32, u64, u64)]) -> Stamp {
        let mut stamp = stamp();
        let (mut ends, mut missing) = (VectorClock::new(), Gaps::new());
        let log =
            |partition| Actor { partition: PartitionIndex::new(partition), ..stamp.actor.clone() };
        (1..4).for_each(|partition| ends.advance(&log(partition), Offset::new(41)));
        for (partition, from, until) in gaps {
            let gap = Gap { from: Offset::new(*from), until: Offset::new(*until) };
            assert_eq!(missing.note(&log(*partition), gap), None);
        }
        stamp.context = Extent::new(ends, missing);
        stamp
    }

    fn bytes_of(stamp: &Stamp) -> Vec<u8> {
        let mut writer = Writer::new();
        stamp.write(&mut writer);
        writer.finish().to_vec()
    }

    fn read(bytes: Vec<u8>) -> Result<Stamp, CodecError> {
        Stamp::read(&mut Reader::new(Bytes::from(bytes)))
    }

    #[test]
    fn a_stamp_that_missed_nothing_is_of_version_1_and_one_with_gaps_adds_them_at_the_end() {
        let (without, with) = (with_gaps(&[]), with_gaps(&[(2, 3, 7), (2, 9, 10), (3, 0, 1)]));

        let (first, second) = (bytes_of(&without), bytes_of(&with));

        assert_eq!((first[0], second[0]), (1, 2));
        let (same, gaps) = second.split_at(first.len());
        assert_eq!(same[1..], first[1..]);
        let mut expected = vec![0, 0, 0, 3];
        for (entry, from, until) in [(1_u32, 3_u64, 7_u64), (1, 9, 10), (2, 0, 1)] {
            expected.extend(entry.to_be_bytes());
            expected.extend(from.to_be_bytes());
            expected.extend(until.to_be_bytes());
        }
        assert_eq!(gaps, expected);
        assert_eq!((read(first), read(second)), (Ok(without), Ok(with)));
    }

    #[test]
    fn gaps_that_no_hub_writes_are_refused() {
        let whole = bytes_of(&with_gaps(&[(2, 3, 7)]));
        let of_gaps = whole.len() - 24;
        let with = |gaps: &[(u32, u64, u64)]| {
            let mut bytes = whole[..of_gaps].to_vec();
            bytes.extend(u32::try_from(gaps.len()).unwrap().to_be_bytes());
            for (entry, from, until) in gaps {
                bytes.extend(entry.to_be_bytes());
                bytes.extend(from.to_be_bytes());
                bytes.extend(until.to_be_bytes());
            }
            read(bytes).map(|stamp| stamp.context.gaps().len())
        };

        assert_eq!(with(&[(0, 0, 40), (2, 0, 1), (2, 2, 3)]), Ok(3));
        for refused in [
            &[][..],
            &[(3, 3, 7)],
            &[(1, 7, 7)],
            &[(1, 7, 3)],
            &[(1, 3, 41)],
            &[(1, 3, u64::MAX)],
            &[(1, 3, 7), (1, 7, 8)],
            &[(1, 8, 9), (1, 3, 7)],
            &[(1, 3, 7), (0, 3, 7)],
        ] {
            assert!(with(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn as_many_gaps_as_the_limit_are_written_and_read_and_a_count_of_one_more_is_refused() {
        let mut stamp = stamp();
        let (mut ends, mut gaps) = (VectorClock::new(), Gaps::new());
        for partition in (0..).take(SEEN_GAPS_LIMIT) {
            let log = Actor { partition: PartitionIndex::new(partition), ..stamp.actor.clone() };
            ends.advance(&log, Offset::new(9));
            let gap = Gap { from: Offset::new(2), until: Offset::new(4) };
            assert_eq!(gaps.note(&log, gap), None);
        }
        stamp.context = Extent::new(ends, gaps);

        let mut bytes = bytes_of(&stamp);
        assert_eq!(read(bytes.clone()), Ok(stamp));

        let at = bytes.len() - 20 * SEEN_GAPS_LIMIT - 4;
        let more = u32::try_from(SEEN_GAPS_LIMIT + 1).unwrap();
        bytes[at..at + 4].copy_from_slice(&more.to_be_bytes());
        assert!(matches!(read(bytes), Err(CodecError::Value { field: "stamp gaps", .. })));
    }

    #[test]
    fn decode_of_encode_is_the_same_stamp() {
        let mut writer = Writer::new();
        stamp().write(&mut writer);

        let mut reader = Reader::new(writer.finish());
        assert_eq!(Stamp::read(&mut reader), Ok(stamp()));
        assert_eq!(reader.end(), Ok(()));
    }
}
