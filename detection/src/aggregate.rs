//! Aggregates: what a window keeps per group instead of its rows.

use std::borrow::Cow;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::Expression;
use crate::expression::tree::{EvaluationError, wrapped};
use crate::value::{DataType, Value, widened};
use crate::value_codec;

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateFunction {
    Count,
    Sum,
    Avg,
    Min,
    Max,
}

impl AggregateFunction {
    /// Names the compiler knows.
    pub(crate) const NAMES: [&str; 5] = ["COUNT", "SUM", "AVG", "MIN", "MAX"];

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "COUNT" => Self::Count,
            "SUM" => Self::Sum,
            "AVG" => Self::Avg,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

/// One call of an aggregate in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aggregate {
    pub(crate) function: AggregateFunction,
    /// What is aggregated; none for `COUNT(*)`.
    pub(crate) argument: Option<Expression>,
    /// The argument's type; BIGINT for `COUNT(*)`.
    pub(crate) argument_type: DataType,
}

impl Aggregate {
    /// The type of the result: BIGINT for COUNT, else the argument's, as in Flink.
    pub(crate) const fn data_type(&self) -> DataType {
        match self.function {
            AggregateFunction::Count => DataType::BigInt,
            AggregateFunction::Sum
            | AggregateFunction::Avg
            | AggregateFunction::Min
            | AggregateFunction::Max => self.argument_type,
        }
    }

    /// What a snapshot says about this aggregate's state, for example `AVG DOUBLE`.
    pub(crate) fn shape(&self) -> String {
        format!("{} {}", self.function.name(), self.argument_type)
    }

    /// The state of no rows.
    pub(crate) fn start(&self) -> Accumulator {
        let is_double = self.argument_type == DataType::Double;
        match self.function {
            AggregateFunction::Count => Accumulator::Count(0),
            AggregateFunction::Sum | AggregateFunction::Avg if is_double => {
                Accumulator::DoubleSum { sum: 0.0, count: 0 }
            }
            AggregateFunction::Sum | AggregateFunction::Avg => {
                Accumulator::IntegerSum { sum: 0, count: 0 }
            }
            AggregateFunction::Min | AggregateFunction::Max => Accumulator::Extreme(Value::Null),
        }
    }

    /// What a row contributes; a value other than NULL for `COUNT(*)`.
    pub(crate) fn contribution(&self, row: &[Value]) -> Result<Value, EvaluationError> {
        match &self.argument {
            Some(argument) => argument.evaluate(row).map(Cow::into_owned),
            None => Ok(Value::Boolean(true)),
        }
    }

    /// Adds a row's contribution; NULL adds nothing.
    pub(crate) fn add(&self, accumulator: &mut Accumulator, contribution: &Value) {
        match (accumulator, contribution) {
            (_, Value::Null) => {}
            (Accumulator::Count(count), _) => *count += 1,
            (Accumulator::IntegerSum { sum, count }, Value::Integer(number)) => {
                *sum = sum.wrapping_add(*number);
                *count += 1;
            }
            (Accumulator::DoubleSum { sum, count }, Value::Double(number)) => {
                *sum += number;
                *count += 1;
            }
            (Accumulator::Extreme(extreme), value) => {
                let is_beyond = match self.function {
                    AggregateFunction::Min => value < extreme,
                    AggregateFunction::Max => value > extreme,
                    AggregateFunction::Count | AggregateFunction::Sum | AggregateFunction::Avg => {
                        false
                    }
                };
                if extreme.is_null() || is_beyond {
                    *extreme = value.clone();
                }
            }
            (Accumulator::IntegerSum { .. } | Accumulator::DoubleSum { .. }, _) => {
                debug_assert!(false, "the compiler checked the type of an aggregate's argument");
            }
        }
    }

    /// The result over the rows added so far; NULL over no value, but 0 for COUNT.
    pub(crate) fn result(&self, accumulator: &Accumulator) -> Value {
        let is_average = self.function == AggregateFunction::Avg;
        match accumulator {
            Accumulator::Count(count) => Value::Integer(*count),
            Accumulator::IntegerSum { count: 0, .. } | Accumulator::DoubleSum { count: 0, .. } => {
                Value::Null
            }
            // An average of integers is an integer in Flink, cut towards zero.
            Accumulator::IntegerSum { sum, count } if is_average => {
                Value::Integer(sum.wrapping_div(*count))
            }
            Accumulator::IntegerSum { sum, .. } if self.argument_type == DataType::Int => {
                Value::Integer(wrapped(*sum))
            }
            Accumulator::IntegerSum { sum, .. } => Value::Integer(*sum),
            Accumulator::DoubleSum { sum, count } if is_average => {
                Value::Double(sum / widened(*count))
            }
            Accumulator::DoubleSum { sum, .. } => Value::Double(*sum),
            Accumulator::Extreme(value) => value.clone(),
        }
    }

