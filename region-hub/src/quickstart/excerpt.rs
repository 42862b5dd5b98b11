//! The recorded streams, embedded in the binary: what was sold and what the stations measured.

use std::time::Duration;

use headland_event::EventTime;

const ONLINE_RETAIL: &str = include_str!("../../../examples/quickstart/data/online_retail.csv");
const BEIJING_AIR: &str = include_str!("../../../examples/quickstart/data/beijing_air.csv");

/// The rules that the agents run, in SQL.
pub(super) const RULES: &str = include_str!("../../../examples/quickstart/rules.sql");

/// A row of an excerpt that does not have its shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the embedded {name} excerpt is no row of it: {text:?}")]
pub struct ExcerptError {
    /// The excerpt.
    pub name: &'static str,
    /// The line, from 1 for the header.
    pub line: usize,
    /// The line as found.
    pub text: String,
}

/// One line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sale {
    /// The invoice; a leading `C` marks a cancellation.
    pub(super) invoice: &'static str,
    /// The product.
    pub(super) sku: &'static str,
    /// Units sold; negative for what came back or was written off, never 0.
    pub(super) quantity: i64,
    /// When, to the minute.
    pub(super) time: EventTime,
    /// Where the customer lives.
    pub(super) country: &'static str,
}

/// One reading of one air station, kept as the line that its agent will read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// The station.
    pub(super) station: &'static str,
    /// When, to the hour.
    pub(super) time: EventTime,
    /// The whole line.
    pub(super) line: &'static str,
}

/// The header of the readings, which the agents' files begin with too.
pub(super) fn air_header() -> &'static str {
    BEIJING_AIR.lines().next().unwrap_or_default()
}

/// All sales in the order of their time.
///
/// # Errors
/// [`ExcerptError`] when a row does not parse, which a test excludes for what is embedded.
pub(super) fn sales() -> Result<Vec<Sale>, ExcerptError> {
    parse("online_retail", ONLINE_RETAIL, sale)
}

/// All readings in the order of their time.
///
/// # Errors
/// [`ExcerptError`] when a row does not parse, which a test excludes for what is embedded.
pub(super) fn readings() -> Result<Vec<Reading>, ExcerptError> {
    parse("beijing_air", BEIJING_AIR, reading)
}

/// An event time as RFC 3339 in UTC, as events carry it.
pub(super) fn written(time: EventTime) -> String {
    jiff::Timestamp::from_millisecond(time.millis()).unwrap_or_default().to_string()
}

/// This time moved by signed milliseconds.
pub(super) fn shifted(time: EventTime, millis: i64) -> EventTime {
    let by = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { time.minus(by) } else { time.plus(by) }
}

fn parse<T>(
    name: &'static str,
    text: &'static str,
    row: fn(&'static str) -> Option<T>,
) -> Result<Vec<T>, ExcerptError> {
    let rows = text.lines().enumerate().skip(1);
    rows.map(|(index, text)| {
        row(text).ok_or_else(|| ExcerptError { name, line: index + 1, text: text.to_owned() })
    })
    .collect()
}

fn sale(line: &'static str) -> Option<Sale> {
    let mut fields = line.split(',');
    let (invoice, sku) = (fields.next()?, fields.next()?);
    let quantity = fields.next()?.parse().ok().filter(|quantity| *quantity != 0)?;
    let time = event_time(fields.next()?)?;
    let country = fields.next()?;
    fields.next().is_none().then_some(Sale { invoice, sku, quantity, time, country })
}

fn reading(line: &'static str) -> Option<Reading> {
    let mut fields = line.split(',');
    let (station, time) = (fields.next()?, event_time(fields.next()?)?);
    (fields.count() == 4).then_some(Reading { station, time, line })
}

fn event_time(text: &str) -> Option<EventTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(EventTime::from_millis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_sales_are_twelve_thousand_in_order_of_time() {
        let sales = sales().unwrap();

        assert_eq!(sales.len(), 12_000);
        assert!(sales.is_sorted_by_key(|sale| sale.time));
        assert_eq!(written(sales[0].time), "2010-12-01T08:26:00Z");
        assert_eq!((sales[0].sku, sales[0].quantity), ("85123A", 6));
    }

    #[test]
    fn twelve_stations_have_one_reading_for_each_of_240_hours() {
        let readings = readings().unwrap();

        let stations: BTreeSet<&str> = readings.iter().map(|reading| reading.station).collect();
        assert_eq!(stations.len(), 12);
        assert_eq!(readings.len(), 12 * 240);
        assert!(readings.is_sorted_by_key(|reading| reading.time));
    }

    #[test]
    fn a_row_with_quantity_zero_or_a_missing_field_is_named_by_its_line() {
        let text = "header\n1,A,0,2010-12-01T08:26:00Z,France\n";
        let error = parse("online_retail", text, sale).unwrap_err();

        assert_eq!((error.line, error.name), (2, "online_retail"));
        assert_eq!(sale("1,A,3,2010-12-01T08:26:00Z"), None);
    }

    #[test]
    fn a_time_moves_both_ways() {
        let time = EventTime::from_millis(10_000);

        assert_eq!(shifted(time, -1_500).millis(), 8_500);
        assert_eq!(shifted(time, 1_500).millis(), 11_500);
    }
}
