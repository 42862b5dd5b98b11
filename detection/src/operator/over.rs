//! OVER windows by event time: each row with aggregates over the rows up to it.
//!
//! Rows wait until the watermark reaches them and then come out in the order of time.
//!
//! # Source
//! Flink's `RowTimeRangeBoundedPrecedingFunction` and `RowTimeRowsBoundedPrecedingFunction`: a row
//! at or before the last time that fired for its key is dropped, whatever the watermark. Of a
//! bounded RANGE also the clean-up timers fire, 1.5 times the frame behind a row: the last of them
//! lets go of the key with all it knows, and those before it count as times that fired. Of an
//! unbounded frame `AbstractRowTimeUnboundedPrecedingOver`: a row at or before the watermark is
//! dropped. Keys of ROWS and of unbounded frames go by the rule's retention, as by Flink's
//! `table.exec.state.ttl`.

use std::collections::{BTreeMap, VecDeque};

use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::operator::accumulator::{Call, value_bytes};
use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Limits, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::group_state::Accumulators;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::pane_aggregate::encode_keys;
use crate::operator::timers::Timers;
use crate::output::{Change, Refusal};
use crate::relation::{Changes, Frame, OverCall};
use crate::value::Value;
use crate::value_codec;

/// Aggregates over the rows of a partition up to each row.
#[derive(Debug)]
pub(crate) struct Over {
    column: usize,
    partition: Vec<Expression>,
    frame: Frame,
    functions: Vec<Function>,
    /// The calls among the functions that are aggregates, in order.
    calls: Vec<Call>,
    seed: u64,
    partitions: Keyed<Partition>,
    /// For how long a key is kept behind its last row, in milliseconds; of a bounded RANGE the
    /// frame says.
    retention: i64,
    timers: Timers,
    /// The watermark, which rows of an unbounded frame must be past.
    progress: i64,
    header: Header,
    key: Vec<u8>,
}

/// One column that OVER appends.
#[derive(Debug, Clone)]
enum Function {
    /// The next of the aggregates.
    Aggregate,
    RowNumber,
    Rank,
    DenseRank,
    /// The value `offset` rows back: what each row contributes is the value, then the default.
    Lag {
        value: Expression,
        offset: usize,
        default: Expression,
    },
}

/// What is kept of a partition.
#[derive(Debug, Clone, Default)]
struct Partition {
    /// Rows that wait, by time, each with what it contributes, in the order of arrival.
    waiting: BTreeMap<i64, Vec<Waiting>>,
    /// What rows within reach of the frame contribute, oldest first.
    frame: VecDeque<(i64, Box<[Value]>)>,
    /// Aggregates over the frame; none before the first row.
    state: Option<Accumulators>,
    /// The values LAG looks back at, newest first.
    past: VecDeque<Box<[Value]>>,
    /// The last time that fired.
    fired: Option<i64>,
    /// The clean-up timers to come of a bounded RANGE, ascending: the last lets go of the key.
    timers: VecDeque<i64>,
    /// The timer that is set for when the key may be too old: one, however many rows there were.
    /// When it comes and the key has fired since, it is set anew.
    expiry: Option<i64>,
    rows: u64,
    rank: u64,
    dense_rank: u64,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Waiting {
    row: Box<[Value]>,
    contributions: Box<[Value]>,
    /// Value and default of every LAG.
    lags: Box<[Value]>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        let Self { row, contributions, lags } = self;
        let parts = [row, contributions, lags].into_iter();
        size_of::<Self>() + parts.map(|values| values_bytes(values)).sum::<usize>()
    }
}

/// Memory of an entry of a frame or of what LAG looks back at, about.
fn entry_bytes(values: &[Value]) -> usize {
    size_of::<(i64, Box<[Value]>)>() + values_bytes(values)
}

/// Memory of values, about.
pub(crate) fn values_bytes(values: &[Value]) -> usize {
    size_of_val(values) + values.iter().map(value_bytes).sum::<usize>()
}

