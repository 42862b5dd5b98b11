//! What the author of a table expects of its data, as rules that say where it is otherwise.
//!
//! ```sql
//! CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm25 DOUBLE, WATERMARK FOR ts AS ts)
//! WITH ('topic' = 'air', 'expect.window' = '10 min', 'expect.nulls.pm25' = '5%',
//!   'expect.range.pm25' = '0..1000', 'expect.volume' = '50..', 'expect.freshness' = '2 min');
//! ```
//!
//! Each option becomes a rule over windows of event time, named after its table and itself
//! (`air.expect.nulls.pm25`) and written as anybody would write it in SQL: so what holds of rules
//! holds of expectations, at agents, at hubs and over all regions. A mistake in one is told at the
//! place of its option.

use std::fmt::Write;
use std::time::Duration;

use headland_event::{Severity, TopicName};
use sqlparser::ast::Ident;

use crate::explain::Length;
use crate::settings::options;
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::statement::{self, ColumnKind, CreateTable, Statement, TableOption};
use crate::table::unknown_column_of;

/// What every option of an expectation begins with.
pub(crate) const PREFIX: &str = "expect.";

const WINDOW: &str = "expect.window";
const TOPIC: &str = "expect.topic";
const SEVERITY: &str = "expect.severity";
const FRESHNESS: &str = "expect.freshness";
const VOLUME: &str = "expect.volume";
const NULLS: &str = "expect.nulls.";
const RANGE: &str = "expect.range.";

/// Every option, for error messages.
const KNOWN: [&str; 7] =
    [WINDOW, TOPIC, SEVERITY, FRESHNESS, VOLUME, "expect.nulls.<column>", "expect.range.<column>"];

/// How long windows are unless `expect.window` says so.
const WINDOW_DEFAULT: Duration = Duration::from_secs(60);

/// The most windows that freshness looks back over, each of which is kept: a bound on what one
/// option can cost.
const FRESHNESS_WINDOWS_LIMIT: u128 = 10_000;

/// What is expected of the rows of a table.
#[derive(Debug, Clone)]
pub(crate) struct Expectations<'a> {
    table: &'a CreateTable,
    /// The column of event time; there is one when anything is expected.
    time: &'a str,
    window: Duration,
    topic: &'a str,
    severity: &'a str,
    each: Vec<Expectation<'a>>,
}

/// One expectation and the option that states it.
#[derive(Debug, Clone)]
struct Expectation<'a> {
    option: &'a TableOption,
    expected: Expected<'a>,
}

/// What is expected of each window.
#[derive(Debug, Clone)]
enum Expected<'a> {
    /// At most this share of the rows, 0 to 1, has NULL in a column.
    Nulls { column: &'a str, share: f64 },
    /// No value of a column is outside, bounds included; NULL is not.
    Range { column: &'a str, bounds: Bounds<'a> },
    /// The newest row is at most this old when a window ends.
    Freshness(Duration),
    /// As many rows, bounds included, when there are any.
    Volume(Bounds<'a>),
}

/// `least..greatest`, of which one may be missing.
#[derive(Debug, Clone, Copy)]
struct Bounds<'a> {
    least: Option<&'a str>,
    greatest: Option<&'a str>,
}

/// What a table expects; none when it expects nothing.
pub(crate) fn of(table: &CreateTable) -> Result<Option<Expectations<'_>>, Fault> {
    let given = || table.options.iter().filter(|option| option.key.starts_with(PREFIX));
    let Some(first) = given().next() else { return Ok(None) };
    let Some(watermark) = &table.watermark else {
        let subject = format!("option '{}'", first.key);
        let missing = format!("WATERMARK FOR in table {}: windows are of event time", table.name);
        return Err(Fault::new(first.key_at, SqlErrorReason::Missing { subject, missing }));
    };
    let mut expectations = Expectations {
        table,
        time: &watermark.column.value,
        window: WINDOW_DEFAULT,
        topic: "alerts",
        severity: "warning",
        each: Vec::new(),
    };
    for option in given() {
        expectations.add(option)?;
    }
    expectations.check_freshness()?;
    debug_assert!(!expectations.window.is_zero(), "a window has a length");
    Ok(Some(expectations))
}

/// Refuses expectations of a table that a rule inserts into: nobody reads it here.
pub(crate) fn refuse(given: &[TableOption]) -> Result<(), Fault> {
    let found = given.iter().find(|option| option.key.starts_with(PREFIX));
    let Some(option) = found else { return Ok(()) };
    let subject = format!("option '{}'", option.key);
    let (found, fits) = ("on a table that a rule inserts into", "it on a table that is read");
    Err(Fault::new(option.key_at, SqlErrorReason::mismatch(subject, found, fits)))
}

