//! What passes between operators, and what an operator is.

use std::fmt::Debug;
use std::sync::Arc;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{EventTime, Finality};

use crate::file_rows::FileRows;
use crate::operator::keyed::Progress;
use crate::output::{Change, Refusal};
use crate::part::Origin;
use crate::table::TableId;
use crate::value::Value;

/// A row that comes to an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arriving<'a> {
    /// Which input it comes by, from 0: of a join 0 is the left side.
    pub(crate) port: usize,
    pub(crate) change: Change,
    pub(crate) finality: Finality,
    pub(crate) origin: Origin,
    pub(crate) row: &'a [Value],
    pub(crate) limits: &'a Limits,
    pub(crate) intent: Intent,
}

/// What an operator is to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Take,
    /// Say whether it would be refused, and change nothing. A row that becomes several, one per
    /// window, is tried with all of them before the first is taken.
    Try,
}

impl Arriving<'_> {
    /// Whether the row is added, not taken back.
    pub(crate) const fn is_added(&self) -> bool {
        match self.change {
            Change::Insert | Change::UpdateAfter => true,
            Change::UpdateBefore | Change::Delete => false,
        }
    }

    /// Whether the row only asks: who keeps something answers [`Fate::Taken`] before the first
    /// change.
    pub(crate) const fn is_trial(&self) -> bool {
        match self.intent {
            Intent::Try => true,
            Intent::Take => false,
        }
    }

    /// What this row becomes where nothing is kept: as sure, and as much a change, as it is.
    pub(crate) const fn becomes(&self, row: Vec<Value>) -> Changed {
        Changed { change: self.change, finality: self.finality, row }
    }

    /// The time in a column.
    pub(crate) fn time(&self, column: usize) -> Result<i64, Refusal> {
        time_of(self.row, column).ok_or(Refusal::NoEventTime)
    }
}

/// The time in a column of a row, in milliseconds.
pub(crate) fn time_of(row: &[Value], column: usize) -> Option<i64> {
    match row.get(column) {
        Some(Value::Timestamp(time)) => Some(time.millis()),
        _ => None,
    }
}

/// A time as a value.
pub(crate) const fn timestamp(millis: i64) -> Value {
    Value::Timestamp(EventTime::from_millis(millis))
}

/// A row that leaves an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) change: Change,
    pub(crate) finality: Finality,
    pub(crate) row: Vec<Value>,
}

impl Changed {
    pub(crate) const fn insert(row: Vec<Value>) -> Self {
        Self::of(Change::Insert, row)
    }

    /// A change by an operator that waits for nothing more.
    pub(crate) const fn of(change: Change, row: Vec<Value>) -> Self {
        Self { change, finality: Finality::Final, row }
    }

    pub(crate) fn with(self, finality: Finality) -> Self {
        Self { finality, ..self }
    }
}

/// What leaves an operator for one input, in order.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    pub(crate) rows: Vec<Changed>,
    /// Keys that somebody else has to look up.
    pub(crate) lookups: Vec<LookupRequest>,
    /// What could not be computed from rows that were taken earlier.
    pub(crate) failures: Vec<Refusal>,
    /// Open windows that were to give early results and did not, because of a limit.
    pub(crate) early_left_out: u64,
}

/// A key to look up in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LookupRequest {
    /// Names the request within its operator, from 0 upwards.
    pub(crate) number: u64,
    pub(crate) key: Vec<Value>,
}

/// What became of a row that an operator did not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It went into state or had its effect.
    Taken,
    /// The operator keeps nothing: what became of it is up to the next one.
    Passed,
    /// Whatever would have taken it is closed; of a window, the last end that was.
    Late(Option<EventTime>),
}

/// What an operator may keep and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Keys, groups or sessions over all windows.
    pub(crate) keys: usize,
    /// How many of them other rows may open that one row became.
    pub(crate) reserved: usize,
    /// Memory, about.
    pub(crate) bytes: usize,
    /// Rows looked at or made for one input row.
    pub(crate) work: usize,
}

impl Limits {
    /// Whether any of these limits is above that of another.
    pub(crate) const fn is_above(&self, other: &Self) -> bool {
        self.keys > other.keys || self.bytes > other.bytes || self.work > other.work
    }

