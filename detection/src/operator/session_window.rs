//! The table function SESSION: each row with the session that holds it, once that has closed.

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Operate, timestamp};
use crate::operator::cut::Header;
use crate::operator::group_key::{self, GroupKey};
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::row_list::RowList;
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::value::Value;

/// Rows until their session closes; merging as in
/// [`SessionAggregate`](super::session_aggregate::SessionAggregate).
#[derive(Debug)]
pub(crate) struct SessionWindow {
    column: usize,
    gap: i64,
    partition: Vec<usize>,
    seed: u64,
    sessions: Keyed<RowList>,
    timers: Timers,
    progress: i64,
    header: Header,
    key: Vec<u8>,
}

impl SessionWindow {
    pub(crate) fn new(column: usize, gap: i64, partition: Vec<usize>, seed: u64) -> Self {
        debug_assert!(gap > 0, "the front end checked the gap");
        Self {
            column,
            gap,
            partition,
            seed,
            sessions: Keyed::new(seed),
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    /// The start, end and length in rows of the first session of a list in order of time.
    fn first_session(&self, rows: &RowList, from: usize) -> Option<(i64, i64, usize)> {
        let (start, _) = rows.get(from)?;
        let mut end = start.saturating_add(self.gap);
        let mut length = 0;
        for (time, _) in rows.iter().skip(from) {
            if *time > end {
                break;
            }
            end = end.max(time.saturating_add(self.gap));
            length += 1;
        }
        Some((*start, end, length))
    }

    /// The end of the session that a row would be in.
    fn end_with(&self, rows: &RowList, time: i64) -> i64 {
        let mut from = 0;
        let own_end = time.saturating_add(self.gap);
        let mut end = own_end;
        while let Some((start, session_end, length)) = self.first_session(rows, from) {
            if start <= own_end && time <= session_end {
                end = end.max(session_end);
            }
            from += length.max(1);
        }
        end
    }
}

impl Operate for SessionWindow {
    fn on_row(&mut self, arriving: &Arriving<'_>, _out: &mut Emitted) -> Result<Fate, Refusal> {
        let time = arriving.time(self.column)?;
        self.key.clear();
        for column in &self.partition {
            let value = arriving.row.get(*column).unwrap_or(&Value::Null);
            group_key::encode(value, &mut self.key);
        }
        let known = self.sessions.get(&self.key);
        let end =
            known.map_or_else(|| time.saturating_add(self.gap), |rows| self.end_with(rows, time));
        if end.saturating_sub(1) <= self.progress {
            return Ok(Fate::Late(Some(EventTime::from_millis(end))));
        }
        match known {
            Some(_) => arriving.limits.admit_bytes(self.sessions.bytes())?,
            None => {
                arriving.limits.admit_key(self.sessions.len(), self.sessions.bytes())?;
                self.sessions.insert(GroupKey::new(&self.key), RowList::default());
            }
        }
        self.sessions.update(&self.key, |rows| {
            let place = rows.iter().take_while(|(at, _)| *at <= time).count();
            rows.insert(place, time, Box::from(arriving.row));
        });
        self.timers.set(end.saturating_sub(1), GroupKey::new(&self.key));
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut Emitted) {
        self.progress = watermark;
        let mut closed = Vec::new();
        while let Some((_, key)) = self.timers.pop_due(watermark) {
            while let Some(rows) = self.sessions.get(key.as_bytes())
                && let Some((start, end, length)) = self.first_session(rows, 0)
                && end.saturating_sub(1) <= watermark
            {
                self.sessions.update(key.as_bytes(), |rows| {
                    let rows: Vec<_> = (0..length).filter_map(|_| rows.remove(0)).collect();
                    closed.push((end, key.clone(), start, rows));
                });
            }
            match self.sessions.get(key.as_bytes()).map(|rows| self.first_session(rows, 0)) {
                Some(Some((_, end, _))) => self.timers.set(end.saturating_sub(1), key),
                Some(None) => drop(self.sessions.remove(key.as_bytes())),
                None => {}
            }
        }
        closed.sort_by(|(left_end, left, ..), (right_end, right, ..)| {
            (left_end, left).cmp(&(right_end, right))
        });
        for (end, _, start, rows) in closed {
            for (_, row) in rows {
                let mut row = row.into_vec();
                row.extend([timestamp(start), timestamp(end), timestamp(end.saturating_sub(1))]);
                out.rows.push(Changed::insert(row));
            }
        }
    }

    fn kept(&self) -> Kept {
        let bytes = self.sessions.bytes() + self.timers.bytes();
        Kept { keys: self.sessions.len(), bytes }
    }

    fn shape(&self) -> String {
        format!("rows of sessions {} ms, {} keys", self.gap, self.partition.len())
    }

    fn begin_cut(&mut self) {
        let progress = self.progress;
        self.header.begin(&mut self.sessions, |writer| writer.i64(progress));
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.sessions, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.sessions = Keyed::read(self.seed, &(), reader)?;
        for (key, rows) in self.sessions.iter() {
            if let Some((_, end, _)) = self.first_session(rows, 0) {
                self.timers.set(end.saturating_sub(1), key.clone());
            }
        }
        debug_assert!(self.sessions.iter().all(|(_, rows)| rows.heap_bytes() > 0));
        Ok(())
    }
}