    /// Reads the state that [`Accumulator::write`] wrote.
    pub(crate) fn read(&self, reader: &mut Reader) -> Result<Accumulator, CodecError> {
        Ok(match self.start() {
            Accumulator::Count(_) => Accumulator::Count(count(reader)?),
            Accumulator::IntegerSum { .. } => {
                Accumulator::IntegerSum { sum: reader.i64("sum")?, count: count(reader)? }
            }
            Accumulator::DoubleSum { .. } => {
                let sum = f64::from_bits(reader.u64("sum")?);
                Accumulator::DoubleSum { sum, count: count(reader)? }
            }
            Accumulator::Extreme(_) => Accumulator::Extreme(value_codec::read(reader)?),
        })
    }
}

fn count(reader: &mut Reader) -> Result<i64, CodecError> {
    let at = reader.position();
    let found = reader.i64("count")?;
    if found < 0 {
        return Err(CodecError::Value { field: "count", at, found, expected: "0 or more" });
    }
    Ok(found)
}

/// The state of one aggregate over one group; which variant is fixed by the [`Aggregate`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accumulator {
    /// Rows or values counted.
    Count(i64),
    /// Sum and count of integers, for SUM and AVG.
    IntegerSum { sum: i64, count: i64 },
    /// Sum and count of doubles, for SUM and AVG; added in the order of arrival.
    DoubleSum { sum: f64, count: i64 },
    /// The least or greatest value so far.
    Extreme(Value),
}

impl Accumulator {
    /// Writes the state: numbers as 64 bits, an extreme as a value.
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Count(count) => writer.i64(*count),
            Self::IntegerSum { sum, count } => {
                writer.i64(*sum);
                writer.i64(*count);
            }
            Self::DoubleSum { sum, count } => {
                writer.u64(sum.to_bits());
                writer.i64(*count);
            }
            Self::Extreme(value) => value_codec::write(value, writer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(function: AggregateFunction, argument_type: DataType, values: &[Value]) -> Value {
        let argument = Some(Expression::Column(0));
        let aggregate = Aggregate { function, argument, argument_type };
        let mut accumulator = aggregate.start();
        for value in values {
            let contribution = aggregate.contribution(std::slice::from_ref(value)).unwrap();
            aggregate.add(&mut accumulator, &contribution);
        }
        let mut writer = Writer::new();
        accumulator.write(&mut writer);
        let mut reader = Reader::new(writer.finish());
        assert_eq!(aggregate.read(&mut reader), Ok(accumulator.clone()));
        aggregate.result(&accumulator)
    }

    const INTEGERS: [Value; 4] =
        [Value::Integer(1), Value::Null, Value::Integer(2), Value::Integer(4)];

    #[test]
    fn nulls_are_ignored_by_every_aggregate_of_a_value() {
        let bigint = |function| over(function, DataType::BigInt, &INTEGERS);

        assert_eq!(bigint(AggregateFunction::Count), Value::Integer(3));
        assert_eq!(bigint(AggregateFunction::Sum), Value::Integer(7));
        assert_eq!(bigint(AggregateFunction::Min), Value::Integer(1));
        assert_eq!(bigint(AggregateFunction::Max), Value::Integer(4));
    }

    #[test]
    fn the_average_of_integers_is_cut_towards_zero_and_of_doubles_is_not() {
        let negative = [Value::Integer(-3), Value::Integer(-4)];
        let doubles = [Value::Double(1.0), Value::Double(2.0)];

        assert_eq!(over(AggregateFunction::Avg, DataType::BigInt, &INTEGERS), Value::Integer(2));
        assert_eq!(over(AggregateFunction::Avg, DataType::BigInt, &negative), Value::Integer(-3));
        assert_eq!(over(AggregateFunction::Avg, DataType::Double, &doubles), Value::Double(1.5));
    }

    #[test]
    fn over_no_value_a_count_is_zero_and_everything_else_is_null() {
        for (function, expected) in [
            (AggregateFunction::Count, Value::Integer(0)),
            (AggregateFunction::Sum, Value::Null),
            (AggregateFunction::Avg, Value::Null),
            (AggregateFunction::Min, Value::Null),
            (AggregateFunction::Max, Value::Null),
        ] {
            assert_eq!(over(function, DataType::Double, &[Value::Null]), expected, "{function:?}");
        }
    }

    #[test]
    fn the_sum_of_int_wraps_at_32_bits() {
        let values = [Value::Integer(i64::from(i32::MAX)), Value::Integer(1)];

        assert_eq!(
            over(AggregateFunction::Sum, DataType::Int, &values),
            Value::Integer(i64::from(i32::MIN))
        );
    }

    #[test]
    fn the_least_text_is_the_first_by_code_point() {
        let values = [Value::text("b"), Value::text("B"), Value::text("a")];

        assert_eq!(over(AggregateFunction::Min, DataType::String, &values), Value::text("B"));
    }
}
