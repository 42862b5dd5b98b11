//! Interval literals.

use std::time::Duration;

use sqlparser::ast::{DateTimeField, Expr, Interval, Spanned, Value as Literal};
use sqlparser::tokenizer::Location;

use crate::expression::{Expression, Typed};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::{DataType, Value};

/// What [`duration`] takes, for error messages.
const EXPECTED: &str = "INTERVAL 'n' SECOND, MINUTE, HOUR or DAY";

/// What [`literal`] takes, for error messages.
const LITERALS: &str = "INTERVAL 'n' SECOND, MINUTE, HOUR, DAY, MONTH or YEAR, 'd h:m:s' DAY TO \
                        SECOND or 'y-m' YEAR TO MONTH";

/// Longest interval: 100 years, so that event times and intervals add up within 64 bits.
const INTERVAL_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3_600);

/// Reads an interval of fixed length that is no less than 0.
pub(crate) fn duration(expression: &Expr, subject: &str, at: Location) -> Result<Duration, Fault> {
    let span = expression.span().start;
    let at = if span.line == 0 { at } else { span };
    let mismatch =
        |found: String| Fault::new(at, SqlErrorReason::mismatch(subject, found, EXPECTED));
    let Expr::Interval(interval) = expression else {
        return Err(mismatch(format!("`{expression}`")));
    };
    let found = || mismatch(format!("`{interval}`"));
    let (length, data_type) = parse(interval).ok_or_else(found)?;
    let millis = u64::try_from(length).map_err(|_| found())?;
    if data_type != DataType::DayInterval {
        return Err(found());
    }
    let duration = Duration::from_millis(millis);
    if duration > INTERVAL_MAX {
        return Err(mismatch(format!("`{interval}`, longer than 100 years")));
    }
    Ok(duration)
}

/// Reads an interval as a value of an expression.
pub(crate) fn literal(expression: &Expr, at: Location) -> Result<Typed, Fault> {
    let parsed = match expression {
        Expr::Interval(interval) => parse(interval),
        _ => None,
    };
    let Some((length, data_type)) = parsed else {
        let found = format!("`{expression}`");
        return Err(Fault::new(at, SqlErrorReason::mismatch("the interval", found, LITERALS)));
    };
    Ok(Typed::new(Expression::Constant(Value::Integer(length)), data_type))
}

/// Milliseconds or months, by the type.
fn parse(interval: &Interval) -> Option<(i64, DataType)> {
    let Interval {
        value,
        leading_field,
        leading_precision: None,
        last_field,
        fractional_seconds_precision: None,
    } = interval
    else {
        return None;
    };
    let Expr::Value(value) = &**value else { return None };
    let Literal::SingleQuotedString(text) = &value.value else { return None };
    match (leading_field, last_field) {
        (Some(unit), None) => single(text, &unit.to_string()),
        // `INTERVAL '20 seconds'`, as PostgreSQL and Arroyo write it.
        (None, None) => {
            let (count, unit) = text.trim().split_once(' ')?;
            single(count, unit)
        }
        (Some(DateTimeField::Year | DateTimeField::Years), Some(DateTimeField::Month)) => {
            let (years, months) = text.split_once('-')?;
            let months = digits(years)?.checked_mul(12)?.checked_add(digits(months)?)?;
            Some((months, DataType::MonthInterval))
        }
        (Some(first), Some(last)) => {
            Some((clock(text, &first.to_string(), &last.to_string())?, DataType::DayInterval))
        }
        (None, Some(_)) => None,
    }
}

fn single(count: &str, unit: &str) -> Option<(i64, DataType)> {
    let (sign, count) = count.strip_prefix('-').map_or((1, count), |count| (-1, count));
    let unit = unit.trim().to_ascii_uppercase();
    let seconds = match unit.strip_suffix('S').unwrap_or(&unit) {
        "SECOND" => 1,
        "MINUTE" => 60,
        "HOUR" => 3_600,
        "DAY" => 24 * 3_600,
        "WEEK" => 7 * 24 * 3_600,
        "MONTH" => return Some((sign * digits(count)?, DataType::MonthInterval)),
        "YEAR" => return Some((sign * digits(count)?.checked_mul(12)?, DataType::MonthInterval)),
        _ => return None,
    };
    Some((sign * millis(count, seconds)?, DataType::DayInterval))
}

/// `d h:m:s` from one unit to another.
fn clock(text: &str, first: &str, last: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 4] =
        [("DAY", 86_400), ("HOUR", 3_600), ("MINUTE", 60), ("SECOND", 1)];
    let place = |unit: &str| UNITS.iter().position(|(name, _)| *name == unit.trim_end_matches('S'));
    let (first, last) = (place(first)?, place(last)?);
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    let units = UNITS.get(first..=last)?;
    if parts.len() != units.len() {
        return None;
    }
    let lengths = parts.iter().zip(units).map(|(part, (_, seconds))| millis(part, *seconds));
    lengths.sum()
}

/// A count of digits alone.
fn digits(text: &str) -> Option<i64> {
    let is_count = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_count.then(|| text.parse().ok()).flatten()
}

fn millis(count: &str, unit_seconds: i64) -> Option<i64> {
    let (whole, decimals) = match count.split_once('.') {
        Some((whole, decimals)) if unit_seconds == 1 => (whole, decimals),
        Some(_) => return None,
        None => (count, "0"),
    };
    if !(1..=3).contains(&decimals.len()) {
        return None;
    }
    let below_second = digits(&format!("{decimals:0<3}"))?;
    let seconds = digits(whole)?.checked_mul(unit_seconds)?;
    seconds.checked_mul(1_000)?.checked_add(below_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_up_to_three_decimals_and_hours_none() {
        assert_eq!(millis("10", 3_600), Some(36_000_000));
        assert_eq!(millis("0.5", 1), Some(500));
        assert_eq!(millis("1.001", 1), Some(1_001));
        assert_eq!(millis("1.0001", 1), None);
        assert_eq!(millis("1.5", 3_600), None);
    }

    #[test]
    fn a_sign_a_word_or_a_count_beyond_64_bits_is_no_count() {
        for count in ["-1", "", "ten", "99999999999999999999", "1 "] {
            assert_eq!(millis(count, 60), None, "{count}");
        }
    }

    #[test]
    fn an_interval_may_go_from_one_unit_to_another() {
        assert_eq!(clock("1 02:03:04.5", "DAY", "SECOND"), Some(93_784_500));
        assert_eq!(clock("02:03", "HOUR", "MINUTE"), Some(7_380_000));
        assert_eq!(clock("02:03", "DAY", "MINUTE"), None);
        assert_eq!(single("2", "years"), Some((24, DataType::MonthInterval)));
        assert_eq!(single("-3", "DAY"), Some((-259_200_000, DataType::DayInterval)));
    }
}
