//! Lines to rows and records.
//!
//! A line keeps its bytes: the record's value is what the source said, and the row is only what
//! rules read. A line that does not decode becomes a dead letter with its place and the reason.

use bytes::Bytes;
use headland_detection::{Decoder, Format, Program, Row, Table, TableId};
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_event::trace::{Sampled, TRACEPARENT_HEADER};
use headland_event::{EventTime, NameError, Random, Record, TopicName, TraceParent};
use headland_platform::telemetry::with_causes;

use crate::config::SourceConfig;

/// Most bytes of a line that a dead letter repeats.
const DEAD_BYTES_LIMIT: usize = 4 << 10;

/// Header with the wall clock, in milliseconds, when a record was captured.
const CLOCK_HEADER: &str = "hl-clock";

/// Header with the first line of a CSV file: what the record's fields are.
const COLUMNS_HEADER: &str = "hl-columns";

/// Header that marks an event time that is the time of arrival.
const TIME_HEADER: &str = "hl-time";

/// Header of a dead letter: why the line is there.
const REASON_HEADER: &str = "hl-reason";

/// One line of a source, without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line.
    pub bytes: Bytes,
    /// Its number in the file, from 1.
    pub number: u64,
}

/// What the first line of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstLine {
    /// It names the columns.
    Header,
    /// It holds data like every other.
    Data,
}

/// A line that decoded.
#[derive(Debug)]
pub struct Decoded {
    /// What rules read.
    pub row: Row,
    /// What the log keeps.
    pub record: Record,
}

/// Decodes one source.
#[derive(Debug)]
pub struct SourceDecoder {
    name: String,
    id: TableId,
    topic: TopicName,
    dead_topic: TopicName,
    table: Table,
    decoder: Option<Decoder>,
    /// The columns of a CSV file, its first line.
    columns: Option<Bytes>,
    sampled_below: u64,
}

/// Why a source cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The rules declare no such table.
    #[error("table {table} is not declared in the rules; they declare {known}")]
    UnknownTable {
        /// The table of the source.
        table: String,
        /// Tables that the rules declare.
        known: String,
    },
    /// The topic's dead letters cannot be named.
    #[error("the topic of table {table} is too long")]
    Topic {
        /// The table of the source.
        table: String,
        /// What is wrong.
        source: NameError,
    },
}

