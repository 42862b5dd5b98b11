//! Open sessions per key: windows that grow with their rows, merge, and close with the watermark.
//!
//! # Source
//! Flink's `MergingWindowSet`: a row is a window of its own, [time, time + gap), that merges with
//! every open one it overlaps or touches; it is late when the merged window has fired. So a row
//! behind the watermark that joins an open session is kept, and a row that touches a session that
//! has fired starts a new one.

use std::ops::Range;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::timers::Timers;

/// The open sessions of all keys; a session keeps an `S` of its rows.
#[derive(Debug)]
pub(crate) struct OpenSessions<S: State> {
    gap: i64,
    seed: u64,
    keys: Keyed<Sessions<S>>,
    /// Sessions over all keys.
    open: usize,
    timers: Timers,
    progress: i64,
    header: Header,
}

/// Where a row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The session it would be in, up to this end, has fired.
    Late(i64),
    /// It joins an open session.
    Joins,
    /// It opens a session.
    Opens,
}

/// A session that has closed.
#[derive(Debug)]
pub(crate) struct Closed<S> {
    pub(crate) key: GroupKey,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) state: S,
}

#[derive(Debug, Clone)]
struct Session<S> {
    start: i64,
    end: i64,
    state: S,
}

/// The open sessions of a key, by time; none touches another.
#[derive(Debug, Clone)]
struct Sessions<S> {
    list: Vec<Session<S>>,
    /// What their states take on the heap.
    bytes: usize,
}

impl<S: State> OpenSessions<S> {
    pub(crate) fn new(gap: i64, seed: u64) -> Self {
        debug_assert!(gap > 0, "the front end checked the gap");
        Self {
            gap,
            seed,
            keys: Keyed::new(seed),
            open: 0,
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
        }
    }

    /// Sessions over all keys.
    pub(crate) const fn len(&self) -> usize {
        self.open
    }

    /// Memory, about; O(1).
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.timers.bytes()
    }

    /// Where a row of `key` at `time` belongs; O(log sessions of the key).
    pub(crate) fn place(&self, key: &[u8], time: i64) -> Place {
        let end = time.saturating_add(self.gap);
        let last = self.keys.get(key).and_then(|sessions| {
            let last = sessions.touched(time, end).next_back()?;
            sessions.list.get(last)
        });
        let merged_end = last.map_or(end, |session| session.end.max(end));
        if merged_end.saturating_sub(1) <= self.progress {
            Place::Late(merged_end)
        } else if last.is_some() {
            Place::Joins
        } else {
            Place::Opens
        }
    }

    /// Puts a row that is not late into its session: `start` makes the state of one that opens,
    /// `merge` adds the state of a later session, `add` the row.
    pub(crate) fn add(
        &mut self,
        key: &[u8],
        time: i64,
        start: impl FnOnce() -> S,
        merge: impl FnMut(&mut S, S),
        add: impl FnOnce(&mut S),
    ) {
        let end = time.saturating_add(self.gap);
        if self.keys.get(key).is_none() {
            self.keys.insert(GroupKey::new(key), Sessions { list: Vec::new(), bytes: 0 });
        }
        let change = |sessions: &mut Sessions<S>| {
            let before = sessions.list.len();
            sessions.add((time, end), start, merge, add);
            (before, sessions.list.len())
        };
        let Some((before, after)) = self.keys.update(key, change) else { return };
        self.open = (self.open + after).saturating_sub(before);
        if after > before {
            self.timers.set(end.saturating_sub(1), GroupKey::new(key));
        }
    }

    /// Moves the watermark; takes out the sessions it closes, by end, then key, then start.
    pub(crate) fn close(&mut self, watermark: i64) -> Vec<Closed<S>> {
        self.progress = watermark;
        let mut closed = Vec::new();
        while let Some((_, key)) = self.timers.pop_due(watermark) {
            let taken = self.keys.update(key.as_bytes(), |sessions| sessions.close(watermark));
            let Some((taken, next)) = taken else { continue };
            let taken = taken.into_iter().map(|Session { start, end, state }| {
                let key = key.clone();
                Closed { key, start, end, state }
            });
            closed.extend(taken);
            match next {
                Some(end) => self.timers.set(end.saturating_sub(1), key),
                None => drop(self.keys.remove(key.as_bytes())),
            }
        }
        debug_assert!(self.open >= closed.len(), "the count covers every session");
        self.open -= closed.len();
        closed.sort_unstable_by(|left, right| {
            (left.end, &left.key, left.start).cmp(&(right.end, &right.key, right.start))
        });
        closed
    }

    pub(crate) fn begin_cut(&mut self) {
        let progress = self.progress;
        self.header.begin(&mut self.keys, |writer| writer.i64(progress));
    }

    pub(crate) fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.keys, budget, writer)
    }

    /// Reads what a snapshot wrote into sessions that are new.
    pub(crate) fn read(&mut self, shape: &S::Shape, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.keys = Keyed::read(self.seed, shape, reader)?;
        for (key, sessions) in self.keys.iter() {
            self.open += sessions.list.len();
            if let Some(first) = sessions.list.first() {
                self.timers.set(first.end.saturating_sub(1), key.clone());
            }
        }
        Ok(())
    }
}

