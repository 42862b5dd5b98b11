//! Top-N and deduplication: which rows of a partition stay.
//!
//! Without a window each row changes the ranks at once, as Flink's changelog: with the rank as a
//! column every place that holds another row is updated, without it rows leave and come. With a
//! window rows come out when the watermark closes it.

use std::cmp::Ordering;

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Limits, Operate, time_of};
use crate::operator::cut::Header;
use crate::operator::group_key::{self, GroupKey};
use crate::operator::keyed::{Keyed, Progress};
use crate::operator::pane_aggregate::{encode_keys, replaced};
use crate::operator::row_list::{KeptRow, RowList};
use crate::operator::timers::Timers;
use crate::output::{Change, Refusal};
use crate::relation::{
    Changes, Deduplicate, Direction, Keep, Nulls, Order, RankColumn, RankKind, TopN, WindowColumns,
};
use crate::value::Value;

/// Rows of a partition whose rank is within bounds.
#[derive(Debug)]
pub(crate) struct Ranking {
    partition: Vec<Expression>,
    order: Vec<Order>,
    rank: RankKind,
    first: usize,
    last: usize,
    rank_column: RankColumn,
    window: Option<WindowColumns>,
    /// Whether rows come to be taken back: then those beyond the last rank must be kept too.
    changes: Changes,
    /// Of rows with equal order, whether the later one comes first.
    ties: Ties,
    seed: u64,
    /// Per partition its rows in order; the number of a row is how late it came.
    partitions: Keyed<RowList>,
    arrivals: i64,
    timers: Timers,
    progress: i64,
    header: Header,
    key: Vec<u8>,
}

/// Which of two rows of equal order stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ties {
    Earlier,
    Later,
}

