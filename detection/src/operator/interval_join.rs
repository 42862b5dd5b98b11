//! Interval join: rows of two sides whose times are near each other.
//!
//! # Source
//! Flink's `TimeIntervalJoin`, down to when a row is let go of, since that decides which late rows
//! still find a partner: a side's rows are let go of by a timer just after the last partner could
//! come (`table.exec.interval-join.min-cleanup-interval` is 0 since Flink 1.18), and whenever a row
//! of the other side looks through them.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Limits, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::over::{read_values, values_bytes, write_values};
use crate::operator::pairing::{Pairing, Side};
use crate::operator::row_list::KeptRow;
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::value::Value;

/// Rows of two sides whose times are near each other.
#[derive(Debug)]
pub(crate) struct IntervalJoin {
    pairing: Pairing,
    left_time: usize,
    right_time: usize,
    /// How far behind a left row the right row may be, and the other way round.
    reach: Reach,
    seed: u64,
    keys: Keyed<Sides>,
    timers: Timers,
    watermark: i64,
    /// Rows at or before these times have been let go of, at least where somebody looked.
    left_expired: i64,
    right_expired: i64,
    header: Header,
    key: Vec<u8>,
}

/// For how long rows of each side may find a partner, in milliseconds; may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    left: i64,
    right: i64,
}

impl Reach {
    const fn of(self, side: Side) -> i64 {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }
}

/// The rows of a key by side, with the time each side is next let go of.
#[derive(Debug, Clone, Default)]
struct Sides {
    left: Rows,
    right: Rows,
}

#[derive(Debug, Clone, Default)]
struct Rows {
    /// By time, each with whether it found a partner.
    times: BTreeMap<i64, Vec<(KeptRow, bool)>>,
    timer: Option<i64>,
    bytes: usize,
}

impl Sides {
    const fn of(&mut self, side: Side) -> &mut Rows {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }
}

impl Rows {
    fn add(&mut self, time: i64, row: &[Value], is_paired: bool) {
        self.bytes += values_bytes(row) + size_of::<(KeptRow, bool)>();
        self.times.entry(time).or_default().push((Box::from(row), is_paired));
    }

    /// Lets go of rows up to a time; appends those that found no partner.
    fn expire(&mut self, up_to: i64, alone: &mut Vec<KeptRow>) {
        while let Some(entry) = self.times.first_entry()
            && *entry.key() <= up_to
        {
            for (row, is_paired) in entry.remove() {
                self.bytes =
                    self.bytes.saturating_sub(values_bytes(&row) + size_of::<(KeptRow, bool)>());
                if !is_paired {
                    alone.push(row);
                }
            }
        }
    }

    fn write(&self, writer: &mut Writer) {
        let Self { times, timer, bytes: _ } = self;
        writer.length(times.len());
        for (time, rows) in times {
            writer.i64(*time);
            writer.length(rows.len());
            for (row, is_paired) in rows {
                writer.u8(u8::from(*is_paired));
                write_values(row, writer);
            }
        }
        writer.u8(u8::from(timer.is_some()));
        writer.i64(timer.unwrap_or_default());
    }

    fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let mut side = Self::default();
        for _ in 0..reader.length("times", reader.remaining() / 12)? {
            let time = reader.i64("time")?;
            for _ in 0..reader.length("rows", reader.remaining() / 5)? {
                let is_paired = reader.u8("paired")? != 0;
                side.add(time, &read_values(reader)?, is_paired);
            }
        }
        let is_set = reader.u8("timer")? != 0;
        let timer = reader.i64("timer")?;
        side.timer = is_set.then_some(timer);
        Ok(side)
    }
}

impl State for Sides {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self { left, right } = self;
        left.write(writer);
        right.write(writer);
    }

    fn read(_shape: &(), reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self { left: Rows::read(reader)?, right: Rows::read(reader)? })
    }

    fn heap_bytes(&self) -> usize {
        self.left.bytes + self.right.bytes
    }
}

