//! Rows of the logs: which of them count at once, which wait for a promise, and where they count.
//!
//! An ingest hub judges a record by the time that its record has. A rule may go by another column,
//! which is what decides here whether its row is late: by the watermark that its log had promised
//! before it. Where the record's time says as much, the row counts at once; where it does not, the
//! row waits for the promise that covers it, since only then it is known which one came before.

use headland_detection::{Origin, Part, Standing};
use headland_event::limits::TOPICS_LIMIT;
use headland_event::progress::FUTURE_LIMIT;
use headland_event::{
    DropPolicy, Entry, EventTime, Hole, Offset, PartitionIndex, Stamp, TopicName, Verdict,
};

use super::logs::{At, Due, Held, Lost, Reached, Settled};
use super::{Rules, note_unreadable};
use crate::topics::PARTITIONS_LIMIT;

/// Rows of one log count in two parts, each in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// As they come.
    AtOnce,
    /// When a promise covers them.
    Covered,
}

/// What is to be made of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Counts,
    /// Its own time is further ahead than a clock may be wrong: it counts nowhere.
    Future,
    Waits,
}

/// The latest event time that a row with this stamp may have.
pub(super) fn horizon(stamp: &Stamp) -> EventTime {
    stamp.hlc.wall().plus(FUTURE_LIMIT)
}

impl Held {
    /// What is to be made of the row for a table by which its time is `own`: by its log alone, so
    /// that every hub says the same.
    fn judge(&self, own: Option<EventTime>) -> Judgement {
        match own {
            // It is refused: no window holds it.
            None => Judgement::Counts,
            Some(own) if own > self.horizon => Judgement::Future,
            Some(own) => {
                // On time by its record, and no earlier by its own column.
                let is_on_time =
                    self.verdict == Verdict::OnTime && own >= self.time && own > self.behind;
                if is_on_time { Judgement::Counts } else { Judgement::Waits }
            }
        }
    }
}

impl Rules {
    /// Shows the rows of an entry to the rules, but for those that have to wait.
    pub(super) fn on_rows(&mut self, at: At<'_>, stamp: &Stamp, entry: &Entry) {
        let (partition, horizon) = (stamp.actor.partition, horizon(stamp));
        let end = stamp.offset.after(entry.end().since(entry.base));
        let (seen, lost) = self.logs.reach(at, partition, (stamp.offset, end));
        if end <= seen {
            return;
        }
        self.lose(Some(at.topic), lost, horizon);
        let behind = self.logs.watermark(at.region, at.topic);
        let hole = Hole::of(&entry.batch);
        if hole.is_some_and(|hole| hole.policy == DropPolicy::Elsewhere) {
            // They are in the log of another region, where they count.
            return;
        }
        let is_hole = hole.is_some();
        let records =
            if is_hole { Vec::new() } else { entry.batch.numbered_records().unwrap_or_default() };
        if u64::try_from(records.len()).unwrap_or(u64::MAX) < entry.batch.span() {
            // Shed, or compacted away: other hubs may have read them before.
            self.lose(Some(at.topic), Some(Lost { after: behind, until: None }), horizon);
        }
        // Of the others none counts, at any hub: what becomes of them their ingest hub decided.
        let counts = |delta| {
            let is_new = stamp.offset.at(delta) >= seen;
            is_new && matches!(stamp.verdict(delta), Verdict::OnTime | Verdict::Late)
        };
        let places = records.iter().map(|(delta, _)| *delta).filter(|delta| counts(*delta));
        let places = places.map(|delta| stamp.offset.at(delta).since(stamp.offset));
        let known = self.counted.count_at(entry.dot, entry.batch.span(), places);
        if known.has_let_go {
            // What comes of those streams again counts again.
            self.lose(None, Some(Lost { after: EventTime::MIN, until: None }), horizon);
        }
        for (delta, record) in records.into_iter().filter(|(delta, _)| counts(*delta)) {
            let (verdict, offset) = (stamp.verdict(delta), stamp.offset.at(delta));
            let (place, time) = (offset.since(stamp.offset), record.time);
            let value = record.value.unwrap_or_default();
            if known.doubled.has(place) {
                self.on_doubled(at.topic, &value);
                continue;
            }
            if known.unsure.has(place) {
                self.on_unsure(at.topic, &value);
            }
            let row = Held { partition, offset, time, verdict, horizon, behind, value };
            if self.offer(at, &row) == Judgement::Waits {
                let value = bytes::Bytes::copy_from_slice(&row.value);
                self.logs.hold(at, Held { value, ..row });
            }
            // Row by row: each may correct all of its windows.
            self.take_results();
        }
    }

    /// Leaves out the second copy of a row. Which one comes first, and so in which order rows are
    /// added up and whether this one is late, is not the same at every hub: a window that it is of
    /// is not final, nor corrected.
    fn on_doubled(&mut self, topic: &TopicName, value: &[u8]) {
        self.counts.doubled = self.counts.doubled.saturating_add(1);
        self.leave_open(topic, value);
    }

