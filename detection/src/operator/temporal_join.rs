//! Temporal join: each left row with the right side's version at its time.
//!
//! A left row waits until the watermark of both sides has reached it, since until then its version
//! may still come.
//!
//! # Source
//! Flink's `TemporalRowTimeJoinOperator`: a late left row is joined with what versions are left.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Limits, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::over::{read_values, retention_shape, values_bytes, write_values};
use crate::operator::pairing::{Pairing, Side};
use crate::operator::row_list::{KeptRow, RowList};
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::value::Value;

/// Each left row with the right side's version at its time.
#[derive(Debug)]
pub(crate) struct TemporalJoin {
    pairing: Pairing,
    left_time: usize,
    right_time: usize,
    seed: u64,
    keys: Keyed<Versions>,
    /// For how long a key is kept behind its last version and row, in milliseconds.
    retention: i64,
    timers: Timers,
    progress: i64,
    header: Header,
    key: Vec<u8>,
}

/// The left rows that wait and the versions of the right side, by time; none is a deletion.
#[derive(Debug, Clone, Default)]
struct Versions {
    waiting: RowList,
    versions: BTreeMap<i64, Option<KeptRow>>,
    /// The earliest version that came behind the watermark since the key was last looked at.
    late: Option<i64>,
    /// The latest time of a row of either side.
    latest: Option<i64>,
    /// The timer that is set for when the key may be too old: one, however many rows there were.
    /// When it comes and there was a later row, it is set anew.
    expiry: Option<i64>,
    bytes: usize,
}

impl Versions {
    fn put(&mut self, time: i64, row: Option<KeptRow>) {
        let bytes = |row: &Option<KeptRow>| 48 + row.as_ref().map_or(0, |row| values_bytes(row));
        self.bytes += bytes(&row);
        if let Some(old) = self.versions.insert(time, row) {
            self.bytes = self.bytes.saturating_sub(bytes(&old));
        }
    }

    /// Forgets versions that a later one at or before the watermark has replaced.
    fn forget(&mut self, watermark: i64) {
        let Some(current) = self.versions.range(..=watermark).next_back().map(|(time, _)| *time)
        else {
            return;
        };
        let kept = self.versions.split_off(&current);
        self.versions.clear();
        self.bytes = 0;
        for (time, row) in kept {
            self.put(time, row);
        }
    }
}

impl State for Versions {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self { waiting, versions, late, latest, expiry: _, bytes: _ } = self;
        waiting.write(writer);
        for time in [late, latest] {
            writer.u8(u8::from(time.is_some()));
            writer.i64(time.unwrap_or_default());
        }
        writer.length(versions.len());
        for (time, row) in versions {
            writer.i64(*time);
            writer.u8(u8::from(row.is_some()));
            write_values(row.as_deref().unwrap_or_default(), writer);
        }
    }

    fn read(_shape: &(), reader: &mut Reader) -> Result<Self, CodecError> {
        let waiting = RowList::read(&(), reader)?;
        let mut time = |field| {
            let is_there = reader.u8(field)? != 0;
            let time = reader.i64(field)?;
            Ok::<_, CodecError>(is_there.then_some(time))
        };
        let (late, latest) = (time("late")?, time("latest")?);
        let mut versions = Self { waiting, late, latest, ..Self::default() };
        for _ in 0..reader.length("versions", reader.remaining() / 13)? {
            let time = reader.i64("time")?;
            let is_there = reader.u8("version")? != 0;
            let row = read_values(reader)?;
            versions.put(time, is_there.then_some(row));
        }
        Ok(versions)
    }

    fn heap_bytes(&self) -> usize {
        self.waiting.heap_bytes() + self.bytes
    }
}

impl TemporalJoin {
    pub(crate) fn new(
        pairing: Pairing,
        (left_time, right_time): (usize, usize),
        retention: i64,
        seed: u64,
    ) -> Self {
        Self {
            pairing,
            left_time,
            right_time,
            seed,
            keys: Keyed::new(seed),
            retention,
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }
}

impl TemporalJoin {
    fn emit(&self, row: &[Value], version: Option<&[Value]>, out: &mut Emitted) {
        let pair = match version {
            Some(version) => self.pairing.pair(Side::Left, row, version),
            None => Ok(None),
        };
        match pair {
            Ok(Some(pair)) => out.rows.push(Changed::insert(pair)),
            Ok(None) => {
                let alone = self.pairing.alone(Side::Left, row);
                out.rows.extend(alone.map(Changed::insert));
            }
            Err(refusal) => out.failures.push(refusal),
        }
    }

