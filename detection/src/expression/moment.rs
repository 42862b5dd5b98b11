//! Functions of time, on UTC.

use headland_event::EventTime;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::expression::function::Parameter::{Any, Moment, Text, Whole};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::timestamp;
use crate::value::Value;

type Called = Result<Value, EvaluationError>;

pub(super) static FUNCTIONS: &[Function] = &[
    function("YEAR", &[Moment], Outcome::BigInt, |a| field(a, Unit::Year)),
    function("QUARTER", &[Moment], Outcome::BigInt, |a| field(a, Unit::Quarter)),
    function("MONTH", &[Moment], Outcome::BigInt, |a| field(a, Unit::Month)),
    function("WEEK", &[Moment], Outcome::BigInt, |a| field(a, Unit::Week)),
    function("DAYOFYEAR", &[Moment], Outcome::BigInt, |a| field(a, Unit::DayOfYear)),
    function("DAYOFMONTH", &[Moment], Outcome::BigInt, |a| field(a, Unit::Day)),
    function("DAYOFWEEK", &[Moment], Outcome::BigInt, |a| field(a, Unit::DayOfWeek)),
    function("HOUR", &[Moment], Outcome::BigInt, |a| field(a, Unit::Hour)),
    function("MINUTE", &[Moment], Outcome::BigInt, |a| field(a, Unit::Minute)),
    function("SECOND", &[Moment], Outcome::BigInt, |a| field(a, Unit::Second)),
    function("EXTRACT", &[Text, Moment], Outcome::BigInt, extract),
    function("FLOOR_TIME", &[Any, Text], Outcome::First, |a| edge(a, Edge::Start)),
    function("CEIL_TIME", &[Any, Text], Outcome::First, |a| edge(a, Edge::End)),
    function("ADD_MILLIS", &[Any, Whole], Outcome::First, add_millis),
    function("ADD_MONTHS", &[Any, Whole], Outcome::First, add_months),
    function("TIMESTAMPDIFF", &[Text, Moment, Moment], Outcome::Int, difference),
    function("DATE_FORMAT", &[Moment, Text], Outcome::Text, format),
    function("TO_TIMESTAMP", &[Text, Text], Outcome::Timestamp, parse).optional(1),
    function("TO_TIMESTAMP_LTZ", &[Whole, Whole], Outcome::TimestampLtz, from_number).optional(1),
    function("TO_DATE", &[Text, Text], Outcome::Date, parse_date).optional(1),
    function("FROM_UNIXTIME", &[Whole, Text], Outcome::Text, from_unix).optional(1),
    function("UNIX_TIMESTAMP", &[Text, Text], Outcome::BigInt, to_unix).optional(1),
];

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millennium,
    Century,
    Decade,
    Year,
    Quarter,
    Month,
    Week,
    Day,
    DayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    Hour,
    Minute,
    Second,
    Millisecond,
    Epoch,
}

impl Unit {
    /// The names EXTRACT, FLOOR and TIMESTAMPDIFF take.
    pub(crate) const NAMES: [&str; 16] = [
        "YEAR",
        "QUARTER",
        "MONTH",
        "WEEK",
        "DAY",
        "HOUR",
        "MINUTE",
        "SECOND",
        "MILLISECOND",
        "DOY",
        "DOW",
        "ISODOW",
        "EPOCH",
        "DECADE",
        "CENTURY",
        "MILLENNIUM",
    ];

    /// The unit called `name`, in any case.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MILLENNIUM" => Self::Millennium,
            "CENTURY" => Self::Century,
            "DECADE" => Self::Decade,
            "YEAR" | "YEARS" => Self::Year,
            "QUARTER" | "QUARTERS" => Self::Quarter,
            "MONTH" | "MONTHS" => Self::Month,
            "WEEK" | "WEEKS" => Self::Week,
            "DAY" | "DAYS" => Self::Day,
            "DOY" => Self::DayOfYear,
            "DOW" => Self::DayOfWeek,
            "ISODOW" => Self::IsoDayOfWeek,
            "HOUR" | "HOURS" => Self::Hour,
            "MINUTE" | "MINUTES" => Self::Minute,
            "SECOND" | "SECONDS" => Self::Second,
            "MILLISECOND" | "MILLISECONDS" => Self::Millisecond,
            "EPOCH" => Self::Epoch,
            _ => return None,
        })
    }

    /// Its fixed length in milliseconds; none for months and what is made of them.
    pub(crate) const fn millis(self) -> Option<i64> {
        Some(match self {
            Self::Millisecond => 1,
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Week => 604_800_000,
            _ => return None,
        })
    }

    /// Its length in months, for those that have one.
    pub(crate) const fn months(self) -> Option<i64> {
        Some(match self {
            Self::Month => 1,
            Self::Quarter => 3,
            Self::Year => 12,
            Self::Decade => 120,
            Self::Century => 1_200,
            Self::Millennium => 12_000,
            _ => return None,
        })
    }
}

