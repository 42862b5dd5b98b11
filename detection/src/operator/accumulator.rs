//! Aggregates: what is kept per group instead of its rows.
//!
//! A [`Call`] is one aggregate of a rule and an [`Accumulator`] its state over one group; which
//! variant it is, is fixed by the call. All merge, so that panes make up windows.

use std::borrow::Cow;
use std::sync::Arc;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::tree::wrapped_to;
use crate::expression::{EvaluationError, Expression};
use crate::operator::exact_sum::ExactSum;
use crate::operator::group_key::GroupKey;
use crate::operator::moments::Moments;
use crate::operator::sketch::{DistinctSketch, QuantileSketch, TopSketch};
use crate::operator::tally::Tally;
use crate::relation::{AggregateCall, AggregateKind, Changes};
use crate::value::{DataType, Value, narrowed, widened};
use crate::value_codec;

/// One call of an aggregate, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    call: AggregateCall,
    /// Whether rows are taken back, so that extremes must remember what was below them.
    changes: Changes,
    /// What stands between the parts of a LISTAGG.
    separator: String,
}

impl Call {
    pub(crate) fn new(call: &AggregateCall, changes: Changes) -> Self {
        let separator = call.arguments.get(1).and_then(|key| match &key.expression {
            Expression::Constant(Value::Text(text)) => Some(text.to_string()),
            _ => None,
        });
        Self { call: call.clone(), changes, separator: separator.unwrap_or_else(|| ",".to_owned()) }
    }

    /// What a snapshot says about this aggregate's state, for example `Sum DISTINCT BIGINT`.
    pub(crate) fn shape(&self) -> String {
        let AggregateCall { function, arguments, is_distinct, filter: _, result_type } = &self.call;
        let distinct = if *is_distinct { " DISTINCT" } else { "" };
        let types = arguments.iter().map(|key| key.data_type.to_string()).collect::<Vec<_>>();
        let changes = self.changes;
        format!("{function:?}{distinct}({}) {result_type} {changes:?}", types.join(", "))
    }

    /// The state of no rows.
    pub(crate) fn start(&self) -> Accumulator {
        if self.call.is_distinct && self.call.function != AggregateKind::ApproximateDistinct {
            let inner = self.start_plain();
            return Accumulator::Distinct(Box::new(Distinct { seen: Tally::default(), inner }));
        }
        self.start_plain()
    }

    fn start_plain(&self) -> Accumulator {
        let argument = self.call.arguments.first().map(|key| &key.data_type);
        match self.call.function {
            AggregateKind::Count => Accumulator::Count(0),
            AggregateKind::Sum | AggregateKind::Average => match argument {
                Some(DataType::Float) if self.call.function == AggregateKind::Sum => {
                    Accumulator::Float { sum: 0.0, count: 0 }
                }
                Some(DataType::Double | DataType::Float) => {
                    Accumulator::Double { sum: 0.0, count: 0 }
                }
                Some(DataType::Decimal { .. }) => Accumulator::Exact(Box::new(ExactSum::new())),
                _ => Accumulator::Integer { sum: 0, count: 0 },
            },
            AggregateKind::Min | AggregateKind::Max => match self.changes {
                Changes::Append => Accumulator::Chosen(Value::Null),
                Changes::Retract => Accumulator::Ranked(Box::default()),
            },
            AggregateKind::FirstValue | AggregateKind::LastValue => match self.changes {
                Changes::Append => Accumulator::Chosen(Value::Null),
                Changes::Retract => Accumulator::List(Box::default()),
            },
            AggregateKind::Spread(_) => Accumulator::Moments(Box::default()),
            AggregateKind::ListAggregate | AggregateKind::Collect => {
                Accumulator::List(Box::default())
            }
            AggregateKind::ApproximateDistinct => {
                Accumulator::DistinctSketch(Box::new(DistinctSketch::new()))
            }
            AggregateKind::ApproximateQuantile(_) => Accumulator::QuantileSketch(Box::default()),
            AggregateKind::ApproximateTop(ranks) => {
                Accumulator::TopSketch(Box::new(TopSketch::new(ranks)))
            }
        }
    }

