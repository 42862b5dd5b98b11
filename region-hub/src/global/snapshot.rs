//! The state of rules as bytes, at the end of a commit.
//!
//! ```text
//! v1:  1 version u8 │ regions u32 × { name
//!        promises u32 × { JSON } │ ends u32 × { topic, partition u32, offset u64 }
//!        watermarks u32 × { topic, i64 ms }
//!        late rows u32 × { topic, partition u32, offset u64, value } }
//!      │ revisions, in their own layout │ engine, in its own layout
//! ```

use bytes::Bytes;
use headland_detection::{Engine, RestoreError, Revisions};
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_event::{EventTime, Offset, PartitionIndex, RegionId, TopicName};

use super::Rules;
use super::logs::{Held, Logs, RegionLogs};

const VERSION: u8 = 1;

/// Why rules do not go on from a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesSnapshotError {
    /// Not of a known layout.
    #[error("the state of rules is not of a known layout")]
    Layout(#[from] CodecError),
    /// Of other regions: windows would lack the rows of some.
    #[error("the state of rules is of regions {found}, configured are {expected}")]
    Regions {
        /// The regions it is of.
        found: String,
        /// Those that are configured.
        expected: String,
    },
    /// The engine does not know itself in it.
    #[error("the rules cannot be restored")]
    Engine(#[from] RestoreError),
}

impl Rules {
    /// The state at the end of the last commit.
    ///
    /// # Panics
    /// When results were not taken: they would be lost with it.
    #[must_use]
    pub fn snapshot(&mut self) -> Bytes {
        assert!(self.is_idle(), "results are taken before a snapshot");
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.length(self.regions.len());
        for (region, logs) in self.regions.iter().zip(&self.logs.regions) {
            writer.name(region.as_str());
            write_logs(logs, &mut writer);
        }
        self.results.revisions.write(&mut writer);
        writer.raw(&self.engine.snapshot());
        writer.finish()
    }

    /// Reads a state of these rules.
    ///
    /// # Errors
    /// [`RulesSnapshotError`] when it is none.
    pub fn decode(&self, state: Bytes) -> Result<RulesState, RulesSnapshotError> {
        let mut reader = Reader::new(state);
        let found = reader.u8("rules version")?;
        if found != VERSION {
            let (field, found) = ("rules version", i64::from(found));
            return Err(CodecError::Value { field, at: 0, found, expected: "1" }.into());
        }
        let mut logs = Logs { regions: Vec::new() };
        let mut regions: Vec<RegionId> = Vec::new();
        for _ in 0..reader.length("regions", reader.remaining())? {
            regions.push(reader.name("region")?);
            logs.regions.push(read_logs(&mut reader)?);
        }
        if regions != self.regions {
            let listed = |regions: &[RegionId]| {
                regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ")
            };
            let (found, expected) = (listed(&regions), listed(&self.regions));
            return Err(RulesSnapshotError::Regions { found, expected });
        }
        let revisions = Revisions::read(&mut reader)?;
        let engine = reader.take("engine", reader.remaining())?;
        let engine = Engine::restore(self.engine.program().clone(), self.seed, engine)?;
        Ok(RulesState { logs, revisions, engine })
    }

    /// Goes on from a state at the end of a commit, before anything is read.
    pub fn take_up(&mut self, RulesState { logs, revisions, engine }: RulesState) {
        debug_assert_eq!(logs.regions.len(), self.regions.len(), "it was decoded by these rules");
        (self.engine, self.logs, self.results.revisions) = (engine, logs, revisions);
    }
}

/// A state of rules that was read.
#[derive(Debug)]
pub struct RulesState {
    logs: Logs,
    revisions: Revisions,
    engine: Engine,
}

fn write_logs(logs: &RegionLogs, writer: &mut Writer) {
    let RegionLogs { promises, ends, watermarks, held, held_bytes: _ } = logs;
    writer.length(promises.len());
    for promise in promises {
        #[expect(clippy::expect_used, reason = "names and numbers always have a JSON")]
        let promise = serde_json::to_vec(promise).expect("a promise has a JSON");
        writer.bytes(&promise);
    }
    writer.length(ends.len());
    for ((topic, partition), end) in ends {
        writer.name(topic.as_str());
        writer.u32(partition.get());
        writer.u64(end.get());
    }
    writer.length(watermarks.len());
    for (topic, watermark) in watermarks {
        writer.name(topic.as_str());
        writer.i64(watermark.millis());
    }
    writer.length(held.len());
    for Held { topic, partition, offset, value } in held {
        writer.name(topic.as_str());
        writer.u32(partition.get());
        writer.u64(offset.get());
        writer.bytes(value);
    }
}

fn read_logs(reader: &mut Reader) -> Result<RegionLogs, CodecError> {
    let mut logs = RegionLogs::default();
    // Whatever is counted takes at least a byte, so that what is left bounds it.
    for _ in 0..reader.length("promises", reader.remaining())? {
        let at = reader.position();
        let json = reader.bytes("promise", RECORD_BYTES_LIMIT.as_len())?;
        let promise = serde_json::from_slice(&json).map_err(|_| CodecError::Value {
            field: "promise",
            at,
            found: i64::try_from(json.len()).unwrap_or(i64::MAX),
            expected: "the JSON of a promise in as many bytes",
        })?;
        logs.promises.push_back(promise);
    }
    for _ in 0..reader.length("ends", reader.remaining())? {
        let topic: TopicName = reader.name("topic")?;
        let partition = PartitionIndex::new(reader.u32("partition")?);
        logs.ends.insert((topic, partition), Offset::new(reader.u64("end")?));
    }
    for _ in 0..reader.length("watermarks", reader.remaining())? {
        let topic = reader.name("topic")?;
        logs.watermarks.insert(topic, EventTime::from_millis(reader.i64("watermark")?));
    }
    for _ in 0..reader.length("late rows", reader.remaining())? {
        let topic = reader.name("topic")?;
        let partition = PartitionIndex::new(reader.u32("partition")?);
        let offset = Offset::new(reader.u64("offset")?);
        let value = reader.bytes("late row", RECORD_BYTES_LIMIT.as_len())?;
        logs.held_bytes += value.len();
        logs.held.push_back(Held { topic, partition, offset, value });
    }
    Ok(logs)
}
