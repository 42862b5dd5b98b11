//! Lines as devices write them.

/// An inventory event of a device at its own location, `second` seconds after
/// 2010-12-01T08:00:00Z; its id is `<location>/<second>`.
///
/// Kinds: `sale`, `return`, `restock`, `adjustment`.
#[must_use]
pub fn event(location: &str, second: u32, kind: &str, sku: &str, quantity: i64) -> String {
    let (minutes, seconds) = (second / 60 % 60, second % 60);
    let time = format!("2010-12-01T{:02}:{minutes:02}:{seconds:02}Z", 8 + second / 3_600);
    format!(
        r#"{{"id":"{location}/{second}","kind":"{kind}","device":"{location}-till","sku":"{sku}","#
    ) + &format!(r#""location":"{location}","quantity":{quantity},"time":"{time}"}}"#)
}

/// One sale of one unit for each second of a range.
#[must_use]
pub fn sales(location: &str, sku: &str, seconds: std::ops::Range<u32>) -> Vec<String> {
    seconds.map(|second| event(location, second, "sale", sku, 1)).collect()
}

/// Air readings of one station as lines of CSV, one a second, each with its number as `pm25`; below
/// a first line [`READING_COLUMNS`].
#[must_use]
pub fn readings(numbers: std::ops::Range<usize>) -> Vec<String> {
    let line = |at| format!("Dongsi,2013-03-01 00:{:02}:{:02},{at}", at / 60 % 60, at % 60);
    numbers.map(line).collect()
}

/// The columns of [`readings`].
pub const READING_COLUMNS: &str = "station,time,pm25";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let expected = r#"{"id":"eu-1/3661","kind":"sale","device":"eu-1-till","sku":"A","#
            .to_owned()
            + r#""location":"eu-1","quantity":2,"time":"2010-12-01T09:01:01Z"}"#;

        assert_eq!(event("eu-1", 3_661, "sale", "A", 2), expected);
    }
}