    /// What is left for a row of `rows` when there is to be room for each of them to open a key.
    pub(crate) const fn for_rows(self, rows: usize) -> Self {
        Self { reserved: rows.saturating_sub(1), ..self }
    }

    /// For rows that were tried: only the work they cause is still bounded.
    pub(crate) const fn for_tried(self) -> Self {
        Self { keys: usize::MAX, reserved: 0, bytes: usize::MAX, ..self }
    }

    /// Whether an operator of `keys` keys and `bytes` bytes may open another key.
    pub(crate) const fn admit_key(&self, keys: usize, bytes: usize) -> Result<(), Refusal> {
        if keys.saturating_add(self.reserved) >= self.keys {
            return Err(Refusal::WindowLimit { limit: self.keys });
        }
        self.admit_bytes(bytes)
    }

    /// Whether an operator of `bytes` bytes may keep more.
    pub(crate) const fn admit_bytes(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes >= self.bytes {
            return Err(Refusal::MemoryLimit { limit: self.bytes });
        }
        Ok(())
    }

    /// Whether windows of this many panes may be kept: each that closes reads them all.
    pub(crate) fn admit_panes(&self, panes: i64) -> Result<(), Refusal> {
        self.admit_work(usize::try_from(panes).unwrap_or(usize::MAX))
    }

    /// Whether one input row may cause this much work.
    pub(crate) const fn admit_work(&self, rows: usize) -> Result<(), Refusal> {
        if rows > self.work {
            return Err(Refusal::WorkLimit { limit: self.work });
        }
        Ok(())
    }
}

/// How much an operator keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) keys: usize,
    pub(crate) bytes: usize,
}

/// A relational operator as it runs.
///
/// A row is taken wholly or not at all, and one that is only tried changes nothing. Rows come out
/// as a function of what went in, in its order; those of one watermark sorted, never in the order
/// of a hash map.
pub(crate) trait Operate: Debug + Send {
    /// Takes a row; what comes out at once is appended to `out`.
    fn on_row(&mut self, arriving: &Arriving<'_>, out: &mut Emitted) -> Result<Fate, Refusal>;

    /// Moves the watermark, which only grows, and appends what it closes.
    fn on_watermark(&mut self, _watermark: i64, _limits: &Limits, _out: &mut Emitted) {}

    /// Says that event time has come this far, although the watermark has not: appends early
    /// results that are due, as many as limits let it.
    fn on_early(&mut self, _time: i64, _limits: &Limits, _out: &mut Emitted) {}

    /// Says that rows with times from `first` to `last` are missing here, so that no window that is
    /// open and holds such a time says that its result is final.
    fn on_gap(&mut self, _first: i64, _last: i64) {}

    /// Says that late rows with times from `first` to `last` are missing here, or count elsewhere
    /// otherwise: windows that hold such a time are no longer corrected, but say provisionally what
    /// they have behind their final result; those that have closed say it again at once.
    fn on_doubt(&mut self, _first: i64, _last: i64, _out: &mut Emitted) {}

    /// Takes the rows found for a request of a lookup.
    fn on_lookup(&mut self, _number: u64, _found: Vec<Vec<Value>>, _out: &mut Emitted) {}

    /// Takes the rows of a file from now on, when it is the one that is looked up in.
    fn on_file(&mut self, _table: TableId, _rows: &Arc<FileRows>) {}

    /// Has no rows of a file any more, when it is the one that is looked up in.
    fn forget_file(&mut self, _table: TableId) {}

    /// By how many milliseconds the watermark behind this operator stays behind the one before it:
    /// as far back as a row may come out.
    fn holds_back(&self) -> i64 {
        0
    }

    /// The watermark behind this operator when the one before it is `watermark`.
    fn watermark_behind(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.holds_back())
    }

    fn kept(&self) -> Kept {
        Kept::default()
    }

    /// What the state looks like: a snapshot is restored only into the same shape.
    fn shape(&self) -> String {
        String::new()
    }

    /// Begins a snapshot of the state as it stands.
    fn begin_cut(&mut self) {}

    /// Writes about `budget` further entries of the snapshot under way.
    fn poll_cut(&mut self, _budget: usize, _writer: &mut Writer) -> Progress {
        Progress::Done
    }

    /// Reads what a snapshot wrote into an operator that is new.
    fn read(&mut self, _reader: &mut Reader) -> Result<(), CodecError> {
        Ok(())
    }
}