impl Over {
    pub(crate) fn new(
        column: usize,
        (partition, retention): (Vec<Expression>, i64),
        frame: Frame,
        calls: &[OverCall],
        seed: u64,
    ) -> Self {
        // Rows leave the frame again, so that extremes must remember what was below them.
        let changes = match frame {
            Frame::Rows(None) | Frame::Range(None) => Changes::Append,
            Frame::Rows(Some(_)) | Frame::Range(Some(_)) => Changes::Retract,
        };
        let aggregates = calls.iter().filter_map(|call| match call {
            OverCall::Aggregate(call) => Some(Call::new(call, changes)),
            OverCall::RowNumber | OverCall::Rank | OverCall::DenseRank | OverCall::Lag { .. } => {
                None
            }
        });
        let functions = calls.iter().map(|call| match call {
            OverCall::Aggregate(_) => Function::Aggregate,
            OverCall::RowNumber => Function::RowNumber,
            OverCall::Rank => Function::Rank,
            OverCall::DenseRank => Function::DenseRank,
            OverCall::Lag { value, offset, default, data_type: _ } => Function::Lag {
                value: value.clone(),
                offset: usize::try_from(*offset).unwrap_or(usize::MAX),
                default: default.clone(),
            },
        });
        Self {
            column,
            partition,
            frame,
            calls: aggregates.collect(),
            functions: functions.collect(),
            seed,
            partitions: Keyed::new(seed),
            retention,
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    fn waiting(&self, row: &[Value]) -> Result<Waiting, Refusal> {
        let contributions = self.calls.iter().map(|call| call.contribution(row));
        let contributions = contributions.collect::<Result<_, _>>().map_err(Refusal::Evaluation)?;
        let mut lags = Vec::new();
        for function in &self.functions {
            if let Function::Lag { value, offset: _, default } = function {
                for expression in [value, default] {
                    let value = expression.evaluate(row).map_err(Refusal::Evaluation)?;
                    lags.push(value.into_owned());
                }
            }
        }
        Ok(Waiting { row: Box::from(row), contributions, lags: lags.into_boxed_slice() })
    }

    /// How far back LAG looks.
    fn reach(&self) -> usize {
        let reach = self.functions.iter().map(|function| match function {
            Function::Lag { offset, .. } => *offset,
            Function::Aggregate | Function::RowNumber | Function::Rank | Function::DenseRank => 0,
        });
        reach.max().unwrap_or(0)
    }
}

impl Partition {
    /// Fires the rows of one time.
    fn fire(&mut self, over: &OverView<'_>, time: i64, rows: Vec<Waiting>, out: &mut Emitted) {
        let mut state = self.state.take().unwrap_or_else(|| Accumulators::start(over.calls));
        self.rank = self.rows + 1;
        self.dense_rank += 1;
        if let Frame::Range(reach) = over.frame {
            // Rows of equal time see each other, so that all come before the first result.
            for waiting in &rows {
                state.add(over.calls, &waiting.contributions);
            }
            if let Some(reach) = reach {
                rows.iter().for_each(|row| self.push(time, row.contributions.clone()));
                self.expire(over, &mut state, |(at, _), _| *at < time.saturating_sub(reach));
            }
        }
        for waiting in rows {
            self.bytes = self.bytes.saturating_sub(waiting.bytes());
            self.rows += 1;
            if let Frame::Rows(reach) = over.frame {
                state.add(over.calls, &waiting.contributions);
                if let Some(reach) = reach {
                    self.push(time, waiting.contributions.clone());
                    let reach = usize::try_from(reach).unwrap_or(usize::MAX).saturating_add(1);
                    self.expire(over, &mut state, |_, len| len > reach);
                }
            }
            out.rows.push(self.result(over, &state, waiting));
        }
        self.state = Some(state);
        self.fired = Some(time);
    }

    fn push(&mut self, time: i64, contributions: Box<[Value]>) {
        self.bytes += entry_bytes(&contributions);
        self.frame.push_back((time, contributions));
    }

    /// The clean-up timer that a row at `time` needs; none when the last one is far enough.
    fn cleanup(&mut self, time: i64, reach: i64) -> Option<i64> {
        let least = time.saturating_add(reach).saturating_add(1);
        if self.timers.back().is_some_and(|last| *last >= least) {
            return None;
        }
        let timer = least.saturating_add(reach / 2);
        self.timers.push_back(timer);
        Some(timer)
    }

    /// What the partition waits for when the watermark has come to `now`.
    fn next(&mut self, frame: Frame, retention: i64, now: i64) -> Next {
        if self.expiry.is_some_and(|expiry| expiry <= now) {
            self.expiry = None;
        }
        if let Some((time, _)) = self.waiting.first_key_value() {
            return Next::Timer(*time);
        }
        match (frame, self.fired) {
            (Frame::Range(Some(_)), _) | (_, None) => Next::Rest,
            (Frame::Range(None) | Frame::Rows(_), Some(fired)) => {
                match fired.saturating_add(retention) {
                    i64::MAX => Next::Rest,
                    expiry if expiry <= now => Next::LetGo,
                    _ if self.expiry.is_some() => Next::Rest,
                    expiry => {
                        self.expiry = Some(expiry);
                        Next::Timer(expiry)
                    }
                }
            }
        }
    }

    /// Whether `time` is that of the last clean-up timer; forgets those that have come.
    fn is_over(&mut self, time: i64) -> bool {
        let is_over = self.timers.back().is_some_and(|last| *last <= time);
        while self.timers.front().is_some_and(|first| *first <= time) {
            self.timers.pop_front();
        }
        is_over
    }

    /// Takes rows out of the frame while the oldest is beyond it.
    fn expire(
        &mut self,
        over: &OverView<'_>,
        state: &mut Accumulators,
        is_beyond: impl Fn(&(i64, Box<[Value]>), usize) -> bool,
    ) {
        while let Some(oldest) = self.frame.front()
            && is_beyond(oldest, self.frame.len())
        {
            let Some((_, contributions)) = self.frame.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(entry_bytes(&contributions));
            state.retract(over.calls, &contributions);
        }
    }

    fn result(&mut self, over: &OverView<'_>, state: &Accumulators, waiting: Waiting) -> Changed {
        let Waiting { row, contributions: _, lags } = waiting;
        let mut row = row.into_vec();
        let mut aggregates = state.results(over.calls);
        let mut lag = 0;
        for function in over.functions {
            row.push(match function {
                Function::Aggregate => aggregates.next().unwrap_or(Value::Null),
                Function::RowNumber => number(self.rows),
                Function::Rank => number(self.rank),
                Function::DenseRank => number(self.dense_rank),
                Function::Lag { offset, .. } => {
                    let past = offset.checked_sub(1).map(|back| self.past.get(back));
                    let found = match past {
                        None => lags.get(lag * 2),
                        Some(None) => lags.get(lag * 2 + 1),
                        Some(Some(values)) => values.get(lag),
                    };
                    lag += 1;
                    found.cloned().unwrap_or(Value::Null)
                }
            });
        }
        drop(aggregates);
        if over.reach > 0 {
            let values: Box<[Value]> = lags.iter().step_by(2).cloned().collect();
            self.bytes += entry_bytes(&values);
            self.past.push_front(values);
            if self.past.len() > over.reach
                && let Some(oldest) = self.past.pop_back()
            {
                self.bytes = self.bytes.saturating_sub(entry_bytes(&oldest));
            }
        }
        Changed::insert(row)
    }
}

/// What a partition waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A time.
    Timer(i64),
    /// Rows, or clean-up timers that are set.
    Rest,
    /// Nothing: it is too old to be kept.
    LetGo,
}

fn number(count: u64) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

/// How a shape tells for how long keys are kept; a rule that keeps them for ever does not say.
pub(crate) fn retention_shape(retention: i64) -> String {
    match retention {
        i64::MAX => String::new(),
        retention => format!(" for {retention} ms"),
    }
}

/// What a partition needs of its operator.
struct OverView<'a> {
    calls: &'a [Call],
    functions: &'a [Function],
    frame: Frame,
    reach: usize,
}

