//! Rows of a file that rules look up, read and judged as a whole.
//!
//! A file is taken or refused: with one line that does not fit nobody knows what the others are
//! worth. What it holds is named by its digest, so that two nodes can tell whether they look in
//! the same.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::decode::{DecodeError, Decoder, HeaderError};
use crate::operator::group_key;
use crate::table::{FilePlace, Format, Table, WithoutRows};
use crate::value::{Column, Row, Value};

/// Most mistakes of a file that are told one by one.
const TOLD_LIMIT: usize = 20;

/// The rows of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRows {
    rows: Box<[Row]>,
    digest: Box<str>,
}

/// Why a file's rows are not taken: every line that does not fit, up to 20 of them, and how many
/// more there are. Shown one to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMistakes {
    mistakes: Vec<FileMistake>,
    more: usize,
}

/// One thing that does not fit in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}")]
pub struct FileMistake {
    file: String,
    /// From 1.
    line: usize,
    /// In bytes, from 1.
    column: usize,
    what: String,
}

impl fmt::Display for FileMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let end = if index + 1 < self.mistakes.len() { "\n" } else { "" };
            write!(f, "{mistake}{end}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more lines that do not fit", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileMistakes {}

impl FileMistakes {
    /// The mistakes that are told, in the order of the file.
    #[must_use]
    pub fn told(&self) -> &[FileMistake] {
        &self.mistakes
    }
}

impl FileRows {
    /// Reads the rows of a table's file, whose name is only told in errors. Empty lines hold no
    /// row; a first line of CSV that names a column of the table is its header.
    ///
    /// Cost: one pass, which decodes each line, and memory of all rows.
    ///
    /// # Errors
    /// [`FileMistakes`] when a line does not decode, two rows have one primary key, or there is
    /// more than the table's options let in.
    pub fn read(table: &Table, name: &str, bytes: &[u8]) -> Result<Self, FileMistakes> {
        let mut reading = Reading { file: name, rows: Vec::new(), mistakes: Vec::new(), more: 0 };
        reading.read(table, bytes);
        let Reading { file: _, rows, mistakes, more } = reading;
        if !mistakes.is_empty() {
            return Err(FileMistakes { mistakes, more });
        }
        let digest: String =
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { rows: rows.into_boxed_slice(), digest: digest.into_boxed_str() })
    }

    /// The rows, in the order of the file.
    #[must_use]
    pub const fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// SHA-256 of the file, in hexadecimal: equal for equal files.
    #[must_use]
    pub const fn digest(&self) -> &str {
        &self.digest
    }
}

/// A file while it is read.
struct Reading<'a> {
    file: &'a str,
    rows: Vec<Row>,
    mistakes: Vec<FileMistake>,
    more: usize,
}