impl Ranking {
    pub(crate) fn top_n(plan: &TopN, changes: Changes, seed: u64) -> Self {
        let (first, last) = plan.range;
        Self {
            partition: plan.partition.iter().map(|key| key.expression.clone()).collect(),
            order: plan.order.clone(),
            rank: plan.rank,
            first: usize::try_from(first).unwrap_or(usize::MAX).max(1),
            last: usize::try_from(last).unwrap_or(usize::MAX),
            rank_column: plan.rank_column,
            window: plan.window,
            changes,
            ties: Ties::Earlier,
            seed,
            partitions: Keyed::new(seed),
            arrivals: 0,
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    /// The first or last row by time is the first rank by time: of equal times the first that came
    /// stays first, and the last that came is last.
    pub(crate) fn deduplicate(plan: &Deduplicate, changes: Changes, seed: u64) -> Self {
        let (direction, ties) = match plan.keep {
            Keep::First => (Direction::Ascending, Ties::Earlier),
            Keep::Last => (Direction::Descending, Ties::Later),
        };
        let time =
            Order { expression: Expression::Column(plan.time), direction, nulls: Nulls::Last };
        let top = TopN {
            input: plan.input.clone(),
            partition: plan.keys.clone(),
            order: vec![time],
            rank: RankKind::RowNumber,
            range: (1, 1),
            // One place that another row takes is an update, not a row that leaves and one that
            // comes; its rank is cut off again.
            rank_column: RankColumn::Left,
            window: plan.window,
        };
        Self { ties, ..Self::top_n(&top, changes, seed) }
    }

    /// The order of two rows by the plan's keys; evaluated rows never fail again.
    fn compare(&self, left: &[Value], right: &[Value]) -> Ordering {
        for Order { expression, direction, nulls } in &self.order {
            let (Ok(left), Ok(right)) = (expression.evaluate(left), expression.evaluate(right))
            else {
                return Ordering::Equal;
            };
            let order = match (left.is_null(), right.is_null(), nulls) {
                (true, true, _) => Ordering::Equal,
                (true, false, Nulls::First) | (false, true, Nulls::Last) => Ordering::Less,
                (true, false, Nulls::Last) | (false, true, Nulls::First) => Ordering::Greater,
                (false, false, _) => match direction {
                    Direction::Ascending => left.cmp(&right),
                    Direction::Descending => right.cmp(&left),
                },
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }

    /// Where a row stands among those of its partition.
    fn place_of(&self, rows: &RowList, row: &[Value]) -> usize {
        let mut places = 0..rows.len();
        while !places.is_empty() {
            let middle = places.start + places.len() / 2;
            let Some((_, other)) = rows.get(middle) else { break };
            let is_behind = match self.compare(row, other) {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal => self.ties == Ties::Earlier,
            };
            if is_behind {
                places.start = middle + 1;
            } else {
                places.end = middle;
            }
        }
        places.start
    }

    /// The rows of a partition that stay, with their ranks.
    fn visible<'a>(&'a self, rows: &'a RowList) -> Vec<(i64, &'a KeptRow)> {
        let mut visible = Vec::new();
        let (mut rank, mut dense) = (0, 0);
        let mut before: Option<&KeptRow> = None;
        for (number, (_, row)) in (1_usize..).zip(rows.iter()) {
            let is_tied = before.is_some_and(|before| self.compare(before, row).is_eq());
            if !is_tied {
                (rank, dense) = (number, dense + 1);
            }
            before = Some(row);
            let place = match self.rank {
                RankKind::RowNumber => number,
                RankKind::Rank => rank,
                RankKind::DenseRank => dense,
            };
            if place > self.last {
                break;
            }
            if place >= self.first {
                visible.push((i64::try_from(place).unwrap_or(i64::MAX), row));
            }
        }
        visible
    }

    fn row(&self, (rank, row): (i64, &KeptRow)) -> Vec<Value> {
        let mut values = Vec::with_capacity(row.len() + 1);
        values.extend_from_slice(row);
        match self.rank_column {
            RankColumn::Appended => values.push(Value::Integer(rank)),
            RankColumn::Left => {}
        }
        values
    }

    fn rows(&self, key: &[u8]) -> Vec<Vec<Value>> {
        let rows = self.partitions.get(key);
        let visible = rows.map(|rows| self.visible(rows)).unwrap_or_default();
        visible.into_iter().map(|ranked| self.row(ranked)).collect()
    }

    /// Puts a row in or takes an equal one out, and drops what can never be visible.
    fn change(&mut self, arriving: &Arriving<'_>) {
        let key = std::mem::take(&mut self.key);
        self.arrivals += 1;
        let place = self.partitions.get(&key).map(|rows| {
            if arriving.is_added() {
                Some(self.place_of(rows, arriving.row))
            } else {
                rows.iter().position(|(_, row)| **row == *arriving.row)
            }
        });
        let arrivals = self.arrivals;
        let bound = self.bound();
        let is_empty = self.partitions.update(&key, |rows| {
            match place.flatten() {
                Some(place) if arriving.is_added() => {
                    rows.insert(place, arrivals, Box::from(arriving.row));
                    if rows.len() > bound {
                        rows.remove(bound);
                    }
                }
                Some(place) => {
                    rows.remove(place);
                }
                None => {}
            }
            rows.is_empty()
        });
        if is_empty == Some(true) {
            self.partitions.remove(&key);
        }
        self.key = key;
    }

    /// Beyond how many rows one can never be seen: ties share a rank, so that only row numbers
    /// say, and only while nothing is taken back.
    const fn bound(&self) -> usize {
        match (self.changes, self.rank) {
            (Changes::Append, RankKind::RowNumber) => self.last,
            _ => usize::MAX,
        }
    }

    /// What turns the rows seen before into those seen now.
    fn differences(&self, before: Vec<Vec<Value>>, after: Vec<Vec<Value>>, out: &mut Emitted) {
        let is_one_place = self.first == self.last;
        if self.rank_column == RankColumn::Appended || is_one_place {
            let (mut before, mut after) = (before.into_iter(), after.into_iter());
            loop {
                let (old, new) = (before.next(), after.next());
                if old.is_none() && new.is_none() {
                    return;
                }
                out.rows.extend(replaced(old, new));
            }
        }
        let mut added = after;
        for row in before {
            match added.iter().position(|new| *new == row) {
                Some(index) => {
                    added.remove(index);
                }
                None => out.rows.push(Changed::of(Change::Delete, row)),
            }
        }
        out.rows.extend(added.into_iter().map(Changed::insert));
    }
}

impl Operate for Ranking {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        self.key.clear();
        if let Some(window) = self.window {
            let end = arriving.time(window.end)?;
            if end.saturating_sub(1) <= self.progress {
                return Ok(Fate::Late(Some(EventTime::from_millis(end))));
            }
            // The end goes first, so that partitions sort by window.
            let end = Value::Timestamp(EventTime::from_millis(end));
            group_key::encode(&end, &mut self.key);
        }
        encode_keys(&self.partition, arriving.row, &mut self.key)?;
        for Order { expression, .. } in &self.order {
            expression.evaluate(arriving.row).map_err(Refusal::Evaluation)?;
        }
        if self.partitions.get(&self.key).is_none() {
            if !arriving.is_added() {
                return Ok(Fate::Taken);
            }
            arriving.limits.admit_key(self.partitions.len(), self.partitions.bytes())?;
            if arriving.is_trial() {
                return Ok(Fate::Taken);
            }
            self.partitions.insert(GroupKey::new(&self.key), RowList::default());
            if let Some(end) = self.window.and_then(|window| time_of(arriving.row, window.end)) {
                self.timers.set(end.saturating_sub(1), GroupKey::new(&self.key));
            }
        } else if self.bound() == usize::MAX {
            arriving.limits.admit_bytes(self.partitions.bytes())?;
        }
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        if self.window.is_some() {
            self.change(arriving);
        } else {
            let before = self.rows(&self.key);
            self.change(arriving);
            let after = self.rows(&self.key);
            self.differences(before, after, out);
        }
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        self.progress = watermark;
        while let Some((_, key)) = self.timers.pop_due(watermark) {
            out.rows.extend(self.rows(key.as_bytes()).into_iter().map(Changed::insert));
            self.partitions.remove(key.as_bytes());
        }
    }

    fn kept(&self) -> Kept {
        let bytes = self.partitions.bytes() + self.timers.bytes();
        Kept { keys: self.partitions.len(), bytes }
    }

    fn shape(&self) -> String {
        let (first, last) = (self.first, self.last);
        let (rank, changes, keys) = (self.rank, self.changes, self.partition.len());
        format!("{rank:?} {first} to {last} of {keys} keys, {changes:?}, {:?}", self.order)
    }

    fn begin_cut(&mut self) {
        let (progress, arrivals) = (self.progress, self.arrivals);
        self.header.begin(&mut self.partitions, |writer| {
            writer.i64(progress);
            writer.i64(arrivals);
        });
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.partitions, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.arrivals = reader.i64("arrivals")?;
        self.partitions = Keyed::read(self.seed, &(), reader)?;
        let Some(window) = self.window else { return Ok(()) };
        for (key, rows) in self.partitions.iter() {
            if let Some(end) = rows.get(0).and_then(|(_, row)| time_of(row, window.end)) {
                self.timers.set(end.saturating_sub(1), key.clone());
            }
        }
        Ok(())
    }
}
