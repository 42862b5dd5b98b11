//! Aggregates per session and key.
//!
//! # Source
//! Flink's `MergingWindowSet`: a row is a window of its own, [time, time + gap), that merges with
//! every open one it overlaps or touches; it is late when the merged window has fired. So a row
//! behind the watermark that joins an open session is kept, and a row that touches a session that
//! has fired starts a new one.

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::operator::accumulator::Call;
use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Operate, timestamp};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::group_state::Accumulators;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::pane_aggregate::{contributions, encode_keys};
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::value::Value;

/// Aggregates per session and key.
#[derive(Debug)]
pub(crate) struct SessionAggregate {
    column: usize,
    gap: i64,
    keys: Vec<Expression>,
    calls: Vec<Call>,
    seed: u64,
    sessions: Keyed<Sessions>,
    /// Sessions over all keys.
    open: usize,
    timers: Timers,
    progress: i64,
    header: Header,
    key: Vec<u8>,
    contributions: Vec<Value>,
}

/// The open sessions of a key, apart from each other, in no order.
#[derive(Debug, Clone)]
struct Sessions(Vec<Session>);

#[derive(Debug, Clone)]
struct Session {
    start: i64,
    end: i64,
    state: Accumulators,
}

impl State for Sessions {
    type Shape = Vec<Call>;

    fn write(&self, writer: &mut Writer) {
        let mut sessions: Vec<_> = self.0.iter().collect();
        sessions.sort_unstable_by_key(|session| session.start);
        writer.length(sessions.len());
        for Session { start, end, state } in sessions {
            writer.i64(*start);
            writer.i64(*end);
            state.write(writer);
        }
    }

    fn read(calls: &Vec<Call>, reader: &mut Reader) -> Result<Self, CodecError> {
        let sessions = reader.length("sessions", reader.remaining() / 16)?;
        let sessions = (0..sessions).map(|_| {
            let (start, end) = (reader.i64("start")?, reader.i64("end")?);
            Ok(Session { start, end, state: Accumulators::read(calls, reader)? })
        });
        Ok(Self(sessions.collect::<Result<_, CodecError>>()?))
    }

    fn heap_bytes(&self) -> usize {
        let states: usize = self.0.iter().map(|session| session.state.heap_bytes()).sum();
        self.0.capacity() * size_of::<Session>() + states
    }
}

impl Sessions {
    /// What a row's window becomes once it is merged: its start and end.
    fn merged(&self, start: i64, end: i64) -> (i64, i64) {
        let touching = self.0.iter().filter(|session| touches(session, start, end));
        touching.fold((start, end), |(start, end), session| {
            (start.min(session.start), end.max(session.end))
        })
    }

    /// Merges all sessions that a row's window overlaps or touches, and says how many were there.
    fn merge(&mut self, start: i64, end: i64, calls: &[Call]) -> (usize, Session) {
        let (start_merged, end_merged) = self.merged(start, end);
        let mut state: Option<Accumulators> = None;
        let before = self.0.len();
        let mut apart = Vec::with_capacity(before);
        let mut parts = Vec::new();
        for session in self.0.drain(..) {
            if touches(&session, start, end) { parts.push(session) } else { apart.push(session) }
        }
        // By time, so that first and last values stay first and last.
        parts.sort_unstable_by_key(|session| session.start);
        for part in parts {
            match &mut state {
                None => state = Some(part.state),
                Some(state) => state.merge(calls, &part.state),
            }
        }
        let merged = before - apart.len();
        self.0 = apart;
        let state = state.unwrap_or_else(|| Accumulators::start(calls));
        (merged, Session { start: start_merged, end: end_merged, state })
    }
}

const fn touches(session: &Session, start: i64, end: i64) -> bool {
    session.start <= end && start <= session.end
}

impl SessionAggregate {
    pub(crate) fn new(
        column: usize,
        gap: i64,
        keys: Vec<Expression>,
        calls: Vec<Call>,
        seed: u64,
    ) -> Self {
        debug_assert!(gap > 0, "the front end checked the gap");
        Self {
            column,
            gap,
            keys,
            calls,
            seed,
            sessions: Keyed::new(seed),
            open: 0,
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
            contributions: Vec::new(),
        }
    }