impl<S: State> Sessions<S> {
    /// The sessions that [start, end) overlaps or touches.
    fn touched(&self, start: i64, end: i64) -> Range<usize> {
        let first = self.list.partition_point(|session| session.end < start);
        let behind = self.list.partition_point(|session| session.start <= end);
        debug_assert!(first <= behind, "sessions are apart and in order");
        first..behind
    }

    fn add(
        &mut self,
        (start, end): (i64, i64),
        begin: impl FnOnce() -> S,
        mut merge: impl FnMut(&mut S, S),
        add: impl FnOnce(&mut S),
    ) {
        let touched = self.touched(start, end);
        let at = touched.start;
        if touched.is_empty() {
            self.list.insert(at, Session { start, end, state: begin() });
        } else {
            // By time, so that first and last values stay first and last.
            let later: Vec<_> = self.list.drain(at + 1..touched.end).collect();
            let gone: usize = later.iter().map(|session| session.state.heap_bytes()).sum();
            self.bytes = self.bytes.saturating_sub(gone);
            if let Some(merged) = self.list.get_mut(at) {
                self.bytes = self.bytes.saturating_sub(merged.state.heap_bytes());
                for session in later {
                    merged.end = merged.end.max(session.end);
                    merge(&mut merged.state, session.state);
                }
            }
        }
        if let Some(session) = self.list.get_mut(at) {
            session.start = session.start.min(start);
            session.end = session.end.max(end);
            add(&mut session.state);
            self.bytes += session.state.heap_bytes();
        }
    }

    /// Takes out the sessions that a watermark closes; says where the first of those left ends.
    fn close(&mut self, watermark: i64) -> (Vec<Session<S>>, Option<i64>) {
        let closed =
            self.list.partition_point(|session| session.end.saturating_sub(1) <= watermark);
        let closed: Vec<_> = self.list.drain(..closed).collect();
        let gone: usize = closed.iter().map(|session| session.state.heap_bytes()).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        (closed, self.list.first().map(|session| session.end))
    }
}

impl<S: State> State for Sessions<S> {
    type Shape = S::Shape;

    fn write(&self, writer: &mut Writer) {
        let Self { list, bytes: _ } = self;
        writer.length(list.len());
        for Session { start, end, state } in list {
            writer.i64(*start);
            writer.i64(*end);
            state.write(writer);
        }
    }

    fn read(shape: &S::Shape, reader: &mut Reader) -> Result<Self, CodecError> {
        let mut sessions = Self { list: Vec::new(), bytes: 0 };
        for _ in 0..reader.length("sessions", reader.remaining() / 16)? {
            let at = reader.position();
            let (start, end) = (reader.i64("start")?, reader.i64("end")?);
            if sessions.list.last().is_some_and(|last| last.end >= start) || end < start {
                let expected = "sessions apart and in order";
                return Err(CodecError::Value { field: "start", at, found: start, expected });
            }
            let state = S::read(shape, reader)?;
            sessions.bytes += state.heap_bytes();
            sessions.list.push(Session { start, end, state });
        }
        Ok(sessions)
    }

    fn heap_bytes(&self) -> usize {
        self.list.len() * size_of::<Session<S>>() + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::row_list::RowList;

    fn add(sessions: &mut OpenSessions<RowList>, time: i64) {
        let merge = |mine: &mut RowList, later| mine.append(later);
        sessions.add(b"", time, RowList::default, merge, |rows| {
            rows.insert_by_number(time, Box::from([]));
        });
    }

    fn extents(closed: &[Closed<RowList>]) -> Vec<(i64, i64, Vec<i64>)> {
        let times = |rows: &RowList| rows.iter().map(|(time, _)| *time).collect();
        closed.iter().map(|one| (one.start, one.end, times(&one.state))).collect()
    }

    #[test]
    fn a_row_between_sessions_makes_one_of_them_and_keeps_their_rows_in_order() {
        let mut sessions = OpenSessions::new(10, 7);
        for time in [100, 0, 130, 115, 105] {
            add(&mut sessions, time);
        }

        let before = sessions.len();
        let closed = sessions.close(i64::MAX);

        assert_eq!(before, 3);
        assert_eq!(
            extents(&closed),
            [(0, 10, vec![0]), (100, 125, vec![100, 105, 115]), (130, 140, vec![130])]
        );
    }

    #[test]
    fn a_window_that_ends_where_another_starts_touches_it_and_one_further_does_not() {
        let mut sessions = OpenSessions::new(10, 7);
        add(&mut sessions, 20);

        assert_eq!(sessions.place(b"", 10), Place::Joins);
        assert_eq!(sessions.place(b"", 9), Place::Opens);
        assert_eq!(sessions.place(b"", 30), Place::Joins);
        assert_eq!(sessions.place(b"", 31), Place::Opens);
    }

    #[test]
    fn what_is_closed_is_counted_no_more() {
        let mut sessions = OpenSessions::new(10, 7);
        let empty = sessions.bytes();
        (0..100).for_each(|time| add(&mut sessions, time));

        let full = sessions.bytes();
        drop(sessions.close(i64::MAX));

        assert!(full > empty + 100 * size_of::<(i64, Box<[crate::value::Value]>)>());
        assert_eq!((sessions.bytes(), sessions.len()), (empty, 0));
    }
}