impl<'a> Expectations<'a> {
    fn add(&mut self, option: &'a TableOption) -> Result<(), Fault> {
        let value = option.value.trim();
        let expected = match option.key.as_str() {
            WINDOW => {
                self.window = options::duration(option)?;
                return Ok(());
            }
            TOPIC => {
                TopicName::new(value).map_err(|error| misfit(option, error.expected))?;
                self.topic = value;
                return Ok(());
            }
            SEVERITY => {
                let expected = "info, warning or critical";
                value.parse::<Severity>().map_err(|_| misfit(option, expected))?;
                self.severity = value;
                return Ok(());
            }
            FRESHNESS => Expected::Freshness(options::duration(option)?),
            VOLUME => {
                let is_count = |bound: &str| bound.parse::<u64>().is_ok();
                let expected = "bounds of whole numbers such as 10..10000, 10.. or ..10000";
                Expected::Volume(bounds(value, is_count).ok_or_else(|| misfit(option, expected))?)
            }
            key => match (key.strip_prefix(NULLS), key.strip_prefix(RANGE)) {
                (Some(column), _) => {
                    let column = self.column(column, option)?;
                    let expected = "a share such as 5% or 0.05, at most 100%";
                    let share = share(value).ok_or_else(|| misfit(option, expected))?;
                    Expected::Nulls { column, share }
                }
                (None, Some(column)) => {
                    let column = self.column(column, option)?;
                    let expected = "bounds of numbers such as 0..1000, -40.5.. or ..1000";
                    let bounds =
                        bounds(value, is_number).ok_or_else(|| misfit(option, expected))?;
                    Expected::Range { column, bounds }
                }
                (None, None) => {
                    let (name, hint) = (key.to_owned(), Hint::new(key, KNOWN.into_iter()));
                    let table = self.table.name.value.clone();
                    let reason = SqlErrorReason::UnknownOption { name, table, hint };
                    return Err(Fault::new(option.key_at, reason));
                }
            },
        };
        self.each.push(Expectation { option, expected });
        Ok(())
    }

    /// A column of the table, by the name in an option.
    fn column(&self, name: &'a str, option: &TableOption) -> Result<&'a str, Fault> {
        let columns = || self.table.columns.iter();
        let found = columns().find(|column| column.name.value == name).ok_or_else(|| {
            let known = columns().map(|column| column.name.value.as_str());
            Fault::new(option.key_at, unknown_column_of(&self.table.name, name, known))
        })?;
        let is_numeric = match &found.kind {
            ColumnKind::Physical(data_type) | ColumnKind::Metadata(data_type, _) => {
                data_type.is_numeric()
            }
            // Its type is known when its rule is compiled.
            ColumnKind::Computed(_) => true,
        };
        if option.key.starts_with(RANGE) && !is_numeric {
            let subject = format!("column {name} of option '{}'", option.key);
            let reason = SqlErrorReason::mismatch(subject, "not a number", "a column of numbers");
            return Err(Fault::new(option.key_at, reason));
        }
        Ok(name)
    }

    fn check_freshness(&self) -> Result<(), Fault> {
        let too_many = self.each.iter().find(|one| match one.expected {
            Expected::Freshness(age) => {
                age.as_millis() / self.window.as_millis() >= FRESHNESS_WINDOWS_LIMIT
            }
            Expected::Nulls { .. } | Expected::Range { .. } | Expected::Volume(_) => false,
        });
        let Some(Expectation { option, .. }) = too_many else { return Ok(()) };
        let expected = format!(
            "less than {FRESHNESS_WINDOWS_LIMIT} times 'expect.window', which is {}",
            Length::of(self.window)
        );
        Err(misfit(option, &expected))
    }

    /// The rules, each as a table that takes its query's rows.
    pub(crate) fn rules(&self) -> Result<Vec<CreateTable>, Fault> {
        let mut rules = Vec::with_capacity(self.each.len());
        for one in &self.each {
            let place = one.option.key_at;
            for statement in statement::parse_at(&self.rule(one), place)? {
                match statement {
                    Statement::CreateTable(table) => rules.push(table),
                    Statement::CreateView(_) | Statement::Insert(_) | Statement::Explain(_) => {
                        debug_assert!(false, "an expectation is CREATE TABLE … AS");
                    }
                }
            }
        }
        Ok(rules)
    }

    /// One line per expectation, with the name of its rule.
    pub(crate) fn lines(&self) -> Vec<String> {
        let window = Length::of(self.window);
        let lines = self.each.iter().map(|one| {
            let what = match &one.expected {
                Expected::Nulls { column, share } => {
                    format!("NULL in at most {}% of {column} in each {window}", percent(*share))
                }
                Expected::Range { column, bounds } => {
                    format!("{column} within {bounds} in each {window}")
                }
                Expected::Freshness(age) => {
                    format!("a row no older than {} at the end of each {window}", Length::of(*age))
                }
                Expected::Volume(bounds) => format!("{bounds} rows in each {window} that has any"),
            };
            format!("{what}: rule {}", self.name(one.option))
        });
        lines.collect()
    }

    fn name(&self, option: &TableOption) -> String {
        format!("{}.{}", self.table.name.value, option.key)
    }

    /// The rule of an expectation as SQL.
    fn rule(&self, one: &Expectation<'_>) -> String {
        let (table, time) = (quoted(&self.table.name), backticks(self.time));
        let seconds = |time: Duration| format!("INTERVAL '{}' SECOND", seconds(time));
        let window = seconds(self.window);
        let tumble = format!("TUMBLE(TABLE {table}, DESCRIPTOR({time}), {window})");
        let start = "window_start, window_end, COUNT(*) AS row_count";
        let (selected, windows, having) = match &one.expected {
            Expected::Nulls { column, share } => {
                let nulls = format!("COUNT(*) - COUNT({})", backticks(column));
                let having = format!("{nulls} > {share} * COUNT(*)");
                (format!("{start}, {nulls} AS nulls"), tumble, having)
            }
            Expected::Range { column, bounds } => {
                let column = backticks(column);
                let outside = format!("COUNT(*) FILTER (WHERE {})", bounds.broken_by(&column));
                let selected = format!(
                    "{start}, {outside} AS outside, MIN({column}) AS least, \
                     MAX({column}) AS greatest"
                );
                (selected, tumble, format!("{outside} > 0"))
            }
            Expected::Volume(bounds) => (start.to_owned(), tumble, bounds.broken_by("COUNT(*)")),
            Expected::Freshness(age) => {
                // Long enough that some window ends when the newest row has grown too old and
                // still holds it: one without a row says nothing.
                let windows = age.as_millis() / self.window.as_millis() + 2;
                let size = self.window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX));
                let hop =
                    format!("HOP(TABLE {table}, DESCRIPTOR({time}), {window}, {})", seconds(size));
                let having = format!("MAX({time}) < window_end - {}", seconds(*age));
                (format!("window_end, MAX({time}) AS newest"), hop, having)
            }
        };
        format!(
            "CREATE TABLE {} WITH ('topic' = {}, 'severity' = {}) AS SELECT {selected} \
             FROM TABLE({windows}) GROUP BY window_start, window_end HAVING {having}",
            backticks(&self.name(one.option)),
            text(self.topic),
            text(self.severity)
        )
    }
}