    /// A row of keys, window_start, window_end, window_time and aggregates.
    fn row(&self, key: &GroupKey, session: &Session) -> Vec<Value> {
        let Session { start, end, state } = session;
        let mut row: Vec<Value> = key.values().collect();
        debug_assert_eq!(row.len(), self.keys.len(), "a group has every key");
        row.extend([timestamp(*start), timestamp(*end), timestamp(end.saturating_sub(1))]);
        row.extend(state.results(&self.calls));
        row
    }

    /// Takes out the sessions of a key that a watermark closes; asks again for those left.
    fn close(&mut self, key: &GroupKey, watermark: i64, closed: &mut Vec<(GroupKey, Session)>) {
        let mut left = None;
        self.sessions.update(key.as_bytes(), |Sessions(sessions)| {
            let mut index = 0;
            while let Some(session) = sessions.get(index) {
                if session.end.saturating_sub(1) <= watermark {
                    closed.push((key.clone(), sessions.swap_remove(index)));
                } else {
                    index += 1;
                }
            }
            left = sessions.iter().map(|session| session.end).min();
        });
        match left {
            Some(end) => self.timers.set(end.saturating_sub(1), key.clone()),
            None => {
                self.sessions.remove(key.as_bytes());
            }
        }
    }
}

impl Operate for SessionAggregate {
    fn on_row(&mut self, arriving: &Arriving<'_>, _out: &mut Emitted) -> Result<Fate, Refusal> {
        let start = arriving.time(self.column)?;
        let end = start.saturating_add(self.gap);
        self.key.clear();
        encode_keys(&self.keys, arriving.row, &mut self.key)?;
        contributions(&self.calls, arriving.row, &mut self.contributions)?;
        let known = self.sessions.get(&self.key);
        let (_, merged_end) = known.map_or((start, end), |sessions| sessions.merged(start, end));
        if merged_end.saturating_sub(1) <= self.progress {
            return Ok(Fate::Late(Some(EventTime::from_millis(merged_end))));
        }
        let is_known = known.is_some();
        let joins = known
            .is_some_and(|Sessions(open)| open.iter().any(|session| touches(session, start, end)));
        if !joins {
            arriving.limits.admit_key(self.open, self.kept().bytes)?;
            self.timers.set(merged_end.saturating_sub(1), GroupKey::new(&self.key));
        }
        if !is_known {
            self.sessions.insert(GroupKey::new(&self.key), Sessions(Vec::new()));
        }
        let (calls, contributions) = (&self.calls, &self.contributions);
        let merged = self.sessions.update(&self.key, |sessions| {
            let (merged, mut session) = sessions.merge(start, end, calls);
            session.state.add(calls, contributions);
            sessions.0.push(session);
            merged
        });
        self.open = (self.open + 1).saturating_sub(merged.unwrap_or(0));
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut Emitted) {
        self.progress = watermark;
        let mut closed = Vec::new();
        while let Some((_, key)) = self.timers.pop_due(watermark) {
            self.close(&key, watermark, &mut closed);
        }
        debug_assert!(self.open >= closed.len(), "the count covers every session");
        self.open -= closed.len();
        closed.sort_unstable_by(|(left_key, left), (right_key, right)| {
            (left.end, left_key, left.start).cmp(&(right.end, right_key, right.start))
        });
        let rows = closed.iter().map(|(key, session)| Changed::insert(self.row(key, session)));
        out.rows.extend(rows);
    }

    fn kept(&self) -> Kept {
        Kept { keys: self.open, bytes: self.sessions.bytes() + self.timers.bytes() }
    }

    fn shape(&self) -> String {
        let calls = self.calls.iter().map(Call::shape).collect::<Vec<_>>();
        format!("sessions {} ms, {} keys, {}", self.gap, self.keys.len(), calls.join(", "))
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
        self.sessions = Keyed::read(self.seed, &self.calls, reader)?;
        for (key, Sessions(sessions)) in self.sessions.iter() {
            self.open += sessions.len();
            if let Some(end) = sessions.iter().map(|session| session.end).min() {
                self.timers.set(end.saturating_sub(1), key.clone());
            }
        }
        Ok(())
    }
}