impl Reading<'_> {
    fn read(&mut self, table: &Table, bytes: &[u8]) {
        let Some(FilePlace { rows_limit, bytes_limit, without_rows, .. }) = table.file() else {
            return self.refuse(1, 1, format!("table {} is of no file", table.name()));
        };
        if bytes.len() > bytes_limit.as_len() {
            let what = format!(
                "the file is longer than {bytes_limit}, expected at most 'file.bytes' of table {}",
                table.name()
            );
            return self.refuse(1, 1, what);
        }
        if let Some(last) = bytes.split(|byte| *byte == b'\n').next_back()
            && !last.is_empty()
        {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let what = "the last line has no line break: the file may be half written; end each \
                        line with one, and replace a file by renaming a whole one over it";
            return self.refuse(lines + 1, last.len() + 1, what.to_owned());
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).peekable();
        let is_csv = table.format() == Format::Csv;
        let header = lines.peek().filter(|_| is_csv).and_then(|(_, line)| header(table, line));
        if header.is_some() {
            lines.next();
        }
        let decoder = match Decoder::new(table, header.as_deref()) {
            Ok(decoder) => decoder,
            Err(error) => {
                let column = match &error {
                    HeaderError::Line(line) => line.position(),
                    HeaderError::Lacks { .. } | HeaderError::Repeats { .. } => 1,
                };
                return self.refuse(1, column, told(&error));
            }
        };
        let mut keys = BTreeMap::new();
        for (number, line) in lines {
            if line.is_empty() || line == b"\r" {
                continue;
            }
            match decoder.decode(line) {
                Ok(row) => self.take(table, &mut keys, (number, row)),
                Err(error) => self.refuse(number, error.position(), told(&error)),
            }
            if self.rows.len() > *rows_limit {
                let what = format!(
                    "a row beyond the limit of {rows_limit}, expected at most as many as \
                     'file.rows' of table {}",
                    table.name()
                );
                return self.refuse(number, 1, what);
            }
        }
        if self.rows.is_empty() && self.mistakes.is_empty() {
            self.refuse_empty(table, *without_rows);
        }
    }

    /// Somebody who writes a file anew empties it first.
    fn refuse_empty(&mut self, table: &Table, without_rows: WithoutRows) {
        match without_rows {
            WithoutRows::Empty => {}
            WithoutRows::Unfinished => {
                let what = format!(
                    "the file has no rows: it may be half written; table {} takes such a file with \
                     'file.empty' = 'true'",
                    table.name()
                );
                self.refuse(1, 1, what);
            }
        }
    }

    /// Takes a row unless another one has its primary key.
    fn take(
        &mut self,
        table: &Table,
        keys: &mut BTreeMap<Vec<u8>, usize>,
        (line, row): (usize, Row),
    ) {
        let (mut key, columns) = (Vec::new(), table.primary_key());
        for column in columns {
            let value = row.values().get(*column).unwrap_or(&Value::Null);
            if value.is_null() {
                let name = table.schema().columns().get(*column).map(|column| column.name());
                let name = name.map(|name| &**name).unwrap_or_default();
                let what = format!("column {name:?} of the primary key is NULL, expected a value");
                return self.refuse(line, 1, what);
            }
            group_key::encode(value, &mut key);
        }
        if !columns.is_empty()
            && let Some(first) = keys.insert(key.clone(), line)
        {
            keys.insert(key, first);
            let what = format!(
                "a second row of one primary key, the first is on line {first}, expected one; \
                 leave PRIMARY KEY out to look up several"
            );
            return self.refuse(line, 1, what);
        }
        self.rows.push(row);
    }

    fn refuse(&mut self, line: usize, column: usize, what: String) {
        if self.mistakes.len() == TOLD_LIMIT {
            self.more += 1;
        } else {
            let file = self.file.to_owned();
            self.mistakes.push(FileMistake { file, line, column, what });
        }
    }
}

/// An error with what caused it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The header that a line is, with columns named as the table does: case and spaces around them do
/// not count. None when it names no column.
fn header(table: &Table, line: &[u8]) -> Option<Vec<u8>> {
    let columns = table.physical();
    let mut is_header = false;
    let fields = line.split(|byte| *byte == b',').map(|field| {
        let field = field.trim_ascii();
        let quoted = field.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let name = quoted.unwrap_or(field).trim_ascii();
        let exact = columns.iter().find(|column| column.name().as_bytes() == name);
        let is_alike = |column: &&Column| column.name().as_bytes().eq_ignore_ascii_case(name);
        let column = exact.or_else(|| columns.iter().find(is_alike));
        is_header |= column.is_some();
        column.map_or(field, |column| column.name().as_bytes())
    });
    let header = fields.collect::<Vec<_>>().join(&b',');
    is_header.then_some(header)
}