impl Bounds<'_> {
    /// The condition under which a value is outside.
    fn broken_by(&self, value: &str) -> String {
        let below = self.least.map(|least| format!("{value} < {least}"));
        let above = self.greatest.map(|greatest| format!("{value} > {greatest}"));
        let both = [below, above].into_iter().flatten().collect::<Vec<_>>();
        debug_assert!(!both.is_empty(), "there is a bound");
        both.join(" OR ")
    }
}

impl std::fmt::Display for Bounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.least.unwrap_or_default())?;
        f.write_str("..")?;
        f.write_str(self.greatest.unwrap_or_default())
    }
}

fn bounds(value: &str, is_bound: impl Fn(&str) -> bool) -> Option<Bounds<'_>> {
    let (least, greatest) = value.split_once("..")?;
    let bound = |text: &'_ str| (!text.is_empty()).then(|| is_bound(text));
    let fits = |text: &str| bound(text) != Some(false);
    if !fits(least.trim()) || !fits(greatest.trim()) {
        return None;
    }
    let named = |text: &str| !text.trim().is_empty();
    let bounds = Bounds {
        least: named(least).then_some(least.trim()),
        greatest: named(greatest).then_some(greatest.trim()),
    };
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let is_empty = match (number(bounds.least), number(bounds.greatest)) {
        (Some(least), Some(greatest)) => least > greatest,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    (!is_empty).then_some(bounds)
}

/// A number as SQL writes it: no sign but `-`, no exponent.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole) && are_digits(fraction) && digits.len() <= 38
}

fn share(value: &str) -> Option<f64> {
    let (number, whole) = match value.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (value, 1.0),
    };
    let share = number.parse::<f64>().ok().filter(|_| is_number(number))? / whole;
    (0.0..=1.0).contains(&share).then_some(share)
}

fn percent(share: f64) -> String {
    // Four digits behind the point are as many as anybody writes.
    let text = format!("{:.4}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn misfit(option: &TableOption, expected: &str) -> Fault {
    let (subject, found) = (format!("option '{}'", option.key), format!("{:?}", option.value));
    Fault::new(option.value_at, SqlErrorReason::mismatch(subject, found, expected))
}

fn seconds(time: Duration) -> String {
    let mut text = time.as_secs().to_string();
    if time.subsec_millis() > 0 {
        // Writing to a text cannot fail.
        let _written = write!(text, ".{:03}", time.subsec_millis());
    }
    text
}

fn quoted(name: &Ident) -> String {
    backticks(&name.value)
}

fn backticks(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
