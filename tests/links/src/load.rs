//! Records that carry the moment they were made.

use std::time::Duration;

use anyhow::{Context, Result};
use headland_event::{
    Batch, EventTime, PartitionIndex, Random, Record, SeededRandom, TopicName, TopicPartition,
};

/// Partitions of the topic, as a hub's topic has.
pub(crate) const PARTITIONS: u32 = 8;

/// Records of a batch when all are written at once: what a busy producer makes.
pub(crate) const BATCH_RECORDS: u64 = 500;

/// Partition `index` of the topic that is sent.
pub(crate) fn partition(index: u32) -> Result<TopicPartition> {
    let topic = TopicName::new("proof.events").context("a valid name")?;
    Ok(TopicPartition::new(topic, PartitionIndex::new(index)))
}

/// The one partition of the alerts that are sent beside them.
pub(crate) fn alerts() -> Result<TopicPartition> {
    let topic = TopicName::new("proof.alerts").context("a valid name")?;
    Ok(TopicPartition::new(topic, PartitionIndex::new(0)))
}

/// Makes batches of records that do not compress.
#[derive(Debug)]
pub(crate) struct Load {
    record_bytes: usize,
    random: SeededRandom,
}

impl Load {
    pub(crate) fn new(record_bytes: usize) -> Self {
        Self { record_bytes, random: SeededRandom::new(1) }
    }

    /// A batch of `count` records made at `now`.
    pub(crate) fn batch(&mut self, count: u64, now: Duration) -> Result<Batch> {
        let nanos = u64::try_from(now.as_nanos())?;
        let records: Vec<Record> = (0..count)
            .map(|_| {
                let mut value = Vec::with_capacity(self.record_bytes + 8);
                value.extend_from_slice(&nanos.to_be_bytes());
                while value.len() < self.record_bytes {
                    value.extend_from_slice(&self.random.next_u64().to_be_bytes());
                }
                value.truncate(self.record_bytes);
                Record::new(EventTime::from_millis(0), "", value)
            })
            .collect();
        Ok(Batch::encode(&records)?)
    }
}

/// What is written at a steady rate.
#[derive(Debug)]
pub(crate) struct Due {
    count: u64,
    per_second: u64,
    written: u64,
    began_at: Option<Duration>,
}

impl Due {
    /// `count` in all; `per_second` counts for [`Self::by`].
    pub(crate) const fn new(count: u64, per_second: u64) -> Self {
        Self { count, per_second, written: 0, began_at: None }
    }

    /// Whether it has a pace.
    pub(crate) const fn is_steady(&self) -> bool {
        self.per_second > 0
    }

    /// Whether all of it was taken.
    pub(crate) const fn is_done(&self) -> bool {
        self.written == self.count
    }

    /// Takes `count` of what is left, or all of it.
    pub(crate) fn take(&mut self, count: u64) -> u64 {
        let count = count.min(self.count - self.written);
        self.written += count;
        count
    }

    /// Starts its clock, unless that runs already: nothing is due before.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.began_at.get_or_insert(now);
    }

    /// When its clock was started.
    pub(crate) const fn began_at(&self) -> Option<Duration> {
        self.began_at
    }

    /// Takes what is due by `now`.
    pub(crate) fn by(&mut self, now: Duration) -> Result<u64> {
        let due = u64::try_from(self.due(now))?;
        Ok(self.take(due.saturating_sub(self.written)))
    }

    /// Whether nothing is due by `now`.
    pub(crate) fn is_ahead(&self, now: Duration) -> bool {
        self.due(now) <= u128::from(self.written)
    }

    fn due(&self, now: Duration) -> u128 {
        let since = self.began_at.map_or(Duration::ZERO, |began_at| now.saturating_sub(began_at));
        since.as_millis() * u128::from(self.per_second) / 1_000
    }
}

/// When each record of a batch was made.
pub(crate) fn made_at(batch: &Batch) -> Result<Vec<Duration>> {
    let moments = batch.records()?.into_iter().map(|record| {
        let value = record.value.context("every record has a value")?;
        let nanos = value.first_chunk().context("every value begins with a moment")?;
        Ok(Duration::from_nanos(u64::from_be_bytes(*nanos)))
    });
    moments.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_taken_in_time_is_taken_with_what_is_due_next() {
        let mut due = Due::new(10, 1_000);
        due.begin(Duration::from_millis(500));

        assert!(due.is_ahead(Duration::from_millis(500)));
        assert!(!due.is_ahead(Duration::from_millis(502)));
        assert_eq!(due.by(Duration::from_millis(503)).unwrap(), 3);
        assert!(due.is_ahead(Duration::from_millis(503)));
        assert_eq!(due.by(Duration::from_millis(900)).unwrap(), 7);
        assert!(due.is_done());
    }

    #[test]
    fn nothing_is_due_before_the_clock_was_started_and_it_is_started_once() {
        let mut due = Due::new(10, 1_000);

        assert_eq!(due.by(Duration::from_millis(900)).unwrap(), 0);
        assert!(due.is_ahead(Duration::from_millis(900)));
        due.begin(Duration::from_millis(1_000));
        due.begin(Duration::from_millis(1_002));

        assert_eq!(due.began_at(), Some(Duration::from_millis(1_000)));
        assert_eq!(due.by(Duration::from_millis(1_004)).unwrap(), 4);
    }

    #[test]
    fn a_record_is_as_long_as_asked_and_knows_when_it_was_made() {
        let now = Duration::from_nanos(123_456_789);

        let batch = Load::new(200).batch(3, now).unwrap();

        assert_eq!(made_at(&batch).unwrap(), [now; 3]);
        let records = batch.records().unwrap();
        assert!(records.iter().all(|record| record.value.as_ref().unwrap().len() == 200));
    }
}