impl State for Partition {
    type Shape = Vec<Call>;

    fn write(&self, writer: &mut Writer) {
        let Self {
            waiting,
            frame,
            state,
            past,
            fired,
            timers,
            expiry: _,
            rows,
            rank,
            dense_rank,
            bytes: _,
        } = self;
        writer.length(waiting.len());
        for (time, rows) in waiting {
            writer.i64(*time);
            writer.length(rows.len());
            for Waiting { row, contributions, lags } in rows {
                [row, contributions, lags].into_iter().for_each(|v| write_values(v, writer));
            }
        }
        writer.length(frame.len());
        for (time, contributions) in frame {
            writer.i64(*time);
            write_values(contributions, writer);
        }
        writer.u8(u8::from(state.is_some()));
        if let Some(state) = state {
            state.write(writer);
        }
        writer.length(past.len());
        past.iter().for_each(|values| write_values(values, writer));
        writer.u8(u8::from(fired.is_some()));
        writer.i64(fired.unwrap_or_default());
        writer.length(timers.len());
        timers.iter().for_each(|timer| writer.i64(*timer));
        [rows, rank, dense_rank].into_iter().for_each(|count| writer.u64(*count));
    }

    fn read(calls: &Vec<Call>, reader: &mut Reader) -> Result<Self, CodecError> {
        let mut partition = Self::default();
        for _ in 0..reader.length("waiting", reader.remaining() / 12)? {
            let time = reader.i64("time")?;
            let mut rows = Vec::new();
            for _ in 0..reader.length("rows", reader.remaining() / 12)? {
                let (row, contributions) = (read_values(reader)?, read_values(reader)?);
                let waiting = Waiting { row, contributions, lags: read_values(reader)? };
                partition.bytes += waiting.bytes();
                rows.push(waiting);
            }
            partition.waiting.insert(time, rows);
        }
        for _ in 0..reader.length("frame", reader.remaining() / 12)? {
            let time = reader.i64("time")?;
            partition.push(time, read_values(reader)?);
        }
        if reader.u8("state")? != 0 {
            partition.state = Some(Accumulators::read(calls, reader)?);
        }
        for _ in 0..reader.length("past", reader.remaining() / 4)? {
            let values = read_values(reader)?;
            partition.bytes += entry_bytes(&values);
            partition.past.push_back(values);
        }
        let is_fired = reader.u8("fired")? != 0;
        let fired = reader.i64("fired")?;
        partition.fired = is_fired.then_some(fired);
        for _ in 0..reader.length("timers", reader.remaining() / 8)? {
            partition.timers.push_back(reader.i64("cleanup")?);
        }
        partition.rows = reader.u64("rows")?;
        partition.rank = reader.u64("rank")?;
        partition.dense_rank = reader.u64("dense rank")?;
        Ok(partition)
    }