    /// Whether the state of a group may take more memory with each row.
    pub(crate) const fn may_grow(&self) -> bool {
        if self.call.is_distinct {
            return true;
        }
        match self.call.function {
            AggregateKind::Count
            | AggregateKind::Sum
            | AggregateKind::Average
            | AggregateKind::Spread(_) => false,
            // A later text may be longer, and what may be taken back is kept whole.
            AggregateKind::Min
            | AggregateKind::Max
            | AggregateKind::FirstValue
            | AggregateKind::LastValue
            | AggregateKind::ListAggregate
            | AggregateKind::Collect
            | AggregateKind::ApproximateDistinct
            | AggregateKind::ApproximateQuantile(_)
            | AggregateKind::ApproximateTop(_) => true,
        }
    }

    /// What a row contributes: NULL contributes nothing.
    pub(crate) fn contribution(&self, row: &[Value]) -> Result<Value, EvaluationError> {
        if let Some(filter) = &self.call.filter
            && !filter.is_true(row)?
        {
            return Ok(Value::Null);
        }
        let Some((first, rest)) = self.call.arguments.split_first() else {
            return Ok(Value::Boolean(true));
        };
        let value = first.expression.evaluate(row).map(Cow::into_owned)?;
        if self.call.function == AggregateKind::Count && !rest.is_empty() {
            return self.combination(value, row);
        }
        Ok(value)
    }

    /// `COUNT(DISTINCT a, b)`: one text that stands for all values, NULL when one of them is.
    fn combination(&self, first: Value, row: &[Value]) -> Result<Value, EvaluationError> {
        let mut values = vec![first];
        for key in self.call.arguments.iter().skip(1) {
            values.push(key.expression.evaluate(row)?.into_owned());
        }
        if values.iter().any(Value::is_null) {
            return Ok(Value::Null);
        }
        Ok(Value::text(&crate::plan::JoinedKeys(&values).to_string()))
    }

    /// Adds a row's contribution.
    pub(crate) fn add(&self, accumulator: &mut Accumulator, contribution: &Value) {
        if contribution.is_null() {
            return;
        }
        match accumulator {
            Accumulator::Distinct(distinct) => {
                if distinct.seen.shift(GroupKey::of([contribution]), 1) == 1 {
                    self.add(&mut distinct.inner, contribution);
                }
            }
            Accumulator::Chosen(chosen) => {
                let is_chosen = chosen.is_null()
                    || match self.call.function {
                        AggregateKind::Min => contribution < chosen,
                        AggregateKind::Max => contribution > chosen,
                        AggregateKind::LastValue => true,
                        _ => false,
                    };
                if is_chosen {
                    *chosen = contribution.clone();
                }
            }
            Accumulator::List(list) => list.push(contribution.clone()),
            Accumulator::DistinctSketch(sketch) => {
                sketch.add(GroupKey::of([contribution]).as_bytes());
            }
            Accumulator::TopSketch(sketch) => sketch.add(contribution),
            other => other.shift(contribution, Direction::In),
        }
    }

    /// Takes back a contribution that was added.
    pub(crate) fn retract(&self, accumulator: &mut Accumulator, contribution: &Value) {
        if contribution.is_null() {
            return;
        }
        match accumulator {
            Accumulator::Distinct(distinct) => {
                let key = GroupKey::of([contribution]);
                if distinct.seen.count(&key) > 0 && distinct.seen.shift(key, -1) == 0 {
                    self.retract(&mut distinct.inner, contribution);
                }
            }
            Accumulator::List(list) => {
                list.remove(contribution);
            }
            // What a sketch or an append-only choice has seen stays seen.
            Accumulator::Chosen(_) | Accumulator::DistinctSketch(_) | Accumulator::TopSketch(_) => {
            }
            other => other.shift(contribution, Direction::Out),
        }
    }

