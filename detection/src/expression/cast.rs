//! CAST and TRY_CAST.

use std::sync::Arc;

use headland_event::EventTime;

use crate::decimal::Decimal;
use crate::expression::tree::{EvaluationError, Expression, wrapped_to};
use crate::timestamp;
use crate::value::{DataType, Value, narrowed, widened};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// A change of type, checked by the compiler with [`can_cast`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cast {
    pub(crate) input: Expression,
    pub(crate) from: DataType,
    pub(crate) to: DataType,
    pub(crate) on_failure: OnFailure,
}

/// What a value that cannot be cast becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// CAST: the row is refused.
    Refuse,
    /// TRY_CAST.
    Null,
}

impl Cast {
    /// Whether every value has one in the other type.
    pub(crate) const fn is_total(&self) -> bool {
        use DataType::{BigInt, Double, Float, Int, SmallInt, TinyInt};
        match (self.on_failure, &self.from, &self.to) {
            (OnFailure::Null, _, _) => true,
            (OnFailure::Refuse, TinyInt | SmallInt | Int, BigInt | Double)
            | (OnFailure::Refuse, BigInt | Float, Double) => true,
            (OnFailure::Refuse, _, _) => false,
        }
    }

    /// Whether every value has one in the other type, and no two have the same.
    pub(crate) const fn keeps_apart(&self) -> bool {
        use DataType::{BigInt, Double, Float, Int, SmallInt, TinyInt};
        matches!(
            (&self.from, &self.to),
            (TinyInt, SmallInt | Int | BigInt | Float | Double)
                | (SmallInt, Int | BigInt | Float | Double)
                | (Int, BigInt | Double)
                | (Float, Double)
        )
    }

    /// The value for a row.
    pub(crate) fn evaluate(&self, row: &[Value]) -> Result<Value, EvaluationError> {
        let value = self.input.evaluate(row)?;
        match (cast(&value, &self.from, &self.to), self.on_failure) {
            (Some(value), _) => Ok(value),
            (None, OnFailure::Null) => Ok(Value::Null),
            (None, OnFailure::Refuse) => Err(EvaluationError::Cast),
        }
    }
}

/// Whether values of one type may be cast to another.
pub(crate) fn can_cast(from: &DataType, to: &DataType) -> bool {
    use DataType::{Array, Boolean, Date, Row, String, Time, Timestamp, TimestampLtz};
    let is_number = |one: &DataType| one.is_numeric();
    match (from, to) {
        (one, other) if one == other => true,
        (_, String) => true,
        (String, Array(_) | Row(_) | DataType::Map(_)) => false,
        (String, DataType::MonthInterval | DataType::DayInterval) => false,
        (String, _) => true,
        (Boolean, to) => is_number(to),
        (from, Boolean) => from.is_numeric(),
        (Timestamp | TimestampLtz, Timestamp | TimestampLtz | Date | Time) => true,
        (Date, Timestamp | TimestampLtz) => true,
        (Array(from), Array(to)) => can_cast(from, to),
        (Row(from), Row(to)) => {
            let pairs = from.iter().zip(&**to);
            from.len() == to.len()
                && pairs.into_iter().all(|(from, to)| can_cast(from.data_type(), to.data_type()))
        }
        (from, to) => is_number(from) && is_number(to),
    }
}

/// The value in another type; none when it has no such value. A DECIMAL that does not fit is NULL,
/// as in Flink.
pub(crate) fn cast(value: &Value, from: &DataType, to: &DataType) -> Option<Value> {
    if value.is_null() || from == to {
        return Some(value.clone());
    }
    match (value, to) {
        (_, DataType::String) => Some(Value::text(&text(value, from))),
        (Value::Text(text), _) => parsed(text.trim(), to),
        (_, DataType::Boolean) => Some(Value::Boolean(!is_zero(value)?)),
        (Value::Boolean(truth), _) => number(&Value::Integer(i64::from(*truth)), to),
        (Value::Timestamp(time), DataType::Date) => {
            i32::try_from(time.millis().div_euclid(DAY_MS)).ok().map(Value::Date)
        }
        (Value::Timestamp(time), DataType::Time) => {
            u32::try_from(time.millis().rem_euclid(DAY_MS)).ok().map(Value::Time)
        }
        (Value::Timestamp(_), _) => Some(value.clone()),
        (Value::Date(days), _) => {
            Some(Value::Timestamp(EventTime::from_millis(i64::from(*days) * DAY_MS)))
        }
        (Value::Array(values), _) => {
            let cast_all: Option<Arc<[Value]>> = match (from, to) {
                (DataType::Array(from), DataType::Array(to)) => {
                    values.iter().map(|value| cast(value, from, to)).collect()
                }
                (DataType::Row(from), DataType::Row(to)) => {
                    let types = from.iter().zip(&**to);
                    let pairs = values.iter().zip(types);
                    pairs.map(|(v, (from, to))| cast(v, from.data_type(), to.data_type())).collect()
                }
                _ => None,
            };
            cast_all.map(Value::Array)
        }
        _ => number(value, to),
    }
}

