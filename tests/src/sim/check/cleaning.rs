//! What cleaning leaves is what was written.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{DropPolicy, Entry, Hole, Offset, Record, TopicPartition};

use super::{counting, ensure};
use crate::sim::evidence::{Evidence, HubEvidence};

/// Topics that hubs compact unless they are told not to.
const TABLES: [&str; 4] =
    ["inventory.stock", "inventory.oversold", "inventory.late", "inventory.overlaps"];

/// Topics in which hubs say something by key: they are compacted wherever they lie.
const SAID: [&str; 3] = ["_groups", "_members", "_settings"];

/// What each key stands for.
type Table = BTreeMap<Option<Bytes>, Bytes>;

/// At each hub every record that is left stands at its offset as it was written, offsets are dense
/// from the start of the partition on, records are gone from tables alone, and whoever folds a
/// table by key ends at the same.
pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for (hub, HubEvidence { log, left, .. }) in evidence.hubs.iter().enumerate() {
        for (partition, written) in log {
            let left = left.get(partition).map_or(&[][..], Vec::as_slice);
            same(partition, written, left)
                .map_err(|why| format!("{partition} at hub {hub}: {why}"))?;
        }
    }
    Ok(())
}

fn same(partition: &TopicPartition, written: &[Entry], left: &[Entry]) -> Result<(), String> {
    let topic = counting::topic_of(partition);
    let is_table = TABLES.contains(&partition.topic.as_str()) || SAID.contains(&topic);
    let start = left.first().map_or_else(Offset::default, |first| first.base);
    let mut next = start;
    for entry in left {
        ensure(entry.base == next, || format!("nothing stands at {next}"))?;
        next = entry.end();
    }
    let end = written.last().map_or_else(Offset::default, Entry::end);
    ensure(left.is_empty() || next == end, || format!("it ends at {next}, not at {end}"))?;
    let (all, found) = (records(written), records(left));
    for (offset, record) in &found {
        ensure(all.get(offset) == Some(record), || format!("another record stands at {offset}"))?;
    }
    let gone = all.range(start..).filter(|(offset, _)| !found.contains_key(offset)).count();
    ensure(is_table || left.is_empty() || gone == 0, || format!("{gone} records are gone"))?;
    ensure(!is_table || table(&found) == table(&all), || "the table is another one".to_owned())
}

/// Records by offset, but for those that stand for what was compacted.
fn records(entries: &[Entry]) -> BTreeMap<Offset, Record> {
    let is_compacted =
        |entry: &&Entry| Hole::of(&entry.batch).is_some_and(|h| h.policy == DropPolicy::Compacted);
    let entries = entries.iter().filter(|entry| !is_compacted(entry));
    let numbered = entries.flat_map(|entry| {
        let records = entry.batch.numbered_records().unwrap();
        records.into_iter().map(|(delta, record)| (entry.base.at(delta), record))
    });
    numbered.collect()
}

fn table(records: &BTreeMap<Offset, Record>) -> Table {
    let mut table = Table::new();
    for Record { key, value, .. } in records.values() {
        match value {
            Some(value) => drop(table.insert(key.clone(), value.clone())),
            None => drop(table.remove(key)),
        }
    }
    table
}
