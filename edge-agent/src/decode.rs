//! Lines to rows and records.
//!
//! A line keeps its bytes: the record's value is what the source said, and the row is only what
//! rules read. A line that does not decode becomes a dead letter with its place and the reason.

use bytes::Bytes;
use headland_detection::{Decoder, Format, Program, Row, SqlError, Table, TableId};
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_event::schema::SCHEMA_HEADER;
use headland_event::trace::{Sampled, TRACEPARENT_HEADER};
use headland_event::{
    EventClock, EventTime, NameError, Random, Record, SchemaId, TopicName, TraceParent, Verdict,
};
use headland_platform::telemetry::with_causes;

use crate::config::SourceConfig;
use crate::dead;

/// Header with the wall clock, in milliseconds, when a record was captured.
pub(crate) const CLOCK_HEADER: &str = "hl-clock";

/// Header with the first line of a CSV file: what the record's fields are.
const COLUMNS_HEADER: &str = "hl-columns";

/// Header with what is to be said about an event time: see [`TimeMark`].
const TIME_HEADER: &str = "hl-time";

/// Value of the header: the time is that of arrival.
const ARRIVAL: &str = "arrival";

/// Value of the header: the time is too far ahead of the agent's clock.
const FUTURE: &str = "future";

/// Which column stands where.
mod columns;
/// Records that earlier runs wrote.
mod replayed;

pub use columns::Columns;
pub use replayed::ReplayedRows;

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

/// What is to be said about the event time of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeMark {
    /// It is in the column that the table declares.
    Declared,
    /// The table declares none: it is the time of arrival.
    Arrival,
    /// It is beyond the agent's clock and what that may be wrong by. The hub decides what becomes
    /// of the record; here it moves no window.
    Future,
}

impl TimeMark {
    /// The value of the header, `None` for what goes without saying.
    const fn header(self) -> Option<&'static str> {
        match self {
            Self::Declared => None,
            Self::Arrival => Some(ARRIVAL),
            Self::Future => Some(FUTURE),
        }
    }
}

/// A line that decoded.
#[derive(Debug)]
pub struct Decoded {
    /// What rules read.
    pub row: Row,
    /// What the log keeps.
    pub record: Record,
    /// What is to be said about its event time.
    pub time: TimeMark,
}

/// How the lines of the file at hand are laid out.
#[derive(Debug)]
enum Layout {
    /// The first line has to say it.
    Unknown,
    /// So; JSON has no columns.
    Known(Decoder, Option<Columns>),
    /// The file's header, this one, does not fit: without another one its lines mean nothing.
    Refused(Bytes),
}