impl SourceDecoder {
    /// The decoder of a source, `trace_ratio` (0 to 1) of whose records are traced.
    ///
    /// # Errors
    /// [`SourceError`] when the rules do not declare its table.
    pub fn new(
        config: &SourceConfig,
        program: &Program,
        trace_ratio: f64,
    ) -> Result<Self, SourceError> {
        let table = config.table.get_ref();
        let id = program.table_id(table).ok_or_else(|| SourceError::UnknownTable {
            table: table.clone(),
            known: program
                .tables()
                .iter()
                .map(|known| &**known.name())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let found = program.table(id).clone();
        let topic = found.topic().clone();
        let dead_topic = TopicName::new(&format!("{topic}.dead"))
            .map_err(|source| SourceError::Topic { table: table.clone(), source })?;
        // The first line of a CSV file says which column stands where.
        let decoder = match found.format() {
            Format::Json => Decoder::new(&found, None).ok(),
            Format::Csv => None,
        };
        let sampled_below = share_of_u64(trace_ratio);
        let name = config.path.resolved.display().to_string();
        Ok(Self {
            name,
            id,
            topic,
            dead_topic,
            table: found,
            decoder,
            columns: None,
            sampled_below,
        })
    }

    /// The table the source belongs to.
    #[must_use]
    pub const fn table(&self) -> TableId {
        self.id
    }

    /// The table's name.
    #[must_use]
    pub fn table_name(&self) -> &str {
        self.table.name()
    }

    /// The topic of its records.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The topic of its dead letters.
    #[must_use]
    pub const fn dead_topic(&self) -> &TopicName {
        &self.dead_topic
    }

    /// Whether the file's first line is needed before any other can be decoded.
    #[must_use]
    pub const fn wants_first_line(&self) -> bool {
        self.decoder.is_none()
    }

    /// Takes the file's first line: one that names a column of the table says which column stands
    /// where; without such a line the columns stand in the order of their declaration.
    ///
    /// # Errors
    /// The dead letter when the line names some columns but not all; the next line is tried again.
    pub fn on_first_line(&mut self, line: &Line) -> Result<FirstLine, Box<Record>> {
        let columns = self.table.schema().columns();
        let mut fields = line.bytes.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let is_header = fields.any(|field| {
            let field =
                field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(field);
            columns.iter().any(|column| column.name().as_bytes() == field)
        });
        match Decoder::new(&self.table, is_header.then_some(&*line.bytes)) {
            Ok(decoder) => {
                self.decoder = Some(decoder);
                self.columns = is_header.then(|| line.bytes.clone());
                Ok(if is_header { FirstLine::Header } else { FirstLine::Data })
            }
            Err(error) => {
                Err(Box::new(self.dead(line, &with_causes(&error), EventTime::default())))
            }
        }
    }

    /// The row of a record that this source wrote in an earlier run.
    #[must_use]
    pub fn row(&mut self, record: &Record) -> Option<Row> {
        if self.decoder.is_none() {
            let columns = record.header(COLUMNS_HEADER);
            self.decoder = Decoder::new(&self.table, columns).ok();
            // The records of this run have to name them too.
            self.columns = columns.map(Bytes::copy_from_slice);
        }
        self.decoder.as_ref()?.decode(record.value.as_deref()?).ok()
    }

    /// Decodes a line captured at `now`.
    ///
    /// # Errors
    /// The dead letter when it does not decode.
    pub fn decode(
        &self,
        line: &Line,
        now: EventTime,
        random: &mut dyn Random,
    ) -> Result<Decoded, Box<Record>> {
        let Some(decoder) = &self.decoder else {
            return Err(Box::new(self.dead(line, "the columns of the file are not known", now)));
        };
        let limit = RECORD_BYTES_LIMIT.as_len() / 2;
        if line.bytes.len() > limit {
            let reason = format!("a line of {} bytes, the limit is {limit}", line.bytes.len());
            return Err(Box::new(self.dead(line, &reason, now)));
        }
        let row = decoder
            .decode(&line.bytes)
            .map_err(|error| Box::new(self.dead(line, &with_causes(&error), now)))?;
        let value = Some(line.bytes.clone());
        let key = self.table.key_of(&row).map(Bytes::from);
        let time = self.table.event_time_of(&row);
        let record = Record { time: time.unwrap_or(now), key, value, headers: Vec::new() }
            .with_header(TRACEPARENT_HEADER, self.trace(random).to_string())
            .with_header(CLOCK_HEADER, now.millis().to_string());
        let record = match &self.columns {
            Some(columns) => record.with_header(COLUMNS_HEADER, columns.clone()),
            None => record,
        };
        let record = match time {
            Some(_) => record,
            None => record.with_header(TIME_HEADER, "arrival"),
        };
        Ok(Decoded { row, record })
    }

    fn trace(&self, random: &mut dyn Random) -> TraceParent {
        let high = u128::from(random.next_u64()) << 64;
        let trace_id = high | u128::from(random.next_u64());
        let span_id = random.next_u64();
        let sampled =
            if random.next_u64() < self.sampled_below { Sampled::Yes } else { Sampled::No };
        TraceParent::new(trace_id, span_id, sampled)
    }

    /// A line's dead letter: its first bytes, why, and where.
    pub(crate) fn dead(&self, line: &Line, why: &str, now: EventTime) -> Record {
        let reason = format!("{}:{}: {why}", self.name, line.number);
        tracing::warn!("{reason}");
        let kept = line.bytes.slice(..line.bytes.len().min(DEAD_BYTES_LIMIT));
        Record { time: now, key: None, value: Some(kept), headers: Vec::new() }
            .with_header(REASON_HEADER, reason)
    }
}

/// The number below which that share of random 64-bit numbers lies.
fn share_of_u64(share: f64) -> u64 {
    // Ten decimal digits are finer than any use of a sampling ratio.
    let parts = format!("{:.0}", share.clamp(0.0, 1.0) * 1e9).parse::<u64>().unwrap_or(0);
    if parts >= 1_000_000_000 { u64::MAX } else { (u64::MAX / 1_000_000_000) * parts }
}
