//! Where this life's logs of inventory begin.
//!
//! A life that goes on from a backup numbers its logs on behind those of the former one, and wrote
//! nothing before. It says so in its reports, or others would take that for missing for good. What
//! a log has later does not tell it, since damage may have taken its first records: so it is
//! written down where the life begins.
//!
//! ```text
//! state `node`, key `begins`:  1 version u8 │ life { counter u32, nonce u64 }
//!                              │ partitions u32 × { partition u32, begin u64 }
//! ```

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Actor, Incarnation, Offset, PartitionIndex, VectorClock};
use headland_storage::StateStore;

use crate::node::Node;
use crate::node::recovery::{RecoveryError, owner};
use crate::topics::PARTITIONS_LIMIT;

const VERSION: u8 = 1;

/// Most partitions of a topic.
const PARTITIONS: usize = PARTITIONS_LIMIT as usize;

const KEY: Bytes = Bytes::from_static(b"begins");

impl Node {
    /// Takes up where this life's logs begin; of a life that begins, where they end so far. A life
    /// that an earlier version began says nothing of it.
    pub(in crate::node) fn restore_begins(
        &mut self,
        state: &impl StateStore,
    ) -> Result<(), RecoveryError> {
        let layout = |source| RecoveryError::Layout { owner: owner("node"), source };
        let known = state.get(&owner("node"), &KEY)?;
        let known = known.map(|value| decode(value).map_err(layout)).transpose()?;
        let known = known.filter(|(life, _)| *life == self.incarnation);
        let begins = match known {
            Some((_, begins)) => begins,
            None if self.begins_a_life() => {
                let (topic, _) = self.inventory.configuration();
                let ends = self.composer.ends().filter(|(at, _)| at.topic == *topic);
                let begins: Vec<_> = ends.map(|(at, end)| (at.partition, end)).collect();
                let value = encode(self.incarnation, &begins);
                self.composer.set(owner("node"), KEY, Some(value));
                begins
            }
            None => Vec::new(),
        };
        let region = self.identity.region().clone();
        let Some(speaking) = &mut self.speaking else { return Ok(()) };
        for (partition, begin) in begins {
            let (region, incarnation) = (region.clone(), self.incarnation);
            speaking.begins.advance(&Actor { region, incarnation, partition }, begin);
        }
        Ok(())
    }

    /// Where this life's logs of inventory begin, of those that do not begin at 0.
    pub(in crate::node) fn begins(&self) -> VectorClock {
        self.speaking.as_ref().map(|speaking| speaking.begins.clone()).unwrap_or_default()
    }
}

fn encode(life: Incarnation, begins: &[(PartitionIndex, Offset)]) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(VERSION);
    writer.incarnation(life);
    writer.length(begins.len());
    for (partition, begin) in begins {
        writer.u32(partition.get());
        writer.u64(begin.get());
    }
    writer.finish()
}

fn decode(value: Bytes) -> Result<(Incarnation, Vec<(PartitionIndex, Offset)>), CodecError> {
    let mut reader = Reader::new(value);
    let version = reader.u8("begins version")?;
    if version != VERSION {
        let (field, found, expected) = ("begins version", i64::from(version), "1");
        return Err(CodecError::Value { field, at: 0, found, expected });
    }
    let life = reader.incarnation("life")?;
    let mut begins = Vec::new();
    for _ in 0..reader.length("partitions", PARTITIONS)? {
        let partition = PartitionIndex::new(reader.u32("partition")?);
        begins.push((partition, Offset::new(reader.u64("begin")?)));
    }
    reader.end()?;
    Ok((life, begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_logs_begin_reads_back_and_another_version_is_refused() {
        let begins = vec![
            (PartitionIndex::new(0), Offset::new(7)),
            (PartitionIndex::new(3), Offset::new(0)),
        ];
        let life = Incarnation::new(2, 0xa7);

        let value = encode(life, &begins);

        assert_eq!(decode(value.clone()).unwrap(), (life, begins));
        let mut later = value.to_vec();
        later[0] = 2;
        assert!(decode(later.into()).is_err());
    }
}