fn civil(time: EventTime) -> Option<DateTime> {
    let timestamp = Timestamp::from_millisecond(time.millis()).ok()?;
    Some(timestamp.to_zoned(TimeZone::UTC).datetime())
}

fn moment(date_time: DateTime) -> Option<EventTime> {
    let zoned = date_time.to_zoned(TimeZone::UTC).ok()?;
    Some(EventTime::from_millis(zoned.timestamp().as_millisecond()))
}

fn time(value: Option<&Value>) -> Option<EventTime> {
    match value {
        Some(Value::Timestamp(time)) => Some(*time),
        Some(Value::Date(days)) => Some(EventTime::from_millis(i64::from(*days) * 86_400_000)),
        _ => None,
    }
}

fn unit(value: Option<&Value>) -> Option<Unit> {
    match value {
        Some(Value::Text(name)) => Unit::by_name(name),
        _ => None,
    }
}

fn field(arguments: &[Value], unit: Unit) -> Called {
    let value = time(arguments.first()).and_then(|time| part(time, unit));
    Ok(value.map_or(Value::Null, Value::Integer))
}

fn extract(arguments: &[Value]) -> Called {
    let pair = unit(arguments.first()).zip(time(arguments.get(1)));
    Ok(pair.and_then(|(unit, time)| part(time, unit)).map_or(Value::Null, Value::Integer))
}

