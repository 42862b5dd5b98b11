//! Aggregates per session and key.

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::operator::accumulator::Call;
use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Kept, Limits, Operate, timestamp,
};
use crate::operator::group_state::{Accumulators, may_grow};
use crate::operator::keyed::Progress;
use crate::operator::pane_aggregate::{contributions, encode_keys};
use crate::operator::sessions::{Closed, OpenSessions, Place};
use crate::output::Refusal;
use crate::value::Value;

/// Aggregates per session and key.
#[derive(Debug)]
pub(crate) struct SessionAggregate {
    column: usize,
    gap: i64,
    keys: Vec<Expression>,
    calls: Vec<Call>,
    sessions: OpenSessions<Accumulators>,
    key: Vec<u8>,
    contributions: Vec<Value>,
}

impl SessionAggregate {
    pub(crate) fn new(
        column: usize,
        gap: i64,
        keys: Vec<Expression>,
        calls: Vec<Call>,
        seed: u64,
    ) -> Self {
        let sessions = OpenSessions::new(gap, seed);
        let (key, contributions) = (Vec::new(), Vec::new());
        Self { column, gap, keys, calls, sessions, key, contributions }
    }

    /// A row of keys, window_start, window_end, window_time and aggregates.
    fn row(&self, session: &Closed<Accumulators>) -> Vec<Value> {
        let Closed { key, start, end, state } = session;
        let mut row: Vec<Value> = key.values().collect();
        debug_assert_eq!(row.len(), self.keys.len(), "a group has every key");
        row.extend([timestamp(*start), timestamp(*end), timestamp(end.saturating_sub(1))]);
        row.extend(state.results(&self.calls));
        row
    }
}

impl Operate for SessionAggregate {
    fn on_row(&mut self, arriving: &Arriving<'_>, _out: &mut Emitted) -> Result<Fate, Refusal> {
        let time = arriving.time(self.column)?;
        self.key.clear();
        encode_keys(&self.keys, arriving.row, &mut self.key)?;
        contributions(&self.calls, arriving.row, &mut self.contributions)?;
        match self.sessions.place(&self.key, time) {
            Place::Late(end) => return Ok(Fate::Late(Some(EventTime::from_millis(end)))),
            Place::Joins if may_grow(&self.calls) => {
                arriving.limits.admit_bytes(self.sessions.bytes())?;
            }
            Place::Joins => {}
            Place::Opens => {
                arriving.limits.admit_key(self.sessions.len(), self.sessions.bytes())?;
            }
        }
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        let (calls, contributions) = (&self.calls, &self.contributions);
        let merge = |mine: &mut Accumulators, later: Accumulators| mine.merge(calls, &later);
        let start = || Accumulators::start(calls);
        self.sessions.add(&self.key, time, start, merge, |state| state.add(calls, contributions));
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        let closed = self.sessions.close(watermark);
        out.rows.extend(closed.iter().map(|session| Changed::insert(self.row(session))));
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.sessions.len(), bytes: self.sessions.bytes() }
    }

    fn shape(&self) -> String {
        let calls = self.calls.iter().map(Call::shape).collect::<Vec<_>>();
        format!("sessions {} ms, {} keys, {}", self.gap, self.keys.len(), calls.join(", "))
    }

    fn begin_cut(&mut self) {
        self.sessions.begin_cut();
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.sessions.poll_cut(budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.sessions.read(&self.calls, reader)
    }
}
