//! Results that windows give while they are open, and what was said of them.

use headland_event::Finality;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::arriving::Changed;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Progress, State};
use crate::operator::over::{read_values, values_bytes, write_values};
use crate::operator::paned::{Paned, Place};
use crate::output::Change;
use crate::value::Value;

/// What open windows have said, and when they say something next.
#[derive(Debug)]
pub(crate) struct EarlyResults {
    interval: i64,
    /// The last interval of event time that has begun; none before the first row.
    begun: Option<i64>,
    /// Per window, by its end: the last row that each group has given.
    said: Paned<Said>,
}

/// The last row that a group has given.
#[derive(Debug, Clone, PartialEq)]
struct Said(Box<[Value]>);

impl EarlyResults {
    pub(crate) const fn new(interval: i64, seed: u64) -> Self {
        debug_assert!(interval > 0, "an interval has a length");
        Self { interval, begun: None, said: Paned::new(seed) }
    }

    pub(crate) const fn interval(&self) -> i64 {
        self.interval
    }

    /// Memory, about; O(1).
    pub(crate) const fn bytes(&self) -> usize {
        self.said.bytes()
    }

    /// Event time has come to `time`; whether an interval has begun, so that results are due.
    pub(crate) fn begins(&mut self, time: i64) -> bool {
        let interval = time.div_euclid(self.interval);
        let begins = self.begun.is_some_and(|begun| begun < interval);
        self.begun = Some(self.begun.map_or(interval, |begun| begun.max(interval)));
        begins
    }

    /// What a group of the open window that ends at `end` says now: nothing when it said so before.
    pub(crate) fn say(
        &mut self,
        end: i64,
        key: &GroupKey,
        row: Vec<Value>,
        out: &mut Vec<Changed>,
    ) {
        let place = Place::ending(end);
        let said = Said(row.clone().into_boxed_slice());
        let before = self.said.update(place, key.as_bytes(), |last| {
            let before = std::mem::replace(last, said.clone());
            (before != *last).then_some(before)
        });
        let (old, new) = match before {
            Some(None) => return,
            Some(Some(Said(before))) => (Some(before), Change::UpdateAfter),
            None => {
                self.said.insert(place, key.clone(), said);
                (None, Change::Insert)
            }
        };
        let old = old.map(|row| Changed::of(Change::UpdateBefore, row.into_vec()));
        let both = old.into_iter().chain([Changed::of(new, row)]);
        out.extend(both.map(|changed| changed.with(Finality::Provisional)));
    }

    /// The last row of a group, as its window closes: it replaces what was said before, and comes
    /// even when it is equal.
    pub(crate) fn conclude(
        &self,
        end: i64,
        key: &GroupKey,
        (row, finality): (Vec<Value>, Finality),
        out: &mut Vec<Changed>,
    ) {
        match self.said.get(Place::ending(end), key.as_bytes()) {
            Some(Said(before)) => {
                let old = Changed::of(Change::UpdateBefore, before.to_vec());
                out.push(old.with(finality));
                out.push(Changed::of(Change::UpdateAfter, row).with(finality));
            }
            None => out.push(Changed::insert(row).with(finality)),
        }
    }

    /// Forgets what was said of a window that has closed.
    pub(crate) fn close(&mut self, end: i64) {
        self.said.remove(Place::ending(end));
    }

    /// Begins a snapshot: writes where the intervals are, what was said follows by itself.
    pub(crate) fn begin_cut(&mut self, writer: &mut Writer) {
        writer.i64(self.begun.unwrap_or(i64::MIN));
        self.said.begin_cut();
    }

    pub(crate) fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.said.poll_cut(budget, writer)
    }

    /// Reads where a snapshot said the intervals were, and what was said.
    pub(crate) fn read(&mut self, begun: i64, reader: &mut Reader) -> Result<(), CodecError> {
        self.begun = (begun != i64::MIN).then_some(begun);
        self.said.read(&(), reader)
    }
}

impl State for Said {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self(row) = self;
        write_values(row, writer);
    }

    fn read((): &(), reader: &mut Reader) -> Result<Self, CodecError> {
        read_values(reader).map(Self)
    }

    fn heap_bytes(&self) -> usize {
        values_bytes(&self.0)
    }
}