fn part(time: EventTime, unit: Unit) -> Option<i64> {
    let at = civil(time)?;
    let year = i64::from(at.year());
    Some(match unit {
        Unit::Millennium => (year + 999).div_euclid(1_000),
        Unit::Century => (year + 99).div_euclid(100),
        Unit::Decade => year.div_euclid(10),
        Unit::Year => year,
        Unit::Quarter => (i64::from(at.month()) - 1) / 3 + 1,
        Unit::Month => at.month().into(),
        Unit::Week => at.date().iso_week_date().week().into(),
        Unit::Day => at.day().into(),
        Unit::DayOfYear => at.date().day_of_year().into(),
        Unit::DayOfWeek => i64::from(at.weekday().to_sunday_one_offset()),
        Unit::IsoDayOfWeek => i64::from(at.weekday().to_monday_one_offset()),
        Unit::Hour => at.hour().into(),
        Unit::Minute => at.minute().into(),
        Unit::Second => at.second().into(),
        Unit::Millisecond => at.millisecond().into(),
        Unit::Epoch => time.millis().div_euclid(1_000),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Start,
    End,
}

/// FLOOR and CEIL of a time TO a unit: the start of the unit that holds it, or of the next one
/// unless it is a start itself.
fn edge(arguments: &[Value], edge: Edge) -> Called {
    let pair = time(arguments.first()).zip(unit(arguments.get(1)));
    let Some((time, unit)) = pair else { return Ok(Value::Null) };
    let result = start_of(time, unit).and_then(|start| {
        if edge == Edge::Start || start == time { Some(start) } else { next(start, unit) }
    });
    Ok(like(arguments.first(), result))
}

/// A time as a value of the type that `model` has.
fn like(model: Option<&Value>, time: Option<EventTime>) -> Value {
    match (model, time) {
        (Some(Value::Date(_)), Some(time)) => {
            i32::try_from(time.millis().div_euclid(86_400_000)).map_or(Value::Null, Value::Date)
        }
        (_, Some(time)) => Value::Timestamp(time),
        (_, None) => Value::Null,
    }
}

fn start_of(time: EventTime, unit: Unit) -> Option<EventTime> {
    if let Some(months) = unit.months() {
        let at = civil(time)?;
        let month = i64::from(at.year()) * 12 + i64::from(at.month()) - 1;
        let start = month - month.rem_euclid(months);
        let year = i16::try_from(start.div_euclid(12)).ok()?;
        let month = i8::try_from(start.rem_euclid(12) + 1).ok()?;
        return moment(DateTime::new(year, month, 1, 0, 0, 0, 0).ok()?);
    }
    let length = unit.millis()?;
    // Weeks begin on Sunday in Flink's FLOOR; 1970-01-01 was a Thursday.
    let origin = if unit == Unit::Week { -4 * 86_400_000 } else { 0 };
    let past = time.millis().checked_sub(origin)?.rem_euclid(length);
    time.millis().checked_sub(past).map(EventTime::from_millis)
}

fn next(start: EventTime, unit: Unit) -> Option<EventTime> {
    match (unit.months(), unit.millis()) {
        (Some(months), _) => moment(civil(start)?.checked_add(Span::new().months(months)).ok()?),
        (None, Some(millis)) => start.millis().checked_add(millis).map(EventTime::from_millis),
        (None, None) => None,
    }
}

/// The time, or the day of a DATE, that many milliseconds later.
fn add_millis(arguments: &[Value]) -> Called {
    let [model, Value::Integer(millis)] = arguments else { return Ok(Value::Null) };
    if let Value::Time(time) = model {
        let sum = i64::from(*time).saturating_add(*millis).rem_euclid(86_400_000);
        return Ok(u32::try_from(sum).map_or(Value::Null, Value::Time));
    }
    let sum = time(Some(model)).and_then(|time| time.millis().checked_add(*millis));
    Ok(like(Some(model), sum.map(EventTime::from_millis)))
}

/// The same day that many months later, or the month's last when it has no such day.
fn add_months(arguments: &[Value]) -> Called {
    let [model, Value::Integer(months)] = arguments else { return Ok(Value::Null) };
    let sum = time(Some(model)).and_then(|time| {
        let span = Span::new().try_months(*months).ok()?;
        moment(civil(time)?.checked_add(span).ok()?)
    });
    Ok(like(Some(model), sum))
}

/// Whole units from the first time to the second, cut towards zero.
fn difference(arguments: &[Value]) -> Called {
    let (Some(unit), Some(from), Some(to)) =
        (unit(arguments.first()), time(arguments.get(1)), time(arguments.get(2)))
    else {
        return Ok(Value::Null);
    };
    let units = match (unit.millis(), unit.months()) {
        (Some(length), _) => to.millis().checked_sub(from.millis()).map(|millis| millis / length),
        (None, Some(length)) => months_between(from, to).map(|months| months / length),
        (None, None) => None,
    };
    // The result is an INT, as in Flink.
    let units = units.filter(|units| i32::try_from(*units).is_ok());
    Ok(units.map_or(Value::Null, Value::Integer))
}

fn months_between(from: EventTime, to: EventTime) -> Option<i64> {
    let (from, to) = (civil(from)?, civil(to)?);
    let months = |at: DateTime| i64::from(at.year()) * 12 + i64::from(at.month());
    let rest = |at: DateTime| (at.day(), at.time());
    let difference = months(to) - months(from);
    let correction = match difference.signum() {
        1 if rest(to) < rest(from) => -1,
        -1 if rest(to) > rest(from) => 1,
        _ => 0,
    };
    Some(difference + correction)
}

/// Writes a time by a pattern of Java's `SimpleDateFormat`, as far as digits go.
fn format(arguments: &[Value]) -> Called {
    let (Some(time), Some(Value::Text(pattern))) = (time(arguments.first()), arguments.get(1))
    else {
        return Ok(Value::Null);
    };
    let Some(at) = civil(time) else { return Ok(Value::Null) };
    let mut text = String::new();
    for run in Runs::new(pattern) {
        let (letter, count) = match run {
            Run::Text(plain) => {
                text.push_str(plain);
                continue;
            }
            Run::Letter(letter, count) => (letter, count),
        };
        let number: i64 = match letter {
            'y' if count == 2 => i64::from(at.year()).rem_euclid(100),
            'y' | 'u' => at.year().into(),
            'M' if count > 2 => {
                text.push_str(month_name(at.month(), count));
                continue;
            }
            'M' => at.month().into(),
            'd' => at.day().into(),
            'D' => at.date().day_of_year().into(),
            'H' => at.hour().into(),
            'h' => (i64::from(at.hour()) + 11) % 12 + 1,
            'm' => at.minute().into(),
            's' => at.second().into(),
            'S' => at.millisecond().into(),
            'a' => {
                text.push_str(if at.hour() < 12 { "AM" } else { "PM" });
                continue;
            }
            _ => return Err(EvaluationError::Argument),
        };
        if letter == 'S' {
            let digits = format!("{number:03}");
            text.push_str(digits.get(..count.min(3)).unwrap_or(&digits));
        } else {
            text.push_str(&format!("{number:0count$}"));
        }
    }
    Ok(Value::text(&text))
}

const fn month_name(month: i8, letters: usize) -> &'static str {
    let (long, short) = match month {
        1 => ("January", "Jan"),
        2 => ("February", "Feb"),
        3 => ("March", "Mar"),
        4 => ("April", "Apr"),
        5 => ("May", "May"),
        6 => ("June", "Jun"),
        7 => ("July", "Jul"),
        8 => ("August", "Aug"),
        9 => ("September", "Sep"),
        10 => ("October", "Oct"),
        11 => ("November", "Nov"),
        _ => ("December", "Dec"),
    };
    if letters > 3 { long } else { short }
}

/// A piece of a pattern of time.
enum Run<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// A letter and how often it stands.
    Letter(char, usize),
}

