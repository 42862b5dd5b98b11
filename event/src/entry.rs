//! What the ingest hub says about a batch, and the entry a log keeps.
//!
//! ```text
//! stamp v1:  1 version u8 │ actor { region, incarnation, partition } │ offset u64
//!            │ hlc { wall i64, logical u32 } │ verdicts u32 × { delta u32, verdict u8 }
//!            │ context (a vector clock)
//! ```
//! Dot and stamp travel beside the batch, in the journal's entry and in the link's frame, never
//! inside the records; mirrors copy both unchanged.

use crate::batch::Batch;
use crate::clock::{Actor, VectorClock};
use crate::codec::{CodecError, Reader, Writer};
use crate::hlc::Hlc;
use crate::hole::{DropPolicy, Hole};
use crate::id::{Dot, Offset, OffsetDelta, PartitionIndex, Sequence};
use crate::limits::BATCH_RECORDS_LIMIT;
use crate::progress::Verdict;
use crate::time::EventTime;

const STAMP_VERSION: u8 = 1;

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
    /// What the hub's journal held before: the causal past of the batch. Empty where the topic
    /// is not reconciled.
    pub context: VectorClock,
    /// Records that were late, future or forbidden, by rising delta; all others are on time.
    pub verdicts: Vec<VerdictAt>,
}

impl Stamp {
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
    pub fn write(&self, writer: &mut Writer) {
        let Self { actor, offset, hlc, context, verdicts } = self;
        debug_assert_eq!(check_order(0, verdicts), Ok(()), "verdicts stand by rising delta");
        writer.u8(STAMP_VERSION);
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
        context.write(writer);
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or a field is outside its range.
    pub fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        let version = reader.u8("stamp version")?;
        if version != STAMP_VERSION {
            let found = i64::from(version);
            return Err(CodecError::Value { field: "stamp version", at, found, expected: "1" });
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
        let context = VectorClock::read(reader)?;
        Ok(Self { actor, offset, hlc, context, verdicts })
    }
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
            context,
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

    #[test]
    fn decode_of_encode_is_the_same_stamp() {
        let mut writer = Writer::new();
        stamp().write(&mut writer);

        let mut reader = Reader::new(writer.finish());
        assert_eq!(Stamp::read(&mut reader), Ok(stamp()));
        assert_eq!(reader.end(), Ok(()));
    }
}
