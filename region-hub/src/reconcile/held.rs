//! Inventory of lives whose logs end before it, as far as is known here.
//!
//! ```text
//! in a snapshot:  count u64, of each batch in the order held: local u8 │ stamp │ batch u32 + bytes
//! ```
//! It is held back in the order of its log and not thrown away: once somebody says that the log
//! ends later, it counts after all. Nobody may ever say so, therefore it is a part of snapshots.

use std::collections::{BTreeMap, VecDeque};

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Actor, Batch, BatchError, Offset};
use headland_reconcile::{Locality, Membership};

use super::Stamped;

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
        if !self.holds(members, &stamped.stamp.actor, stamped.end()) {
            return Some(stamped);
        }
        let last = self.by_actor.get(&stamped.stamp.actor).and_then(VecDeque::back);
        // A copy of what is held, over another way, adds nothing.
        if last.is_none_or(|last| last.end() < stamped.end()) {
            self.push(stamped);
        }
        None
    }

    /// Whether a batch that ends at `end` of a log is held back. O(log actors).
    pub(super) fn holds(&self, members: &Membership, actor: &Actor, end: Offset) -> bool {
        self.by_actor.contains_key(actor) || !members.accepts(actor, end)
    }

    fn push(&mut self, stamped: Stamped) {
        self.bytes = self.bytes.saturating_add(stamped.bytes());
        self.by_actor.entry(stamped.stamp.actor.clone()).or_default().push_back(stamped);
    }

    /// Takes out what counts by now, in the order of each log.
    pub(super) fn release(&mut self, members: &Membership) -> Vec<Stamped> {
        let mut released = Vec::new();
        for (actor, waiting) in &mut self.by_actor {
            while let Some(stamped) =
                waiting.pop_front_if(|first| members.accepts(actor, first.end()))
            {
                self.bytes = self.bytes.saturating_sub(stamped.bytes());
                released.push(stamped);
            }
        }
        self.by_actor.retain(|_, waiting| !waiting.is_empty());
        released
    }

    /// Bytes of the batches that are held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is held, in the order of each log.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stamped> {
        self.by_actor.values().flatten()
    }

    /// Where held batches end, in the order of each log.
    pub(super) fn ends(&self) -> BTreeMap<Actor, VecDeque<Offset>> {
        let ends = |waiting: &VecDeque<Stamped>| waiting.iter().map(Stamped::end).collect();
        self.by_actor.iter().map(|(actor, waiting)| (actor.clone(), ends(waiting))).collect()
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
