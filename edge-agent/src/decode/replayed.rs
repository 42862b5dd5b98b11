//! Records of a topic to rows, whichever file they came from.

use bytes::Bytes;
use headland_detection::{Decoder, Row, Table};
use headland_event::{EventTime, Record};

use super::{COLUMNS_HEADER, FUTURE, TIME_HEADER, TimeMark};

/// Decodes the records of a topic that earlier runs wrote.
#[derive(Debug)]
pub struct ReplayedRows {
    table: Table,
    /// The decoder of the last record: files of one table may name their columns differently, and
    /// each record says how its own does.
    decoder: Option<(Option<Bytes>, Decoder)>,
}

impl ReplayedRows {
    /// Decodes records of a table's topic.
    #[must_use]
    pub const fn new(table: Table) -> Self {
        Self { table, decoder: None }
    }

    /// The row of a record that was captured at `captured_at`, and what was said about its event
    /// time; `None` for a record that does not fit the table any more.
    pub fn row(&mut self, record: &Record, captured_at: EventTime) -> Option<(Row, TimeMark)> {
        let columns = record.header(COLUMNS_HEADER);
        let is_known = self.decoder.as_ref().is_some_and(|(known, _)| known.as_deref() == columns);
        if !is_known {
            let decoder = Decoder::new(&self.table, columns).ok()?;
            self.decoder = Some((columns.map(Bytes::copy_from_slice), decoder));
        }
        let (_, decoder) = self.decoder.as_ref()?;
        let row = decoder.decode_captured(record.value.as_deref()?, captured_at).ok()?;
        let mark = match record.header(TIME_HEADER) {
            None => TimeMark::Declared,
            Some(mark) if mark == FUTURE.as_bytes() => TimeMark::Future,
            Some(_) => TimeMark::Arrival,
        };
        Some((row, mark))
    }
}