    /// Lets a row count of which nobody knows any more whether a copy has: a window that it is of
    /// is not final.
    fn on_unsure(&mut self, topic: &TopicName, value: &[u8]) {
        self.counts.unsure = self.counts.unsure.saturating_add(1);
        if self.counts.unsure == 1 {
            tracing::warn!(%topic, "rows may count twice: their windows are not final; said once");
        }
        self.leave_open(topic, value);
    }

    /// Windows that a row is of are not final.
    fn leave_open(&mut self, topic: &TopicName, value: &[u8]) {
        for source in self.tables.iter().filter(|source| source.topic == *topic) {
            let Ok(decoded) = source.decoder.decode(value) else { continue };
            if let Some(own) = self.engine.program().table(source.table).event_time_of(&decoded) {
                self.engine.on_gap(source.table, own, own);
                let (zero, never) = (Offset::default(), EventTime::MIN);
                self.engine.on_doubt(source.table, (own, own), zero, never);
            }
        }
        self.take_results();
    }

    /// Shows a row to the tables of its topic for which it counts at once; says whether it has to
    /// wait for another.
    fn offer(&mut self, At { region, life: _, topic }: At<'_>, row: &Held) -> Judgement {
        let part = self.part(region, topic, row.partition, Turn::AtOnce);
        let mut judgement = Judgement::Counts;
        for source in self.tables.iter().filter(|source| source.topic == *topic) {
            let decoded = match source.decoder.decode(&row.value) {
                Ok(decoded) => decoded,
                Err(error) => {
                    note_unreadable(&mut self.counts.unreadable, topic, row.offset, &error);
                    continue;
                }
            };
            let own = self.engine.program().table(source.table).event_time_of(&decoded);
            let (table, offset, none) = (source.table, row.offset, EventTime::MIN);
            match row.judge(own) {
                Judgement::Counts => {
                    let origin = Origin { part, standing: Standing::OnTime };
                    self.engine.on_row_of(table, &decoded, origin, offset, none);
                }
                Judgement::Future => self.engine.on_future_row(table, &decoded, offset, none),
                Judgement::Waits => judgement = Judgement::Waits,
            }
        }
        judgement
    }

    /// Lets promises take effect whose ends the region's logs have come to, one after the other:
    /// first the rows that waited for it, then the watermark.
    pub(super) fn pass_promises(&mut self, region: usize) {
        while let Some(Reached { topic, held }) = self.logs.next_reached(region) {
            for due in held {
                self.settle((region, &topic), &due);
                self.take_results();
            }
            let (least, most) = (self.logs.least(&topic), self.logs.most(&topic));
            for source in self.tables.iter().filter(|source| source.topic == topic) {
                let (table, zero) = (source.table, Offset::default());
                if let Some(least) = least {
                    self.engine.on_watermark(table, least, zero, EventTime::MIN);
                }
                if let Some(most) = most {
                    self.engine.on_event_time(table, most, zero, EventTime::MIN);
                }
            }
            self.take_results();
        }
    }

    /// Shows a row that has waited to the tables that it waited for.
    fn settle(&mut self, (region, topic): (usize, &TopicName), due: &Due) {
        let Due { held: row, behind, settled } = due;
        let part = self.part(region, topic, row.partition, Turn::Covered);
        for source in self.tables.iter().filter(|source| source.topic == *topic) {
            let Ok(decoded) = source.decoder.decode(&row.value) else { continue };
            let own = self.engine.program().table(source.table).event_time_of(&decoded);
            let (Some(own), Judgement::Waits) = (own, row.judge(own)) else { continue };
            let standing =
                if own <= *behind { Standing::Late { behind: *behind } } else { Standing::OnTime };
            if *settled == Settled::ByBound {
                self.counts.unsettled = self.counts.unsettled.saturating_add(1);
                match standing {
                    Standing::OnTime => self.engine.on_gap(source.table, own, own),
                    // It is in no final result, but others may know of a later promise before it.
                    Standing::Late { .. } => {
                        let (zero, never) = (Offset::default(), EventTime::MIN);
                        self.engine.on_doubt(source.table, (own, own), zero, never);
                    }
                }
            }
            let origin = Origin { part, standing };
            self.engine.on_row_of(source.table, &decoded, origin, row.offset, EventTime::MIN);
        }
    }

    /// The number of a log: by region, then topic, then partition.
    fn part(
        &self,
        region: usize,
        topic: &TopicName,
        partition: PartitionIndex,
        turn: Turn,
    ) -> Part {
        debug_assert!(partition.get() < PARTITIONS_LIMIT, "partitions are bounded");
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let topic = number(self.topics.iter().position(|known| known == topic).unwrap_or_default());
        let topics = number(TOPICS_LIMIT);
        let log = number(region).saturating_mul(topics).saturating_add(topic);
        let log = log.saturating_mul(PARTITIONS_LIMIT).saturating_add(partition.get());
        let turn = match turn {
            Turn::AtOnce => 0,
            Turn::Covered => 1,
        };
        Part::new(log.saturating_mul(2).saturating_add(turn))
    }
}