    /// Adds what a later pane has seen.
    pub(crate) fn merge(&self, accumulator: &mut Accumulator, later: &Accumulator) {
        match (accumulator, later) {
            (Accumulator::Count(count), Accumulator::Count(more)) => *count += more,
            (Accumulator::Integer { sum, count }, Accumulator::Integer { sum: s, count: c }) => {
                *sum = sum.wrapping_add(*s);
                *count += c;
            }
            (Accumulator::Double { sum, count }, Accumulator::Double { sum: s, count: c }) => {
                *sum += s;
                *count += c;
            }
            (Accumulator::Float { sum, count }, Accumulator::Float { sum: s, count: c }) => {
                *sum += s;
                *count += c;
            }
            (Accumulator::Exact(sum), Accumulator::Exact(more)) => sum.merge(more),
            (chosen @ Accumulator::Chosen(_), Accumulator::Chosen(value)) => {
                self.add(chosen, value);
            }
            (Accumulator::Ranked(ranked), Accumulator::Ranked(more)) => {
                for (value, count) in more.iter() {
                    ranked.shift(value.clone(), count);
                }
            }
            (Accumulator::Moments(moments), Accumulator::Moments(more)) => moments.merge(more),
            (Accumulator::List(list), Accumulator::List(more)) => {
                more.values.iter().for_each(|value| list.push(value.clone()));
            }
            (Accumulator::Distinct(distinct), Accumulator::Distinct(more)) => {
                for (key, count) in more.seen.iter() {
                    if distinct.seen.shift(key.clone(), count) == count
                        && let Some(value) = key.values().next()
                    {
                        self.add(&mut distinct.inner, &value);
                    }
                }
            }
            (Accumulator::DistinctSketch(sketch), Accumulator::DistinctSketch(more)) => {
                sketch.merge(more);
            }
            (Accumulator::QuantileSketch(sketch), Accumulator::QuantileSketch(more)) => {
                sketch.merge(more);
            }
            (Accumulator::TopSketch(sketch), Accumulator::TopSketch(more)) => sketch.merge(more),
            (mine, other) => debug_assert!(false, "one call has one state: {mine:?}, {other:?}"),
        }
    }

    /// The result over what was added; NULL over no value, but 0 for COUNT.
    pub(crate) fn result(&self, accumulator: &Accumulator) -> Value {
        let function = self.call.function;
        match accumulator {
            Accumulator::Count(count) => Value::Integer(*count),
            Accumulator::Integer { count: 0, .. }
            | Accumulator::Float { count: 0, .. }
            | Accumulator::Double { count: 0, .. } => Value::Null,
            // An average of integers is an integer in Flink, cut towards zero.
            Accumulator::Integer { sum, count } if function == AggregateKind::Average => {
                Value::Integer(sum.wrapping_div(*count))
            }
            Accumulator::Integer { sum, .. } => {
                Value::Integer(wrapped_to(*sum, &self.call.result_type))
            }
            Accumulator::Float { sum, .. } => Value::Float(*sum),
            Accumulator::Double { sum, count } if function == AggregateKind::Average => {
                let average = sum / widened(*count);
                match self.call.result_type {
                    DataType::Float => Value::Float(narrowed(average)),
                    _ => Value::Double(average),
                }
            }
            Accumulator::Exact(sum) if function == AggregateKind::Average => {
                sum.average(&self.call.result_type)
            }
            Accumulator::Exact(sum) => sum.sum(&self.call.result_type),
            Accumulator::Double { sum, .. } => Value::Double(*sum),
            Accumulator::Chosen(value) => value.clone(),
            Accumulator::Ranked(ranked) => {
                let is_min = function == AggregateKind::Min;
                let end = if is_min { ranked.least() } else { ranked.greatest() };
                end.cloned().unwrap_or(Value::Null)
            }
            Accumulator::Moments(moments) => match function {
                AggregateKind::Spread(spread) => moments.spread(spread),
                _ => Value::Null,
            },
            Accumulator::List(list) => self.listed(&list.values),
            Accumulator::Distinct(distinct) => self.result(&distinct.inner),
            Accumulator::DistinctSketch(sketch) => rounded(sketch.estimate()),
            Accumulator::QuantileSketch(sketch) => match function {
                AggregateKind::ApproximateQuantile(quantile) => {
                    sketch.quantile(quantile).map_or(Value::Null, Value::Double)
                }
                _ => Value::Null,
            },
            Accumulator::TopSketch(sketch) => ranking(sketch.top()),
        }
    }

    fn listed(&self, list: &[Value]) -> Value {
        let chosen = match self.call.function {
            AggregateKind::FirstValue => list.first(),
            AggregateKind::LastValue => list.last(),
            _ if list.is_empty() => None,
            AggregateKind::Collect => return Value::Array(Arc::from(list)),
            _ => {
                let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
                return Value::text(&texts.join(&self.separator));
            }
        };
        chosen.cloned().unwrap_or(Value::Null)
    }

    /// Reads what [`Accumulator::write`] wrote of this call.
    pub(crate) fn read(&self, reader: &mut Reader) -> Result<Accumulator, CodecError> {
        let mut accumulator = self.start();
        self.read_into(&mut accumulator, reader)?;
        Ok(accumulator)
    }

