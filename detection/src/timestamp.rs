//! Timestamps as text.

use std::fmt;

use headland_event::EventTime;
use jiff::Timestamp;
use jiff::civil::DateTime;
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