    fn heap_bytes(&self) -> usize {
        let state = self.state.as_ref().map_or(0, State::heap_bytes);
        self.bytes + state + self.timers.len() * size_of::<i64>()
    }
}

/// Writes values behind their number.
pub(crate) fn write_values(values: &[Value], writer: &mut Writer) {
    writer.length(values.len());
    values.iter().for_each(|value| value_codec::write(value, writer));
}

/// Reads what [`write_values`] wrote.
pub(crate) fn read_values(reader: &mut Reader) -> Result<Box<[Value]>, CodecError> {
    let values = reader.length("values", reader.remaining())?;
    (0..values).map(|_| value_codec::read(reader)).collect()
}

impl Operate for Over {
    fn on_row(&mut self, arriving: &Arriving<'_>, _out: &mut Emitted) -> Result<Fate, Refusal> {
        debug_assert_eq!(arriving.change, Change::Insert, "the front end refuses OVER updates");
        let time = arriving.time(self.column)?;
        self.key.clear();
        encode_keys(&self.partition, arriving.row, &mut self.key)?;
        let known = self.partitions.get(&self.key);
        let is_unbounded = matches!(self.frame, Frame::Rows(None) | Frame::Range(None));
        if is_unbounded && time <= self.progress {
            return Ok(Fate::Late(None));
        }
        if known.is_some_and(|partition| partition.fired.is_some_and(|fired| time <= fired)) {
            return Ok(Fate::Late(None));
        }
        let waiting = self.waiting(arriving.row)?;
        self.partitions.admit(&self.key, arriving.limits)?;
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        self.partitions.open(&self.key);
        let mut cleanup = None;
        let is_first = self.partitions.update(&self.key, |partition| {
            if let Frame::Range(Some(reach)) = self.frame {
                cleanup = partition.cleanup(time, reach);
            }
            partition.bytes += waiting.bytes();
            let is_first =
                partition.waiting.first_key_value().is_none_or(|(first, _)| time < *first);
            partition.waiting.entry(time).or_default().push(waiting);
            is_first
        });
        if is_first == Some(true) {
            self.timers.set(time, GroupKey::new(&self.key));
        }
        if let Some(cleanup) = cleanup {
            self.timers.set(cleanup, GroupKey::new(&self.key));
        }
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, _limits: &Limits, out: &mut Emitted) {
        self.progress = watermark;
        let view = OverView {
            calls: &self.calls,
            functions: &self.functions,
            frame: self.frame,
            reach: self.reach(),
        };
        while let Some((time, key)) = self.timers.pop_due(watermark) {
            let next = self.partitions.update(key.as_bytes(), |partition| {
                if partition.is_over(time) {
                    return Next::LetGo;
                }
                if let Some(rows) = partition.waiting.remove(&time) {
                    partition.fire(&view, time, rows, out);
                } else if let Frame::Range(Some(_)) = view.frame {
                    partition.fired = Some(time);
                }
                partition.next(view.frame, self.retention, time)
            });
            match next {
                Some(Next::Timer(next)) => self.timers.set(next, key),
                Some(Next::LetGo) => drop(self.partitions.remove(key.as_bytes())),
                Some(Next::Rest) | None => {}
            }
        }
    }