    fn read_into(
        &self,
        accumulator: &mut Accumulator,
        reader: &mut Reader,
    ) -> Result<(), CodecError> {
        match accumulator {
            Accumulator::Count(count) => *count = reader.i64("count")?,
            Accumulator::Integer { sum, count } => {
                (*sum, *count) = (reader.i64("sum")?, reader.i64("count")?);
            }
            Accumulator::Double { sum, count } => {
                (*sum, *count) = (f64::from_bits(reader.u64("sum")?), reader.i64("count")?);
            }
            Accumulator::Float { sum, count } => {
                (*sum, *count) = (f32::from_bits(reader.u32("sum")?), reader.i64("count")?);
            }
            Accumulator::Exact(sum) => **sum = ExactSum::read(reader)?,
            Accumulator::Chosen(value) => *value = value_codec::read(reader)?,
            Accumulator::Ranked(ranked) => **ranked = Tally::read(reader)?,
            Accumulator::Moments(moments) => **moments = Moments::read(reader)?,
            Accumulator::List(list) => {
                for _ in 0..reader.length("values", reader.remaining())? {
                    list.push(value_codec::read(reader)?);
                }
            }
            Accumulator::Distinct(distinct) => {
                distinct.seen = Tally::read(reader)?;
                self.read_into(&mut distinct.inner, reader)?;
            }
            Accumulator::DistinctSketch(sketch) => **sketch = DistinctSketch::read(reader)?,
            Accumulator::QuantileSketch(sketch) => **sketch = QuantileSketch::read(reader)?,
            Accumulator::TopSketch(sketch) => {
                if let AggregateKind::ApproximateTop(ranks) = self.call.function {
                    **sketch = TopSketch::read(ranks, reader)?;
                }
            }
        }
        Ok(())
    }
}

/// The nearest integer of an estimate.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and estimates are small")]
fn rounded(estimate: f64) -> Value {
    Value::Integer(estimate.round() as i64)
}

/// The values, most frequent first.
fn ranking(top: Vec<(Value, i64)>) -> Value {
    if top.is_empty() {
        return Value::Null;
    }
    Value::Array(top.into_iter().map(|(value, _)| value).collect())
}

/// The state of one aggregate over one group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accumulator {
    /// Rows or values counted.
    Count(i64),
    /// Sum and count of integers, for SUM and AVG.
    Integer { sum: i64, count: i64 },
    /// Sum and count of doubles, for SUM and AVG; added in the order of arrival.
    Double { sum: f64, count: i64 },
    /// Sum and count of FLOAT, rounded to 32 bits after each value, as Flink's SUM does.
    Float { sum: f32, count: i64 },
    /// Sum and count of DECIMAL.
    Exact(Box<ExactSum>),
    /// The least, greatest, first or last value so far.
    Chosen(Value),
    /// Every value with its count, where the least or greatest may be taken back.
    Ranked(Box<Tally<Value>>),
    /// For spreads.
    Moments(Box<Moments>),
    /// Every value in the order of arrival.
    List(Box<Values>),
    /// Each value once.
    Distinct(Box<Distinct>),
    /// About how many distinct values.
    DistinctSketch(Box<DistinctSketch>),
    /// Quantiles within 1 %.
    QuantileSketch(Box<QuantileSketch>),
    /// The most frequent values.
    TopSketch(Box<TopSketch>),
}

/// How often each value was added, and the aggregate over each once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distinct {
    seen: Tally<GroupKey>,
    inner: Accumulator,
}

/// Values in the order of arrival, and what they take on the heap.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Values {
    values: Vec<Value>,
    bytes: usize,
}

impl Values {
    fn push(&mut self, value: Value) {
        self.bytes += value_bytes(&value);
        self.values.push(value);
    }

    /// Takes out the first value that is equal.
    fn remove(&mut self, value: &Value) {
        if let Some(index) = self.values.iter().position(|other| other == value) {
            self.bytes = self.bytes.saturating_sub(value_bytes(value));
            self.values.remove(index);
        }
    }

    const fn heap_bytes(&self) -> usize {
        self.values.len() * size_of::<Value>() + self.bytes
    }
}

/// Whether a value comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