fn is_zero(value: &Value) -> Option<bool> {
    Some(match value {
        Value::Integer(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::Float(number) => *number == 0.0,
        Value::Decimal(number) => number.is_zero(),
        _ => return None,
    })
}

/// A number in another numeric type: whole numbers wrap and cut as in Java.
fn number(value: &Value, to: &DataType) -> Option<Value> {
    let wide = match value {
        Value::Integer(number) => widened(*number),
        Value::Double(number) => *number,
        Value::Float(number) => f64::from(*number),
        Value::Decimal(number) => number.to_f64(),
        _ => return None,
    };
    match to {
        DataType::Double => Some(Value::Double(wide)),
        DataType::Float => Some(Value::Float(narrowed(wide))),
        DataType::Decimal { precision, scale } => {
            let decimal = match value {
                Value::Integer(number) => {
                    Decimal::from_integer(*number).rounded(*precision, *scale)
                }
                Value::Decimal(number) => number.rounded(*precision, *scale),
                _ => Decimal::from_f64(wide, *precision, *scale),
            };
            Some(decimal.map_or(Value::Null, Value::Decimal))
        }
        to if to.is_integer() => {
            let whole = match value {
                Value::Integer(number) => *number,
                Value::Decimal(number) => number.to_integer()?,
                // Java goes through INT for what is narrower, and saturates there.
                _ if *to == DataType::BigInt => saturated(wide),
                _ => saturated(wide).clamp(i64::from(i32::MIN), i64::from(i32::MAX)),
            };
            Some(Value::Integer(wrapped_to(whole, to)))
        }
        _ => None,
    }
}

/// The whole part within 64 bits; NaN is 0.
#[expect(clippy::cast_possible_truncation, reason = "a cast to a whole number cuts and saturates")]
pub(crate) const fn saturated(number: f64) -> i64 {
    number as i64
}

fn parsed(text: &str, to: &DataType) -> Option<Value> {
    match to {
        DataType::Boolean => match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "1" => Some(Value::Boolean(true)),
            "f" | "false" | "n" | "no" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        DataType::Bytes => Some(Value::Bytes(Arc::from(text.as_bytes()))),
        DataType::Timestamp | DataType::TimestampLtz => {
            timestamp::parse_lenient(text).map(Value::Timestamp)
        }
        DataType::Date => timestamp::parse_date(text.get(..10).unwrap_or(text)).map(Value::Date),
        DataType::Time => timestamp::parse_time(text).map(Value::Time),
        DataType::Double => text.parse().ok().map(Value::Double),
        DataType::Float => text.parse().ok().map(Value::Float),
        DataType::Decimal { precision, scale } => {
            let decimal = Decimal::parse(text)?.rounded(*precision, *scale);
            Some(decimal.map_or(Value::Null, Value::Decimal))
        }
        to if to.is_integer() => {
            // Digits behind a point are cut, as in Flink.
            let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
            let is_number = decimals.bytes().all(|byte| byte.is_ascii_digit());
            let whole = if is_number { whole.parse::<i64>().ok()? } else { return None };
            let value = Value::Integer(whole);
            value.fits(to).then_some(value)
        }
        _ => None,
    }
}

/// A value as text, as Flink's CAST writes it.
pub(crate) fn text(value: &Value, from: &DataType) -> String {
    match (value, from) {
        (Value::Null, _) => "NULL".to_owned(),
        (Value::Boolean(truth), _) => if *truth { "TRUE" } else { "FALSE" }.to_owned(),
        (Value::Double(number), _) => java_number(*number, &format!("{number:e}")),
        (Value::Float(number), _) => java_number(f64::from(*number), &format!("{number:e}")),
        (Value::Bytes(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (Value::Timestamp(time), _) => timestamp::plain(*time),
        (Value::Integer(months), DataType::MonthInterval) => {
            let sign = if *months < 0 { '-' } else { '+' };
            format!("{sign}{}-{:02}", months.abs() / 12, months.abs() % 12)
        }
        (Value::Integer(millis), DataType::DayInterval) => day_interval(*millis),
        (Value::Array(values), DataType::Array(element)) => {
            let texts: Vec<_> = values.iter().map(|value| text(value, element)).collect();
            format!("[{}]", texts.join(", "))
        }
        (Value::Array(values), DataType::Row(columns)) => {
            let pairs = values.iter().zip(&**columns);
            let texts: Vec<_> = pairs.map(|(value, c)| text(value, c.data_type())).collect();
            format!("({})", texts.join(", "))
        }
        (Value::Map(entries), DataType::Map(entry)) => {
            let texts = entries
                .iter()
                .map(|(key, value)| format!("{}={}", text(key, &entry.0), text(value, &entry.1)));
            format!("{{{}}}", texts.collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

fn day_interval(millis: i64) -> String {
    let sign = if millis < 0 { '-' } else { '+' };
    let rest = millis.unsigned_abs();
    let (seconds, below) = (rest / 1_000, rest % 1_000);
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    format!(
        "{sign}{} {:02}:{:02}:{:02}.{below:03}",
        hours / 24,
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// A floating-point number as Java writes it: plain from 10^-3 below 10^7, else with an exponent.
/// `scientific` is its shortest form as Rust writes it, `1.5e10`.
fn java_number(number: f64, scientific: &str) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let mut text = sign.to_owned();
    if number != 0.0 && !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        text.push_str(&format!("{first}.{rest}E{exponent}"));
        return text;
    }
    let Ok(whole_digits) = usize::try_from(exponent + 1) else {
        let zeros = usize::try_from(-exponent - 1).unwrap_or_default();
        return format!("{sign}0.{}{digits}", "0".repeat(zeros));
    };
    if whole_digits == 0 {
        return format!("{sign}0.{digits}");
    }
    let padded = format!("{digits:0<width$}", width = whole_digits + 1);
    let (whole, decimals) = padded.split_at(whole_digits);
    format!("{sign}{whole}.{decimals}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(value: &Value, from: &DataType, to: &DataType) -> Option<Value> {
        cast(value, from, to)
    }

    #[test]
    fn a_double_is_written_as_java_writes_it() {
        let written = |number: f64| text(&Value::Double(number), &DataType::Double);

        assert_eq!(written(1.0), "1.0");
        assert_eq!(written(0.001), "0.001");
        assert_eq!(written(0.0001), "1.0E-4");
        assert_eq!(written(1_234_567.5), "1234567.5");
        assert_eq!(written(12_345_678.5), "1.23456785E7");
        assert_eq!(written(-120.25), "-120.25");
        assert_eq!(written(0.0), "0.0");
    }

    #[test]
    fn whole_numbers_wrap_and_doubles_saturate() {
        let big = Value::Integer(3_000_000_000);

        assert_eq!(
            to(&big, &DataType::BigInt, &DataType::Int),
            Some(Value::Integer(-1_294_967_296))
        );
        assert_eq!(
            to(&Value::Double(1e20), &DataType::Double, &DataType::BigInt),
            Some(Value::Integer(i64::MAX))
        );
        assert_eq!(
            to(&Value::Double(-1.9), &DataType::Double, &DataType::Int),
            Some(Value::Integer(-1))
        );
    }

    #[test]
    fn text_that_is_no_number_has_no_value_and_digits_behind_a_point_are_cut() {
        let cast = |text: &str| to(&Value::text(text), &DataType::String, &DataType::Int);

        assert_eq!(cast(" 12 "), Some(Value::Integer(12)));
        assert_eq!(cast("12.9"), Some(Value::Integer(12)));
        assert_eq!(cast("12x"), None);
        assert_eq!(cast("2147483648"), None);
    }

    #[test]
    fn a_decimal_that_does_not_fit_is_null() {
        let small = DataType::Decimal { precision: 3, scale: 1 };

        assert_eq!(to(&Value::Integer(100), &DataType::Int, &small), Some(Value::Null));
        assert_eq!(
            to(&Value::Double(12.35), &DataType::Double, &small).unwrap().to_string(),
            "12.4"
        );
    }

    #[test]
    fn a_time_is_cut_to_its_date_before_the_epoch_too() {
        let time = Value::Timestamp(EventTime::from_millis(-1));

        assert_eq!(to(&time, &DataType::Timestamp, &DataType::Date), Some(Value::Date(-1)));
        assert_eq!(
            to(&time, &DataType::Timestamp, &DataType::String),
            Some(Value::text("1969-12-31 23:59:59.999"))
        );
    }
}