/// The pieces of a pattern: `'…'` quotes text.
struct Runs<'a>(&'a str);

impl<'a> Runs<'a> {
    const fn new(pattern: &'a str) -> Self {
        Self(pattern)
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let first = self.0.chars().next()?;
        if first == '\'' {
            let quoted = self.0.get(1..)?;
            let (text, rest) = quoted.split_once('\'').unwrap_or((quoted, ""));
            self.0 = rest;
            return Some(Run::Text(if text.is_empty() { "'" } else { text }));
        }
        let count = self.0.chars().take_while(|letter| *letter == first).count();
        let (run, rest) = self.0.split_at(first.len_utf8() * count);
        self.0 = rest;
        Some(if first.is_ascii_alphabetic() { Run::Letter(first, count) } else { Run::Text(run) })
    }
}

/// Reads a time by a pattern; none when the text does not follow it.
fn read(text: &str, pattern: &str) -> Option<DateTime> {
    let (mut year, mut month, mut day) = (1970_i16, 1_i8, 1_i8);
    let (mut hour, mut minute, mut second, mut nanos) = (0_i8, 0_i8, 0_i8, 0_i32);
    let mut rest = text;
    for run in Runs::new(pattern) {
        let (letter, count) = match run {
            Run::Text(plain) => {
                rest = rest.strip_prefix(plain)?;
                continue;
            }
            Run::Letter(letter, count) => (letter, count),
        };
        let most = if letter == 'y' { count.max(4) } else { count.max(2) };
        let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        rest = tail;
        match letter {
            'y' | 'u' => year = number.parse().ok()?,
            'M' => month = number.parse().ok()?,
            'd' => day = number.parse().ok()?,
            'H' => hour = number.parse().ok()?,
            'm' => minute = number.parse().ok()?,
            's' => second = number.parse().ok()?,
            'S' => nanos = format!("{number:0<9}").get(..9)?.parse().ok()?,
            _ => return None,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    DateTime::new(year, month, day, hour, minute, second, nanos).ok()
}

fn parsed(arguments: &[Value]) -> Option<EventTime> {
    match arguments {
        [Value::Text(text)] => timestamp::parse_lenient(text),
        [Value::Text(text), Value::Text(pattern)] => read(text, pattern).and_then(moment),
        _ => None,
    }
}

/// NULL for a text that is no time, as in Flink.
fn parse(arguments: &[Value]) -> Called {
    Ok(parsed(arguments).map_or(Value::Null, Value::Timestamp))
}

fn parse_date(arguments: &[Value]) -> Called {
    let days = match arguments {
        [Value::Text(text)] => timestamp::parse_date(text),
        _ => parsed(arguments)
            .and_then(|time| i32::try_from(time.millis().div_euclid(86_400_000)).ok()),
    };
    Ok(days.map_or(Value::Null, Value::Date))
}

/// `TO_TIMESTAMP_LTZ(n, 0)` counts seconds, `(n, 3)` milliseconds.
fn from_number(arguments: &[Value]) -> Called {
    let millis = match arguments {
        [Value::Integer(millis)] | [Value::Integer(millis), Value::Integer(3)] => Some(*millis),
        [Value::Integer(seconds), Value::Integer(0)] => seconds.checked_mul(1_000),
        _ => return Err(EvaluationError::Argument),
    };
    Ok(millis.map_or(Value::Null, |millis| Value::Timestamp(EventTime::from_millis(millis))))
}

fn from_unix(arguments: &[Value]) -> Called {
    let [Value::Integer(seconds), rest @ ..] = arguments else { return Ok(Value::Null) };
    let Some(millis) = seconds.checked_mul(1_000) else { return Ok(Value::Null) };
    let pattern = rest.first().cloned().unwrap_or_else(|| Value::text("yyyy-MM-dd HH:mm:ss"));
    format(&[Value::Timestamp(EventTime::from_millis(millis)), pattern])
}

fn to_unix(arguments: &[Value]) -> Called {
    let seconds = parsed(arguments).map(|time| time.millis().div_euclid(1_000));
    Ok(Value::Integer(seconds.unwrap_or(i64::MIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: &str = "2026-03-01 13:07:09.250";

    fn at(text: &str) -> Value {
        Value::Timestamp(timestamp::parse_lenient(text).unwrap())
    }

    #[test]
    fn parts_of_a_time_are_counted_as_flink_counts_them() {
        let part = |name: &str| extract(&[Value::text(name), at(MOMENT)]).unwrap();

        assert_eq!(part("QUARTER"), Value::Integer(1));
        assert_eq!(part("WEEK"), Value::Integer(9));
        assert_eq!(part("DOY"), Value::Integer(60));
        assert_eq!(part("DOW"), Value::Integer(1), "a Sunday");
        assert_eq!(part("ISODOW"), Value::Integer(7));
        assert_eq!(part("SECOND"), Value::Integer(9));
    }

    #[test]
    fn floor_is_the_start_of_a_unit_and_ceil_the_next_one_unless_it_is_a_start() {
        let to = |which, unit: &str, text: &str| edge(&[at(text), Value::text(unit)], which);

        assert_eq!(to(Edge::Start, "HOUR", MOMENT), Ok(at("2026-03-01 13:00:00")));
        assert_eq!(to(Edge::End, "MONTH", MOMENT), Ok(at("2026-04-01 00:00:00")));
        assert_eq!(to(Edge::End, "DAY", "2026-03-01 00:00:00"), Ok(at("2026-03-01 00:00:00")));
        assert_eq!(
            to(Edge::Start, "SECOND", "1969-12-31 23:59:59.5"),
            Ok(at("1969-12-31 23:59:59"))
        );
    }

    #[test]
    fn months_end_where_the_month_ends() {
        let sum = add_months(&[at("2026-01-31 01:00:00"), Value::Integer(1)]);

        assert_eq!(sum, Ok(at("2026-02-28 01:00:00")));
    }

    #[test]
    fn differences_are_whole_units_cut_towards_zero() {
        let between = |unit: &str, from: &str, to: &str| {
            difference(&[Value::text(unit), at(from), at(to)]).unwrap()
        };

        assert_eq!(
            between("HOUR", "2026-03-01 00:00:00", "2026-03-01 01:59:59"),
            Value::Integer(1)
        );
        assert_eq!(
            between("MONTH", "2026-01-31 00:00:00", "2026-02-28 00:00:00"),
            Value::Integer(0)
        );
        assert_eq!(between("DAY", "2026-03-02 00:00:00", "2026-03-01 01:00:00"), Value::Integer(0));
    }

    #[test]
    fn a_time_is_written_and_read_by_a_pattern() {
        let written = format(&[at(MOMENT), Value::text("dd.MM.yy 'at' HH:mm:ss.SSS")]);

        assert_eq!(written, Ok(Value::text("01.03.26 at 13:07:09.250")));
        assert_eq!(
            parse(&[Value::text("01/03/2026 13"), Value::text("dd/MM/yyyy HH")]),
            Ok(at("2026-03-01 13:00:00"))
        );
        assert_eq!(parse(&[Value::text("no time")]), Ok(Value::Null));
    }
}