/// Decodes one source.
#[derive(Debug)]
pub struct SourceDecoder {
    name: String,
    tables: Vec<TableId>,
    topic: TopicName,
    dead_topic: TopicName,
    table: Table,
    layout: Layout,
    /// The schema that the source says it writes.
    schema: Option<SchemaId>,
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
    /// The rows of the table are in a file that is looked up in.
    #[error("table {table} has a 'connector', expected one with a 'topic'")]
    NoTopic {
        /// The table of the source.
        table: String,
    },
    /// The rules have another use for the topic.
    #[error(transparent)]
    SharedTopic(#[from] SqlError),
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
    /// [`SourceError`] when the rules do not declare its table, or another one on its topic whose
    /// records are not its own.
    pub fn new(
        config: &SourceConfig,
        program: &Program,
        trace_ratio: f64,
    ) -> Result<Self, SourceError> {
        let table = config.table.get_ref();
        let unknown = || SourceError::UnknownTable {
            table: table.clone(),
            known: program
                .tables()
                .iter()
                .map(|known| &**known.name())
                .collect::<Vec<_>>()
                .join(", "),
        };
        let id = program.table_id(table).ok_or_else(unknown)?;
        let found = program.table(id).clone();
        let no_topic = || SourceError::NoTopic { table: table.clone() };
        let topic = found.topic().ok_or_else(no_topic)?.clone();
        let dead_topic = dead::topic_of(&topic)
            .map_err(|source| SourceError::Topic { table: table.clone(), source })?;
        program.check_topic(&topic)?;
        let layout = match found.format() {
            Format::Json => Decoder::new(&found, None).ok().map(|decoder| (decoder, None)),
            Format::Csv => None,
        };
        Ok(Self {
            name: config.path.get_ref().resolved.display().to_string(),
            tables: program.tables_of(&topic).collect(),
            topic,
            dead_topic,
            table: found,
            layout: layout.map_or(Layout::Unknown, |(decoder, none)| Layout::Known(decoder, none)),
            schema: config.schema,
            sampled_below: share_of_u64(trace_ratio),
        })
    }

    /// The tables that see the source's rows: all of its topic.
    #[must_use]
    pub fn tables(&self) -> &[TableId] {
        &self.tables
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

    /// Decodes the records that earlier runs wrote to the topic.
    #[must_use]
    pub fn replayed(&self) -> ReplayedRows {
        ReplayedRows::new(self.table.clone())
    }

    /// Whether the file's first line is needed before any other can be decoded.
    #[must_use]
    pub const fn wants_first_line(&self) -> bool {
        match self.layout {
            Layout::Unknown => true,
            // Its own header was read; the file at the path may be another one by now.
            Layout::Known(..) | Layout::Refused(_) => false,
        }
    }

    /// Which column stands where in the file at hand; `None` as long as that is not known, and for
    /// a format without columns.
    #[must_use]
    pub fn columns(&self) -> Option<Columns> {
        match &self.layout {
            Layout::Known(_, columns) => columns.clone(),
            Layout::Refused(header) => Some(Columns::Refused(header.clone())),
            Layout::Unknown => None,
        }
    }

    /// Goes on in a file whose columns an earlier run learned, or whose header it refused.
    pub fn on_columns(&mut self, columns: Columns) {
        if let Columns::Refused(header) = columns {
            // The rules may have been mended since.
            self.layout = match Decoder::new(&self.table, Some(&*header)) {
                Ok(decoder) => Layout::Known(decoder, Some(Columns::Named(header))),
                Err(_) => Layout::Refused(header),
            };
            return;
        }
        // A header that lacks a column the rules have by now is looked at again, and told.
        if let Ok(decoder) = Decoder::new(&self.table, columns.header().map(|header| &**header)) {
            self.layout = Layout::Known(decoder, Some(columns));
        }
    }

    /// Whether a line may name columns: the first one of each file, and any as long as they are
    /// not known.
    #[must_use]
    pub fn may_be_header(&self, line: &Line) -> bool {
        match self.table.format() {
            Format::Json => false,
            Format::Csv => line.number == 1 || !matches!(self.layout, Layout::Known(..)),
        }
    }

    /// Takes a line that may be a header: one that names a column of the table says which column
    /// stands where. Without such a line the columns stand as in the file before, when the source
    /// was truncated or rotated, else in the order of their declaration.
    ///
    /// # Errors
    /// The dead letter when the line names some columns but not all, or comes after one that did.
    pub fn on_first_line(&mut self, line: &Line, now: EventTime) -> Result<FirstLine, Box<Record>> {
        let is_header = self.names_a_column(line);
        match (&self.layout, is_header) {
            (Layout::Known(..), false) => return Ok(FirstLine::Data),
            (Layout::Refused(_), false) if line.number > 1 => {
                return Err(Box::new(self.dead(
                    line,
                    "the columns of the file are not known",
                    now,
                )));
            }
            (Layout::Known(..) | Layout::Refused(_) | Layout::Unknown, _) => {}
        }
        match Decoder::new(&self.table, is_header.then_some(&*line.bytes)) {
            Ok(decoder) if is_header => {
                let columns = Columns::Named(line.bytes.clone());
                self.layout = Layout::Known(decoder, Some(columns));
                Ok(FirstLine::Header)
            }
            Ok(decoder) => {
                self.layout = Layout::Known(decoder, Some(Columns::Declared));
                Ok(FirstLine::Data)
            }
            Err(error) => {
                self.layout = Layout::Refused(line.bytes.clone());
                Err(Box::new(self.dead(line, &with_causes(&error), now)))
            }
        }
    }

    fn names_a_column(&self, line: &Line) -> bool {
        let columns = self.table.schema().columns();
        let mut fields = line.bytes.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        fields.any(|field| {
            let field =
                field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(field);
            columns.iter().any(|column| column.name().as_bytes() == field)
        })
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
        let Layout::Known(decoder, columns) = &self.layout else {
            return Err(Box::new(self.dead(line, "the columns of the file are not known", now)));
        };
        let limit = RECORD_BYTES_LIMIT.as_len() / 2;
        if line.bytes.len() > limit {
            let reason = format!("a line of {} bytes, the limit is {limit}", line.bytes.len());
            return Err(Box::new(self.dead(line, &reason, now)));
        }
        let row = decoder
            .decode_captured(&line.bytes, now)
            .map_err(|error| Box::new(self.dead(line, &with_causes(&error), now)))?;
        let value = Some(line.bytes.clone());
        let key = self.table.key_of(&row).map(Bytes::from);
        let declared = self.table.event_time_of(&row);
        let time = mark_of(declared, now);
        let record = Record { time: declared.unwrap_or(now), key, value, headers: Vec::new() }
            .with_header(TRACEPARENT_HEADER, self.trace(random).to_string())
            .with_header(CLOCK_HEADER, now.millis().to_string());
        let record = match columns.as_ref().and_then(Columns::header) {
            Some(header) => record.with_header(COLUMNS_HEADER, header.clone()),
            None => record,
        };
        let record = match self.schema {
            Some(schema) => record.with_header(SCHEMA_HEADER, schema.to_string()),
            None => record,
        };
        let record = match time.header() {
            Some(mark) => record.with_header(TIME_HEADER, mark),
            None => record,
        };
        // Key and header of the columns come on top of the line.
        let (found, limit) = (record.payload_len(), RECORD_BYTES_LIMIT.as_len());
        if found > limit {
            let reason = format!("a record of {found} bytes, the limit is {limit}");
            return Err(Box::new(self.dead(line, &reason, now)));
        }
        Ok(Decoded { row, record, time })
    }

    fn trace(&self, random: &mut dyn Random) -> TraceParent {
        let high = u128::from(random.next_u64()) << 64;
        let trace_id = high | u128::from(random.next_u64());
        let span_id = random.next_u64();
        let sampled =
            if random.next_u64() < self.sampled_below { Sampled::Yes } else { Sampled::No };
        TraceParent::new(trace_id, span_id, sampled)
    }

    /// A line's dead letter, with its place.
    pub(crate) fn dead(&self, line: &Line, why: &str, now: EventTime) -> Record {
        let reason = format!("{}:{}: {why}", self.name, line.number);
        tracing::warn!("{reason}");
        dead::letter(now, &line.bytes, &reason)
    }
}

fn mark_of(declared: Option<EventTime>, now: EventTime) -> TimeMark {
    // The hub's rule, by the clock here: whatever it promised, the record would be future there.
    match declared.map(|time| EventClock::new().verdict(time, now)) {
        None => TimeMark::Arrival,
        Some(Verdict::Future) => TimeMark::Future,
        Some(Verdict::OnTime | Verdict::Late | Verdict::Forbidden | Verdict::Unlisted) => {
            TimeMark::Declared
        }
    }
}

/// The number below which that share of random 64-bit numbers lies.
fn share_of_u64(share: f64) -> u64 {
    // Ten decimal digits are finer than any use of a sampling ratio.
    let parts = format!("{:.0}", share.clamp(0.0, 1.0) * 1e9).parse::<u64>().unwrap_or(0);
    if parts >= 1_000_000_000 { u64::MAX } else { (u64::MAX / 1_000_000_000) * parts }
}