impl DecodeError {
    /// Where in the line, in bytes from 1.
    fn position(&self) -> usize {
        match self {
            Self::Syntax { position, .. } | Self::Column { position, .. } => *position,
            Self::NoEventTime { .. } | Self::Computed(_) | Self::FieldCount { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    fn read(options: &str, bytes: &str) -> Result<FileRows, String> {
        let sql = format!(
            "CREATE TABLE devices (id STRING, floor INT, PRIMARY KEY (id) NOT ENFORCED) \
             WITH ('connector' = 'filesystem', 'path' = 'devices'{options});"
        );
        let program = Program::compile("rules.sql", &sql).unwrap();
        let file = FileRows::read(&program.tables()[0], "devices", bytes.as_bytes());
        file.map_err(|error| error.to_string())
    }

    fn row(id: &str, floor: i64) -> Row {
        Row::new(vec![Value::text(id), Value::Integer(floor)])
    }

    #[test]
    fn rows_are_those_of_the_lines_in_either_format_with_and_without_a_header() {
        let csv = ", 'format' = 'csv'";

        for (options, bytes) in [
            (csv, "a,1\nb,2\n"),
            (csv, "floor,id\r\n1,a\r\n\r\n2,b\r\n"),
            (csv, "FLOOR, \"Id\"\n1,a\n2,b\n"),
            (csv, "\u{feff}a,1\nb,2\n"),
            ("", "\u{feff}{\"id\":\"a\",\"floor\":1}\n{\"id\":\"b\",\"floor\":2}\n"),
            ("", "{\"id\":\"a\",\"floor\":1}\n{\"id\":\"b\",\"floor\":2}\n"),
        ] {
            let rows = read(options, bytes).map(|file| file.rows().to_vec());
            assert_eq!(rows, Ok(vec![row("a", 1), row("b", 2)]), "{bytes}");
        }
        let digest = |bytes| read(csv, bytes).map(|file| file.digest().to_owned());
        assert_eq!(digest("a,1\n"), digest("a,1\n"));
        assert_ne!(digest("a,1\n"), digest("a,2\n"));
    }

    #[test]
    fn every_line_that_does_not_fit_is_told_and_nothing_is_taken() {
        let refused = read(", 'format' = 'csv'", "id,floor\na,1\nb,high\nc\na,2\n,3\n");

        let told = "devices:3:3: column \"floor\", byte 3: found \"high\", expected INT\n\
                    devices:4:1: found 1 fields, expected 2\n\
                    devices:5:1: a second row of one primary key, the first is on line 2, expected \
                    one; leave PRIMARY KEY out to look up several\n\
                    devices:6:1: column \"id\" of the primary key is NULL, expected a value";
        assert_eq!(refused, Err(told.to_owned()));
        let header = read(", 'format' = 'csv'", "id,flor\na,1\n").unwrap_err();
        assert!(header.starts_with("devices:1:1: the header does not name column \"floor\""));
        let many = read(", 'format' = 'csv'", &"x\n".repeat(25)).unwrap_err();
        assert!(many.ends_with("\nand 5 more lines that do not fit"), "{many}");
    }

    #[test]
    fn a_file_that_may_be_half_written_is_refused() {
        let csv = ", 'format' = 'csv'";
        let half = "devices:2:4: the last line has no line break: the file may be half written; \
                    end each line with one, and replace a file by renaming a whole one over it";
        let empty = "devices:1:1: the file has no rows: it may be half written; table devices \
                     takes such a file with 'file.empty' = 'true'";

        for (options, bytes, refusal) in [
            (csv, "a,1\nb,2", half),
            ("", "{\"id\":\"a\",\"floor\":1}\n{\"i", half),
            (csv, "", empty),
            ("", "\n", empty),
            (csv, "id,floor\n", empty),
        ] {
            assert_eq!(read(options, bytes), Err(refusal.to_owned()), "{bytes:?}");
        }
        for bytes in ["", "id,floor\n"] {
            let read = read(", 'format' = 'csv', 'file.empty' = 'true'", bytes);
            assert_eq!(read.map(|file| file.rows().len()), Ok(0));
        }
    }

    #[test]
    fn as_many_rows_and_bytes_as_the_table_lets_in_are_taken_and_one_more_is_refused() {
        let rows = ", 'format' = 'csv', 'file.rows' = '2'";
        let bytes = ", 'format' = 'csv', 'file.bytes' = '8B'";

        assert!(read(rows, "a,1\nb,2\n").is_ok());
        let refused = read(rows, "a,1\nb,2\nc,3\n").unwrap_err();
        assert_eq!(
            refused,
            "devices:3:1: a row beyond the limit of 2, expected at most as many as 'file.rows' of \
             table devices"
        );
        assert!(read(bytes, "a,1\nb,2\n").is_ok());
        let refused = read(bytes, "a,1\nb,22\n").unwrap_err();
        assert!(refused.starts_with("devices:1:1: the file is longer than 8"), "{refused}");
    }
}