    /// Lets go of a key that has neither rows nor versions, or whose last row is too long ago.
    fn release(&mut self, key: GroupKey, watermark: i64) {
        let Some(versions) = self.keys.get(key.as_bytes()) else { return };
        let armed = versions.expiry;
        let latest = versions.latest.unwrap_or(watermark);
        let expiry = latest.saturating_add(self.retention);
        let is_bounded = self.retention < i64::MAX;
        let is_over = is_bounded && expiry <= watermark;
        if versions.waiting.is_empty() && (versions.versions.is_empty() || is_over) {
            self.keys.remove(key.as_bytes());
            if let Some(armed) = armed {
                self.timers.unset(armed, key);
            }
        } else if is_bounded && expiry > watermark && armed.is_none() {
            self.set_expiry(expiry, key);
        }
    }

    fn set_expiry(&mut self, expiry: i64, key: GroupKey) {
        self.keys.update(key.as_bytes(), |versions| versions.expiry = Some(expiry));
        self.timers.set(expiry, key);
    }
}

impl Operate for TemporalJoin {
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal> {
        let side = Side::of(arriving.port);
        let time = arriving.time(match side {
            Side::Left => self.left_time,
            Side::Right => self.right_time,
        })?;
        self.key.clear();
        if !self.pairing.encode_key(side, arriving.row, &mut self.key)? {
            if !arriving.is_trial() {
                out.rows.extend(self.pairing.alone(side, arriving.row).map(Changed::insert));
            }
            return Ok(Fate::Taken);
        }
        self.keys.admit(&self.key, arriving.limits)?;
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        self.keys.open(&self.key);
        let progress = self.progress;
        self.keys.update(&self.key, |versions| {
            versions.latest = versions.latest.max(Some(time));
            match side {
                Side::Left => versions.waiting.push(time, Box::from(arriving.row)),
                Side::Right => {
                    if time <= progress {
                        versions.late = Some(versions.late.map_or(time, |late| late.min(time)));
                    }
                    let row = arriving.is_added().then(|| Box::from(arriving.row));
                    versions.put(time, row);
                }
            }
        });
        // A version is looked at when the watermark reaches it, to forget the one before.
        self.timers.set(time, GroupKey::new(&self.key));
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        self.progress = watermark;
        while let Some((time, key)) = self.timers.pop_due(watermark) {
            let joined = self.keys.update(key.as_bytes(), |versions| {
                versions.expiry = versions.expiry.filter(|expiry| *expiry > time);
                let mut due = versions.waiting.take_up_to(watermark);
                due.sort_by_key(|(time, _)| *time);
                let joined = due.into_iter().map(|(time, row)| {
                    let version = versions.versions.range(..=time).next_back();
                    (row, version.and_then(|(_, version)| version.clone()))
                });
                let joined: Vec<_> = joined.collect();
                versions.forget(watermark);
                versions.late = None;
                joined
            });
            for (row, version) in joined.unwrap_or_default() {
                self.emit(&row, version.as_deref(), out);
            }
            self.release(key, watermark);
        }
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.keys.len(), bytes: self.keys.bytes() + self.timers.bytes() }
    }

    fn shape(&self) -> String {
        format!("temporal join{}, {}", retention_shape(self.retention), self.pairing.shape())
    }

    fn begin_cut(&mut self) {
        let progress = self.progress;
        self.header.begin(&mut self.keys, |writer| writer.i64(progress));
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.keys, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.keys = Keyed::read(self.seed, &(), reader)?;
        for (key, versions) in self.keys.iter() {
            let waiting = versions.waiting.iter().map(|(time, _)| *time);
            let coming = versions.versions.keys().copied().filter(|time| *time > self.progress);
            for time in waiting.chain(coming).chain(versions.late) {
                self.timers.set(time, key.clone());
            }
        }
        if self.retention < i64::MAX {
            let latest = self.keys.iter().map(|(key, versions)| (versions.latest, key.clone()));
            for (latest, key) in latest.collect::<Vec<_>>() {
                let Some(latest) = latest else { continue };
                self.set_expiry(latest.saturating_add(self.retention), key);
            }
        }
        Ok(())
    }
}
