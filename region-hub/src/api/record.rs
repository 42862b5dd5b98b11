//! Records as JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headland_event::{
    ByteCount, Entry, EventTime, Offset, OffsetDelta, Record, TopicPartition, Verdict,
};
use headland_platform::telemetry::with_causes;
use headland_storage::{FoundOffsets, LogReader, ReadError, lost_around};
use serde::Serialize;

/// Bytes of batches read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Bytes of batches after which an answer ends; its `next` lets the reader go on.
pub(super) const ANSWER_BYTES_TARGET: usize = 8 << 20;

/// Bytes as text where they are UTF-8, else as base64.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum BytesJson {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Binary {
        /// RFC 4648 §4, with padding.
        base64: String,
    },
}

impl BytesJson {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary { base64: STANDARD.encode(bytes) },
        }
    }
}

/// One record, with what travels beside it.
#[derive(Debug, Serialize)]
pub(super) struct RecordJson {
    pub(super) offset: Offset,
    time: EventTime,
    key: Option<BytesJson>,
    value: Option<BytesJson>,
    headers: BTreeMap<String, BytesJson>,
    dot: String,
    verdict: Verdict,
    hlc: Option<String>,
}

/// Offsets whose records are damaged.
#[derive(Debug, Serialize)]
pub(super) struct DamagedJson {
    from: Offset,
    /// The offset after the last one.
    until: Offset,
    /// For the node: all that is damaged around it. None where that came back meanwhile.
    #[serde(skip)]
    found: Option<FoundOffsets>,
}

impl DamagedJson {
    fn new(reader: &impl LogReader, at: &TopicPartition, from: Offset, until: Offset) -> Self {
        let found = lost_around(reader, at, from).ok().flatten().map(|lost| {
            // At the end nothing tells of which log the offsets were.
            let behind = reader.read(at, lost.until, ByteCount::new(1)).unwrap_or_default();
            FoundOffsets { lost, behind: behind.into_iter().next() }
        });
        Self { from, until, found }
    }
}

/// Records of a partition, in order, and where to go on.
#[derive(Debug, Serialize)]
pub(super) struct RecordsJson {
    pub(super) records: Vec<RecordJson>,
    pub(super) next: Offset,
    /// What stands between them and cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) damaged: Vec<DamagedJson>,
    /// Bytes of the batches that were read for it.
    #[serde(skip)]
    pub(super) bytes: usize,
}

impl RecordsJson {
    /// Damage that the reading met, for the node.
    pub(super) fn damage(&self) -> impl Iterator<Item = FoundOffsets> {
        self.damaged.iter().filter_map(|damaged| damaged.found.clone())
    }

    /// No records from an offset on.
    pub(super) const fn none(next: Offset) -> Self {
        Self { records: Vec::new(), next, damaged: Vec::new(), bytes: 0 }
    }
}

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    /// Most records.
    pub(super) max: usize,
    /// Bytes of batches after which it ends, but for the first batch.
    pub(super) bytes: usize,
    /// Where it ends at the latest: a batch begins there.
    pub(super) until: Offset,
}

impl Page {
    /// A page of one partition.
    pub(super) const fn of(max: usize) -> Self {
        Self { max, bytes: ANSWER_BYTES_TARGET, until: Offset::new(u64::MAX) }
    }
}

/// Reads a page of a partition; nothing at its end. What is damaged is named and passed.
pub(super) fn read_records(
    reader: &impl LogReader,
    at: &TopicPartition,
    from: Offset,
    Page { max, bytes: bytes_target, until: last }: Page,
) -> Result<RecordsJson, String> {
    let RecordsJson { mut records, mut next, mut damaged, mut bytes } = RecordsJson::none(from);
    let at_once = READ_BYTES.min(ByteCount::new(u64::try_from(bytes_target).unwrap_or(u64::MAX)));
    while records.len() < max && bytes < bytes_target && next < last {
        let entries = match reader.read(at, next, at_once) {
            Ok(entries) => entries,
            Err(ReadError::Quarantined { from, until, .. }) if until > next => {
                damaged.push(DamagedJson::new(reader, at, from, until));
                next = until.min(last);
                continue;
            }
            Err(error) => return Err(with_causes(&error)),
        };
        let Some(end) = entries.last().map(|entry| entry.end().min(last)) else { break };
        for entry in entries.iter().filter(|entry| entry.base < last) {
            bytes += entry.batch.as_bytes().len();
            let decoded = entry.batch.numbered_records().map_err(|error| with_causes(&error))?;
            let listed = decoded.iter().map(|(delta, record)| json(entry, *delta, record));
            records.extend(listed.filter(|record| record.offset >= from));
        }
        next = end;
    }
    if let Some(first_left) = records.get(max).map(|record| record.offset) {
        records.truncate(max);
        next = first_left;
    }
    Ok(RecordsJson { records, next, damaged, bytes })
}

fn json(entry: &Entry, delta: OffsetDelta, record: &Record) -> RecordJson {
    let headers = record.headers.iter();
    RecordJson {
        offset: entry.base.at(delta),
        time: record.time,
        key: record.key.as_deref().map(BytesJson::new),
        value: record.value.as_deref().map(BytesJson::new),
        headers: headers.map(|h| (h.name.clone(), BytesJson::new(&h.value))).collect(),
        dot: entry.dot.at(delta).to_string(),
        verdict: entry.stamp.as_ref().map_or(Verdict::OnTime, |stamp| stamp.verdict(delta)),
        hlc: entry.stamp.as_ref().map(|stamp| stamp.hlc.to_string()),
    }
}
