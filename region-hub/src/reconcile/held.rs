//! Inventory of lives whose logs end before it, as far as is known here.
//!
//! ```text
//! in a snapshot:  count u64, of each batch in the order held: local u8 │ stamp │ batch u32 + bytes
//! ```
//! It is held back in the order of its log and not thrown away: once somebody says that the log
//! ends later, it counts after all. Nobody may ever say so, therefore it is a part of snapshots,
//! and each batch has memory of its own: what it came in, a frame or a whole snapshot, goes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Actor, Batch, BatchError};
use headland_reconcile::{Locality, Membership};

use super::Stamped;
use crate::ingest::HeldParts;

/// Bytes that one end in a clock takes in memory: the actor with its region's name, and the offset.
const CLOCK_END_BYTES: u64 = 96;

/// Why held batches cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeldError {
    /// Not of this layout.
    #[error("what is held back is not of a known layout")]
    Layout(#[from] CodecError),
    /// One is no batch.
    #[error("a batch that is held back cannot be read")]
    Batch(#[from] BatchError),
}

/// Batches that do not count yet, by the log they are of.
#[derive(Debug, Default)]
pub struct Held {
    by_actor: BTreeMap<Actor, VecDeque<Stamped>>,
    bytes: u64,
}

impl Held {
    /// Hands back a batch that counts, and keeps any other.
    pub(super) fn pass(&mut self, members: &Membership, stamped: Stamped) -> Option<Stamped> {
        if members.accepts(&stamped.stamp.actor, stamped.end()) {
            return Some(stamped);
        }
        self.push(stamped);
        None
    }

    /// Keeps a batch in the order of its log; a copy of what is held, over another way, adds
    /// nothing.
    fn push(&mut self, Stamped { locality, stamp, batch }: Stamped) {
        let waiting = self.by_actor.entry(stamp.actor.clone()).or_default();
        let at = waiting.partition_point(|held| held.stamp.offset < stamp.offset);
        if waiting.get(at).is_some_and(|held| held.stamp.offset == stamp.offset) {
            return;
        }
        // It was decoded from these very bytes before.
        let batch = Batch::decode(Bytes::copy_from_slice(batch.as_bytes())).unwrap_or(batch);
        let stamped = Stamped { locality, stamp, batch };
        self.bytes = self.bytes.saturating_add(memory_of(&stamped));
        waiting.insert(at, stamped);
    }

    /// Takes out what counts by now, in the order of each log.
    pub(super) fn release(&mut self, members: &Membership) -> Vec<Stamped> {
        let mut released = Vec::new();
        for (actor, waiting) in &mut self.by_actor {
            while let Some(stamped) =
                waiting.pop_front_if(|first| members.accepts(actor, first.end()))
            {
                self.bytes = self.bytes.saturating_sub(memory_of(&stamped));
                released.push(stamped);
            }
        }
        self.by_actor.retain(|_, waiting| !waiting.is_empty());
        released
    }

    /// Bytes of the batches that are held, with what their writers had seen.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is held, in the order of each log.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stamped> {
        self.by_actor.values().flatten()
    }

    /// Where held batches begin and end.
    pub(super) fn parts(&self) -> BTreeMap<Actor, HeldParts> {
        let part = |stamped: &Stamped| (stamped.stamp.offset, stamped.end());
        let parts = |waiting: &VecDeque<Stamped>| waiting.iter().map(part).collect();
        self.by_actor.iter().map(|(actor, waiting)| (actor.clone(), parts(waiting))).collect()
    }

    /// Appends what is held in the layout above. O(bytes held).
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u64(self.iter().map(|_| 1_u64).sum());
        for Stamped { locality, stamp, batch } in self.iter() {
            writer.u8(match locality {
                Locality::Remote => 0,
                Locality::Local => 1,
            });
            stamp.write(writer);
            writer.bytes(batch.as_bytes());
        }
    }

    /// Reads what `write` wrote.
    ///
    /// # Errors
    /// [`HeldError`] when bytes are missing or a field is outside its range.
    pub fn read(reader: &mut Reader) -> Result<Self, HeldError> {
        let mut held = Self::default();
        for _ in 0..reader.u64("batches held back")? {
            let at = reader.position();
            let locality = match reader.u8("locality")? {
                0 => Locality::Remote,
                1 => Locality::Local,
                other => {
                    let (field, found, expected) = ("locality", i64::from(other), "0 or 1");
                    return Err(CodecError::Value { field, at, found, expected }.into());
                }
            };
            let stamp = headland_event::Stamp::read(reader)?;
            let bytes = reader.bytes("batch held back", reader.remaining())?;
            held.push(Stamped { locality, stamp, batch: Batch::decode(bytes)? });
        }
        Ok(held)
    }
}

/// Bytes that a batch takes while it is held.
fn memory_of(stamped: &Stamped) -> u64 {
    let seen = &stamped.stamp.context;
    // A gap with its place in a tree takes no more than an end.
    let ends = u64::try_from(seen.ends().len() + seen.gaps().len()).unwrap_or(u64::MAX);
    stamped.bytes().saturating_add(ends.saturating_mul(CLOCK_END_BYTES))
}

#[cfg(test)]
mod tests {
    use headland_event::{
        EventTime, Hlc, Incarnation, Offset, PartitionIndex, Record, Stamp, VectorClock,
    };

    use super::*;

    fn stamped(offset: u64, seen: u32) -> Stamped {
        let actor = |partition| Actor {
            region: "us".parse().unwrap(),
            incarnation: Incarnation::new(1, 5),
            partition: PartitionIndex::new(partition),
        };
        let mut context = VectorClock::new();
        (0..seen).for_each(|partition| context.advance(&actor(partition), Offset::new(1)));
        let (hlc, offset) = (Hlc::new(EventTime::default(), 0), Offset::new(offset));
        let stamp =
            Stamp { actor: actor(0), offset, hlc, context: context.into(), verdicts: Vec::new() };
        let record = Record::new(EventTime::default(), "us-1-till", "{}");
        Stamped { locality: Locality::Remote, stamp, batch: Batch::encode(&[record]).unwrap() }
    }

    #[test]
    fn what_is_held_keeps_no_snapshot_in_memory_nor_what_it_came_in() {
        let whole = stamped(0, 0);
        let frame = Bytes::from(whole.batch.as_bytes().to_vec());
        let came = Batch::decode(frame.clone()).unwrap();
        let mut held = Held::default();
        held.push(Stamped { batch: came, ..whole });
        let mut writer = Writer::new();
        held.write(&mut writer);
        let snapshot = writer.finish();

        let read = Held::read(&mut Reader::new(snapshot.clone())).unwrap();

        assert_eq!((held.iter().count(), read.iter().count()), (1, 1));
        assert!(frame.is_unique(), "the frame is let go");
        assert!(snapshot.is_unique(), "the snapshot is let go");
    }

    #[test]
    fn the_bound_counts_what_the_writers_had_seen() {
        let mut held = Held::default();
        let batch = stamped(0, 0).bytes();

        held.push(stamped(0, 100));

        assert_eq!(held.bytes(), batch + 100 * CLOCK_END_BYTES);
        assert_eq!(held.release(&Membership::new()).len(), 1);
        assert_eq!(held.bytes(), 0);
    }
}