impl IntervalJoin {
    /// Joins rows with `right.time` within `left.time + [lower, upper]`.
    pub(crate) fn new(
        pairing: Pairing,
        times: (usize, usize),
        (lower, upper): (i64, i64),
        seed: u64,
    ) -> Self {
        let (left_time, right_time) = times;
        Self {
            pairing,
            left_time,
            right_time,
            reach: Reach { left: upper, right: lower.saturating_neg() },
            seed,
            keys: Keyed::new(seed),
            timers: Timers::default(),
            watermark: i64::MIN,
            left_expired: i64::MIN,
            right_expired: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    const fn expired(&mut self, side: Side) -> &mut i64 {
        match side {
            Side::Left => &mut self.left_expired,
            Side::Right => &mut self.right_expired,
        }
    }

    /// Up to which time rows of a side can find no partner any more.
    const fn expiry(&self, side: Side) -> i64 {
        if self.watermark == i64::MAX {
            return i64::MAX;
        }
        self.watermark.saturating_sub(self.reach.of(side)).saturating_sub(1)
    }

    fn emit_alone(&self, side: Side, rows: &[KeptRow], out: &mut Emitted) {
        let alone = rows.iter().filter_map(|row| self.pairing.alone(side, row));
        out.rows.extend(alone.map(Changed::insert));
    }

    /// Pairs a row with what the other side keeps; whether it found a partner.
    fn join(
        &mut self,
        side: Side,
        time: i64,
        arriving: &Arriving<'_>,
        out: &mut Emitted,
    ) -> Result<bool, Refusal> {
        let other = side.other();
        let first = time.saturating_sub(self.reach.of(other));
        let last = time.saturating_add(self.reach.of(side));
        if *self.expired(other) >= last || first > last {
            return Ok(false);
        }
        let expiry = self.expiry(other);
        let mut pairs = Vec::new();
        let mut looked_at = 0;
        let Some(known) = self.keys.get(&self.key) else {
            if !arriving.is_trial() {
                *self.expired(other) = expiry;
            }
            return Ok(false);
        };
        let rows = match other {
            Side::Left => &known.left,
            Side::Right => &known.right,
        };
        for (at, rows) in rows.times.range(first..=last) {
            for (index, (partner, _)) in rows.iter().enumerate() {
                looked_at += 1;
                arriving.limits.admit_work(looked_at)?;
                if let Some(pair) = self.pairing.pair(side, arriving.row, partner)? {
                    pairs.push((*at, index, pair));
                }
            }
        }
        if arriving.is_trial() {
            return Ok(false);
        }
        *self.expired(other) = expiry;
        let is_paired = !pairs.is_empty();
        let gives_pairs = self.pairing.gives_pairs();
        let mut semi = Vec::new();
        let mut alone = Vec::new();
        self.keys.update(&self.key, |sides| {
            let rows = sides.of(other);
            for (at, index, pair) in pairs {
                let partner = rows.times.get_mut(&at).and_then(|rows| rows.get_mut(index));
                if let Some((partner, was_paired)) = partner {
                    if side == Side::Right && !*was_paired {
                        semi.extend(self.pairing.semi(partner));
                    }
                    *was_paired = true;
                }
                if gives_pairs {
                    out.rows.push(Changed::insert(pair));
                }
            }
            rows.expire(expiry, &mut alone);
        });
        out.rows.extend(semi.into_iter().map(Changed::insert));
        if is_paired && side == Side::Left {
            out.rows.extend(self.pairing.semi(arriving.row).map(Changed::insert));
        }
        self.emit_alone(other, &alone, out);
        Ok(is_paired)
    }

    /// Keeps a row until its last partner could have come.
    fn keep(&mut self, side: Side, time: i64, arriving: &Arriving<'_>, is_paired: bool) {
        self.keys.open(&self.key);
        let timer = self.timer_of(side, time);
        let is_set = self.keys.update(&self.key, |sides| {
            let rows = sides.of(side);
            rows.add(time, arriving.row, is_paired);
            let is_set = rows.timer.is_none();
            rows.timer.get_or_insert(timer);
            is_set
        });
        if is_set == Some(true) {
            self.timers.set(timer, GroupKey::new(&self.key));
        }
    }

    fn timer_of(&self, side: Side, time: i64) -> i64 {
        time.saturating_add(self.reach.of(side)).saturating_add(1)
    }

    /// Lets go of a side's rows whose timer it is.
    fn let_go(&mut self, side: Side, timer: i64, key: &GroupKey, out: &mut Emitted) {
        let expiry = self.expiry(side);
        let mut alone = Vec::new();
        let earliest = self.keys.update(key.as_bytes(), |sides| {
            let rows = sides.of(side);
            if rows.timer != Some(timer) {
                return None;
            }
            rows.expire(expiry, &mut alone);
            rows.timer = None;
            Some(rows.times.first_key_value().map(|(time, _)| *time))
        });
        let Some(Some(earliest)) = earliest else { return };
        *self.expired(side) = expiry;
        if let Some(time) = earliest {
            let timer = self.timer_of(side, time);
            self.keys.update(key.as_bytes(), |sides| sides.of(side).timer = Some(timer));
            self.timers.set(timer, key.clone());
        }
        self.emit_alone(side, &alone, out);
    }
}

impl Operate for IntervalJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let side = Side::of(arriving.port);
        let time = arriving.time(match side {
            Side::Left => self.left_time,
            Side::Right => self.right_time,
        })?;
        self.key.clear();
        if !self.pairing.encode_key(side, arriving.row, &mut self.key)? {
            if !arriving.is_trial() {
                self.emit_alone(side, &[Box::from(arriving.row)], out);
            }
            return Ok(Fate::Taken);
        }
        let last = time.saturating_add(self.reach.of(side));
        if self.watermark < last {
            self.keys.admit(&self.key, arriving.limits)?;
        }
        let is_paired = self.join(side, time, arriving, out)?;
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        if self.watermark < last {
            self.keep(side, time, arriving, is_paired);
        } else if !is_paired {
            self.emit_alone(side, &[Box::from(arriving.row)], out);
            return Ok(Fate::Late(None));
        }
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        self.watermark = watermark;
        while let Some((timer, key)) = self.timers.pop_due(watermark) {
            self.let_go(Side::Right, timer, &key, out);
            self.let_go(Side::Left, timer, &key, out);
            let is_empty = self
                .keys
                .get(key.as_bytes())
                .is_some_and(|sides| sides.left.times.is_empty() && sides.right.times.is_empty());
            if is_empty {
                self.keys.remove(key.as_bytes());
            }
        }
    }

    fn holds_back(&self) -> i64 {
        self.reach.left.max(self.reach.right).max(0)
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.keys.len(), bytes: self.keys.bytes() + self.timers.bytes() }
    }

    fn shape(&self) -> String {
        format!("interval join {:?}, {}", self.reach, self.pairing.shape())
    }

    fn begin_cut(&mut self) {
        let numbers = [self.watermark, self.left_expired, self.right_expired];
        self.header.begin(&mut self.keys, |writer| {
            numbers.into_iter().for_each(|number| writer.i64(number));
        });
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.keys, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.watermark = reader.i64("watermark")?;
        self.left_expired = reader.i64("left expired")?;
        self.right_expired = reader.i64("right expired")?;
        self.keys = Keyed::read(self.seed, &(), reader)?;
        for (key, sides) in self.keys.iter() {
            for timer in [sides.left.timer, sides.right.timer].into_iter().flatten() {
                self.timers.set(timer, key.clone());
            }
        }
        Ok(())
    }
}
