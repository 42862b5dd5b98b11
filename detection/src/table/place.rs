//! Where the rows of a table are: in a topic, in a file, or in a store that somebody else asks.

use std::path::{Path, PathBuf};

use headland_event::{ByteCount, TopicName};

use crate::settings::options::{count, size};
use crate::sql::error::{Fault, Position, SqlErrorReason};
use crate::sql::statement::{ColumnKind, CreateTable, TableOption};

/// Keys that WITH takes for a table that is no topic.
pub(super) const OPTIONS: [&str; 5] = [CONNECTOR, PATH, ROWS, BYTES, EMPTY];

const CONNECTOR: &str = "connector";
const PATH: &str = "path";
const ROWS: &str = "file.rows";
const BYTES: &str = "file.bytes";
const EMPTY: &str = "file.empty";

/// The connector of tables whose rows are in a file, as Flink calls it.
const FILESYSTEM: &str = "filesystem";

/// Most rows of a file, unless its table says otherwise.
const ROWS_LIMIT: usize = 100_000;

/// Most bytes of a file, unless its table says otherwise.
const BYTES_LIMIT: ByteCount = ByteCount::mebibytes(1);

/// More bytes than this no table may ask for: what a file holds is kept in one commit of a journal.
const BYTES_MOST: ByteCount = ByteCount::mebibytes(4);

/// Where the rows of a table are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The records of a topic.
    Topic(TopicName),
    /// A file that is read as a whole and only looked up in.
    File(FilePlace),
    /// A store that whoever runs the engine looks in.
    Store(StorePlace),
}

/// A file whose rows a rule looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// Its path as the rule file writes it, from the folder of that.
    pub path: PathBuf,
    /// Most rows that it may have.
    pub rows_limit: usize,
    /// Most bytes that it may have.
    pub bytes_limit: ByteCount,
    /// What a file without rows means.
    pub without_rows: WithoutRows,
    at: Position,
}

/// What a file without rows means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutRows {
    /// Somebody has not finished writing it.
    Unfinished,
    /// There are none.
    Empty,
}

impl FilePlace {
    /// Where the file is when the rule file is at `rules`.
    #[must_use]
    pub fn beside(&self, rules: &Path) -> PathBuf {
        rules.parent().map_or_else(|| self.path.clone(), |folder| folder.join(&self.path))
    }

    /// Where the rule file names it.
    #[must_use]
    pub const fn named_at(&self) -> Position {
        self.at
    }
}

/// A store that whoever runs the engine looks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StorePlace {
    /// What it is, in the words of the rule file.
    pub(crate) connector: String,
    pub(crate) at: Position,
}

impl Place {
    /// The place that the options of a table name; `topic` reads the option of that name.
    pub(super) fn of(
        declared: &CreateTable,
        topic: impl FnOnce() -> Result<TopicName, Fault>,
    ) -> Result<Self, Fault> {
        let get = |key: &str| declared.options.iter().find(|option| option.key == key);
        let Some(connector) = get(CONNECTOR) else {
            let of_file = [PATH, ROWS, BYTES, EMPTY].into_iter().find_map(get);
            return match of_file {
                Some(option) => Err(misplaced(option, "'connector' = 'filesystem' beside it")),
                None => Ok(Self::Topic(topic()?)),
            };
        };
        for key in ["topic", "key", "severity", "alert.key", "alert.window"] {
            if let Some(option) = get(key) {
                return Err(misplaced(option, "it on a table without 'connector'"));
            }
        }
        refuse_time(declared)?;
        if connector.value != FILESYSTEM {
            let (connector, at) = (connector.value.clone(), connector.value_at.into());
            return Ok(Self::Store(StorePlace { connector, at }));
        }
        let Some(path) = get(PATH).filter(|path| !path.value.is_empty()) else {
            let subject = format!("table {}", declared.name);
            let missing = "the option 'path' in WITH: the file, from the folder of the rules";
            let reason = SqlErrorReason::Missing { subject, missing: missing.to_owned() };
            return Err(Fault::new(connector.key_at, reason));
        };
        let bytes_limit = get(BYTES).map(bytes_limit).transpose()?.unwrap_or(BYTES_LIMIT);
        let rows_limit = get(ROWS).map(count).transpose()?.unwrap_or(ROWS_LIMIT);
        let without_rows = get(EMPTY).map(without_rows).transpose()?;
        let without_rows = without_rows.unwrap_or(WithoutRows::Unfinished);
        let at = path.value_at.into();
        let path = PathBuf::from(&path.value);
        Ok(Self::File(FilePlace { path, rows_limit, bytes_limit, without_rows, at }))
    }
}

fn misplaced(option: &TableOption, expected: &'static str) -> Fault {
    let subject = format!("option '{}'", option.key);
    let found = "on a table of another kind";
    Fault::new(option.key_at, SqlErrorReason::mismatch(subject, found, expected))
}

fn bytes_limit(option: &TableOption) -> Result<ByteCount, Fault> {
    let found = size(option)?;
    if found <= BYTES_MOST {
        return Ok(found);
    }
    let subject = format!("option '{}'", option.key);
    let (found, expected) = (format!("{:?}", option.value), format!("at most {BYTES_MOST}"));
    Err(Fault::new(option.value_at, SqlErrorReason::mismatch(subject, found, expected)))
}

fn without_rows(option: &TableOption) -> Result<WithoutRows, Fault> {
    match option.value.as_str() {
        "true" => Ok(WithoutRows::Empty),
        "false" => Ok(WithoutRows::Unfinished),
        other => {
            let subject = format!("option '{}'", option.key);
            let reason =
                SqlErrorReason::mismatch(subject, format!("{other:?}"), "'true' or 'false'");
            Err(Fault::new(option.value_at, reason))
        }
    }
}

/// A table that is looked up in has no time of its own, and its lines did not arrive.
fn refuse_time(declared: &CreateTable) -> Result<(), Fault> {
    let fits = "columns of the file's lines and computed ones, on a table with 'connector'";
    if let Some(watermark) = &declared.watermark {
        let reason = SqlErrorReason::unsupported("WATERMARK here", fits);
        return Err(Fault::new(watermark.column.span.start, reason));
    }
    let mut columns = declared.columns.iter();
    match columns.find(|column| matches!(column.kind, ColumnKind::Metadata(..))) {
        Some(column) => {
            let reason = SqlErrorReason::unsupported("METADATA here", fits);
            Err(Fault::new(column.name.span.start, reason))
        }
        None => Ok(()),
    }
}
