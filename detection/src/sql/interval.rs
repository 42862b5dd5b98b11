//! Interval literals.

use std::time::Duration;

use sqlparser::ast::{DateTimeField, Expr, Interval, Spanned, Value};
use sqlparser::tokenizer::Location;

use crate::sql::error::{Fault, SqlErrorReason};

/// What [`duration`] takes, for error messages.
const EXPECTED: &str = "INTERVAL 'n' SECOND, MINUTE, HOUR or DAY";

/// Longest interval: 100 years, so that event times and intervals add up within 64 bits.
const INTERVAL_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3_600);

/// Reads `INTERVAL 'n' UNIT` with a unit of fixed length; seconds may have three decimals.
pub(crate) fn duration(expression: &Expr, subject: &str, at: Location) -> Result<Duration, Fault> {
    let span = expression.span().start;
    let at = if span.line == 0 { at } else { span };
    let mismatch =
        |found: String| Fault::new(at, SqlErrorReason::mismatch(subject, found, EXPECTED));
    let Expr::Interval(interval) = expression else {
        return Err(mismatch(format!("`{expression}`")));
    };
    let found = || mismatch(format!("`{interval}`"));
    let Interval {
        value,
        leading_field: Some(unit),
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    } = interval
    else {
        return Err(found());
    };
    let Expr::Value(value) = &**value else { return Err(found()) };
    let Value::SingleQuotedString(count) = &value.value else { return Err(found()) };
    let unit_seconds = match unit {
        DateTimeField::Second | DateTimeField::Seconds => 1,
        DateTimeField::Minute | DateTimeField::Minutes => 60,
        DateTimeField::Hour | DateTimeField::Hours => 3_600,
        DateTimeField::Day | DateTimeField::Days => 24 * 3_600,
        _ => return Err(found()),
    };
    let millis = millis(count, unit_seconds).ok_or_else(found)?;
    let duration = Duration::from_millis(millis);
    if duration > INTERVAL_MAX {
        return Err(mismatch(format!("`{interval}`, longer than 100 years")));
    }
    Ok(duration)
}

fn millis(count: &str, unit_seconds: u64) -> Option<u64> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, decimals) = match count.split_once('.') {
        Some((whole, decimals)) if unit_seconds == 1 => (whole, decimals),
        Some(_) => return None,
        None => (count, "0"),
    };
    if !digits(whole) || !digits(decimals) || !(1..=3).contains(&decimals.len()) {
        return None;
    }
    let below_second = format!("{decimals:0<3}").parse::<u64>().ok()?;
    let seconds = whole.parse::<u64>().ok()?.checked_mul(unit_seconds)?;
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
    fn a_sign_a_word_or_a_count_beyond_64_bits_is_no_interval() {
        for count in ["-1", "", "ten", "99999999999999999999", "1 "] {
            assert_eq!(millis(count, 60), None, "{count}");
        }
    }
}