impl Accumulator {
    /// Adds or takes back a value, for aggregates that do both alike.
    fn shift(&mut self, value: &Value, direction: Direction) {
        let by: i64 = match direction {
            Direction::In => 1,
            Direction::Out => -1,
        };
        match (self, value) {
            (Self::Count(count), _) => *count += by,
            (Self::Integer { sum, count }, Value::Integer(number)) => {
                *sum = sum.wrapping_add(number.wrapping_mul(by));
                *count += by;
            }
            (Self::Double { sum, count }, Value::Double(number)) => {
                *sum += number * widened(by);
                *count += by;
            }
            (Self::Double { sum, count }, Value::Float(number)) => {
                *sum += f64::from(*number) * widened(by);
                *count += by;
            }
            (Self::Float { sum, count }, Value::Float(number)) => {
                *sum = if by < 0 { *sum - number } else { *sum + number };
                *count += by;
            }
            (Self::Exact(sum), Value::Decimal(number)) => sum.shift(*number, by),
            (Self::Ranked(ranked), value) => {
                ranked.shift(value.clone(), by);
            }
            (Self::Moments(moments), Value::Double(number)) => moments.shift(*number, by),
            (Self::Moments(moments), Value::Integer(number)) => {
                moments.shift(widened(*number), by);
            }
            (Self::QuantileSketch(sketch), value) => {
                let number = match value {
                    Value::Double(number) => *number,
                    Value::Integer(number) => widened(*number),
                    _ => return,
                };
                match direction {
                    Direction::In => sketch.add(number),
                    Direction::Out => sketch.retract(number),
                }
            }
            _ => debug_assert!(false, "the compiler checked the type of an aggregate's argument"),
        }
    }

    /// Writes the state: numbers as 64 bits, values as values, lists behind their length.
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Count(count) => writer.i64(*count),
            Self::Integer { sum, count } => {
                writer.i64(*sum);
                writer.i64(*count);
            }
            Self::Double { sum, count } => {
                writer.u64(sum.to_bits());
                writer.i64(*count);
            }
            Self::Float { sum, count } => {
                writer.u32(sum.to_bits());
                writer.i64(*count);
            }
            Self::Exact(sum) => sum.write(writer),
            Self::Chosen(value) => value_codec::write(value, writer),
            Self::Ranked(ranked) => ranked.write(writer),
            Self::Moments(moments) => moments.write(writer),
            Self::List(list) => {
                writer.length(list.values.len());
                list.values.iter().for_each(|value| value_codec::write(value, writer));
            }
            Self::Distinct(distinct) => {
                let Distinct { seen, inner } = &**distinct;
                seen.write(writer);
                inner.write(writer);
            }
            Self::DistinctSketch(sketch) => sketch.write(writer),
            Self::QuantileSketch(sketch) => sketch.write(writer),
            Self::TopSketch(sketch) => sketch.write(writer),
        }
    }

    /// Bytes on the heap, about; O(1).
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Count(_) | Self::Integer { .. } | Self::Float { .. } | Self::Double { .. } => 0,
            Self::Exact(_) => size_of::<ExactSum>(),
            Self::Chosen(value) => value_bytes(value),
            Self::Ranked(ranked) => size_of::<Tally<Value>>() + ranked.heap_bytes(),
            Self::Moments(_) => size_of::<Moments>(),
            Self::List(list) => size_of::<Values>() + list.heap_bytes(),
            Self::Distinct(distinct) => {
                let Distinct { seen, inner } = &**distinct;
                size_of::<Distinct>() + seen.heap_bytes() + inner.heap_bytes()
            }
            Self::DistinctSketch(sketch) => sketch.heap_bytes(),
            Self::QuantileSketch(sketch) => sketch.heap_bytes(),
            Self::TopSketch(sketch) => sketch.heap_bytes(),
        }
    }
}

/// Heap bytes of a value: the text and the two counts beside it.
pub(crate) fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 16,
        Value::Bytes(bytes) => bytes.len() + 16,
        Value::Array(values) => {
            values.iter().map(|value| value_bytes(value) + size_of::<Value>()).sum::<usize>() + 16
        }
        Value::Map(entries) => {
            let pair = |(key, value): &(Value, Value)| value_bytes(key) + value_bytes(value);
            entries.iter().map(|entry| pair(entry) + 2 * size_of::<Value>()).sum::<usize>() + 16
        }
        Value::Null
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Double(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_) => 0,
    }
}

#[cfg(test)]
mod tests;
