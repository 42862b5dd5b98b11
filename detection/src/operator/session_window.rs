//! The table function SESSION: each row with the session that holds it, once that has closed.

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Kept, Limits, Operate, timestamp,
};
use crate::operator::group_key;
use crate::operator::keyed::Progress;
use crate::operator::row_list::RowList;
use crate::operator::sessions::{OpenSessions, Place};
use crate::output::Refusal;
use crate::value::Value;

/// Rows until their session closes.
#[derive(Debug)]
pub(crate) struct SessionWindow {
    column: usize,
    gap: i64,
    partition: Vec<usize>,
    sessions: OpenSessions<RowList>,
    key: Vec<u8>,
}

impl SessionWindow {
    pub(crate) fn new(column: usize, gap: i64, partition: Vec<usize>, seed: u64) -> Self {
        let sessions = OpenSessions::new(gap, seed);
        Self { column, gap, partition, sessions, key: Vec::new() }
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
        match self.sessions.place(&self.key, time) {
            Place::Late(end) => return Ok(Fate::Late(Some(EventTime::from_millis(end)))),
            Place::Joins => arriving.limits.admit_bytes(self.sessions.bytes())?,
            Place::Opens => {
                arriving.limits.admit_key(self.sessions.len(), self.sessions.bytes())?;
            }
        }
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        let merge = |mine: &mut RowList, later| mine.append(later);
        self.sessions.add(&self.key, time, RowList::default, merge, |rows| {
            rows.insert_by_number(time, Box::from(arriving.row));
        });
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        for closed in self.sessions.close(watermark) {
            let (start, end) = (closed.start, closed.end);
            for (_, row) in closed.state.into_rows() {
                let mut row = row.into_vec();
                row.extend([timestamp(start), timestamp(end), timestamp(end.saturating_sub(1))]);
                out.rows.push(Changed::insert(row));
            }
        }
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.sessions.len(), bytes: self.sessions.bytes() }
    }

    fn shape(&self) -> String {
        format!("rows of sessions {} ms, {} keys", self.gap, self.partition.len())
    }

    fn begin_cut(&mut self) {
        self.sessions.begin_cut();
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.sessions.poll_cut(budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.sessions.read(&(), reader)
    }
}
