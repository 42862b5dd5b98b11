//! Timestamps as text.

use std::fmt;

use headland_event::EventTime;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// What [`parse`] takes, for error messages.
pub(crate) const EXPECTED: &str = "RFC 3339 or YYYY-MM-DD HH:MM:SS[.fff]";

/// Bytes of a date and the separator after it; an offset can stand only behind them.
const DATE_LENGTH: usize = 11;

/// Parses RFC 3339, or a date and time without an offset, which is read as UTC.
///
/// Digits below a millisecond are cut off towards the past, as Flink's TIMESTAMP(3) does.
pub(crate) fn parse(text: &str) -> Option<EventTime> {
    let clock = text.get(DATE_LENGTH..)?;
    let timestamp = if clock.contains(['Z', 'z', '+', '-']) {
        text.parse::<Timestamp>().ok()?
    } else {
        text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()
    };
    let millis = timestamp.as_nanosecond().div_euclid(1_000_000);
    i64::try_from(millis).ok().map(EventTime::from_millis)
}

/// Parses what [`parse`] takes, a date alone, and a time without seconds.
pub(crate) fn parse_lenient(text: &str) -> Option<EventTime> {
    let text = text.trim();
    if let Some(time) = parse(text) {
        return Some(time);
    }
    if let Some(days) = parse_date(text) {
        return Some(EventTime::from_millis(i64::from(days) * 24 * 3_600 * 1_000));
    }
    parse(&format!("{text}:00"))
}

/// A time as Flink casts it to text: `YYYY-MM-DD HH:MM:SS.fff`.
pub(crate) fn plain(time: EventTime) -> String {
    match Timestamp::from_millisecond(time.millis()) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => time.to_string(),
    }
}

/// Writes a date as `YYYY-MM-DD`, or the plain number of days for one no calendar of ours reaches.
pub(crate) fn write_date(days: i32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match date(days) {
        Some(date) => write!(f, "{date}"),
        None => write!(f, "{days}"),
    }
}

/// The date a number of days after 1970-01-01; none beyond the calendar.
pub(crate) fn date(days: i32) -> Option<Date> {
    Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Days from 1970-01-01 to a date.
pub(crate) fn days(date: Date) -> i32 {
    let span = date.duration_since(Date::constant(1970, 1, 1));
    // The calendar has fewer than eight million days.
    i32::try_from(span.as_hours().div_euclid(24)).unwrap_or(i32::MAX)
}

/// Writes a time of day as `HH:MM:SS[.fff]`.
pub(crate) fn write_time(millis: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (seconds, below) = (millis / 1_000, millis % 1_000);
    write!(f, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
    if below == 0 { Ok(()) } else { write!(f, ".{below:03}") }
}

/// Parses `YYYY-MM-DD`.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    text.parse::<Date>().ok().map(days)
}

/// Parses `HH:MM:SS[.fff]`.
pub(crate) fn parse_time(text: &str) -> Option<u32> {
    let time = text.parse::<jiff::civil::Time>().ok()?;
    let seconds = (i32::from(time.hour()) * 60 + i32::from(time.minute())) * 60;
    let millis = (seconds + i32::from(time.second())) * 1_000 + i32::from(time.millisecond());
    u32::try_from(millis).ok()
}

/// Writes RFC 3339 in UTC, or plain milliseconds for a time no calendar of ours reaches.
pub(crate) fn write(time: EventTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match Timestamp::from_millisecond(time.millis()) {
        Ok(timestamp) if time.millis().rem_euclid(1_000) == 0 => write!(f, "{timestamp}"),
        Ok(timestamp) => write!(f, "{timestamp:.3}"),
        Err(_) => write!(f, "{time}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Value;

    fn millis(text: &str) -> Option<i64> {
        parse(text).map(EventTime::millis)
    }

    #[test]
    fn a_time_with_an_offset_and_one_without_name_the_same_moment() {
        let moment = Some(1_291_191_960_000);

        assert_eq!(millis("2010-12-01T08:26:00Z"), moment);
        assert_eq!(millis("2010-12-01T10:26:00+02:00"), moment);
        assert_eq!(millis("2010-12-01 08:26:00"), moment);
        assert_eq!(millis("2010-12-01T08:26:00"), moment);
    }

    #[test]
    fn digits_below_a_millisecond_are_cut_towards_the_past() {
        assert_eq!(millis("1970-01-01 00:00:00.0019"), Some(1));
        assert_eq!(millis("1969-12-31 23:59:59.9989"), Some(-2));
    }

    #[test]
    fn a_date_alone_and_other_text_are_refused() {
        for text in ["2010-12-01", "", "yesterday at noon", "2010-13-01 00:00:00", "1291191960000"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_of_write_is_the_same_time(millis in -60_000_000_000_000_i64..250_000_000_000_000) {
            let time = EventTime::from_millis(millis);

            prop_assert_eq!(parse(&Value::Timestamp(time).to_string()), Some(time));
        }
    }
}