    fn kept(&self) -> Kept {
        let bytes = self.partitions.bytes() + self.timers.bytes();
        Kept { keys: self.partitions.len(), bytes }
    }

    fn shape(&self) -> String {
        let calls = self.calls.iter().map(Call::shape).collect::<Vec<_>>().join(", ");
        let functions = self.functions.len();
        let keys = self.partition.len();
        let kept = match self.frame {
            Frame::Range(Some(_)) => String::new(),
            Frame::Range(None) | Frame::Rows(_) => retention_shape(self.retention),
        };
        format!("over {:?}, {keys} keys{kept}, {functions}: {calls}", self.frame)
    }

    fn begin_cut(&mut self) {
        let progress = self.progress;
        self.header.begin(&mut self.partitions, |writer| writer.i64(progress));
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.partitions, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.partitions = Keyed::read(self.seed, &self.calls, reader)?;
        let keys: Vec<GroupKey> = self.partitions.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.partitions.update(key.as_bytes(), |partition| {
                let next = partition.next(self.frame, self.retention, i64::MIN);
                let next = if let Next::Timer(time) = next { Some(time) } else { None };
                for time in next.into_iter().chain(partition.timers.iter().copied()) {
                    self.timers.set(time, key.clone());
                }
            });
        }
        Ok(())
    }
}
