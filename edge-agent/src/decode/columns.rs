//! Which column stands where in the lines of a CSV file, as the state keeps it.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};

const VERSION: u8 = 1;

const KINDS: &str = "0 without, 1 with or 2 with an unfit header";

/// What says which column stands where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// The table's declaration: the file does not begin with a header.
    Declared,
    /// The file's first line.
    Named(Bytes),
    /// Nothing: this header does not fit the table, and the file's lines mean nothing.
    Refused(Bytes),
}

impl Columns {
    /// The header that fits, `None` when the file has none.
    #[must_use]
    pub const fn header(&self) -> Option<&Bytes> {
        match self {
            Self::Declared | Self::Refused(_) => None,
            Self::Named(header) => Some(header),
        }
    }

    /// `version u8 │ 0 declared, 1 named, 2 refused u8 │ header`.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        let (kind, header) = match self {
            Self::Declared => (0, &[][..]),
            Self::Named(header) => (1, &**header),
            Self::Refused(header) => (2, &**header),
        };
        writer.u8(kind);
        writer.raw(header);
        writer.finish()
    }

    pub(crate) fn decode(value: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let version = reader.u8("columns version")?;
        let kind = reader.u8("columns")?;
        let header = reader.take("header", reader.remaining())?;
        match (version, kind) {
            (VERSION, 0) if header.is_empty() => Ok(Self::Declared),
            (VERSION, 1) => Ok(Self::Named(header)),
            (VERSION, 2) => Ok(Self::Refused(header)),
            (VERSION, found) => Err(unfit("columns", 1, found, KINDS)),
            (found, _) => Err(unfit("columns version", 0, found, "1")),
        }
    }
}

fn unfit(field: &'static str, at: usize, found: u8, expected: &'static str) -> CodecError {
    CodecError::Value { field, at, found: i64::from(found), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_of_encode_is_the_same_columns() {
        let header = Bytes::from_static(b"station,time");
        for columns in [Columns::Declared, Columns::Named(header.clone()), Columns::Refused(header)]
        {
            assert_eq!(Columns::decode(columns.encode()).unwrap(), columns);
        }
    }

    #[test]
    fn columns_of_another_layout_are_refused() {
        let of = |bytes: &'static [u8]| Columns::decode(Bytes::from_static(bytes)).unwrap_err();

        assert_eq!(of(&[2, 0]), unfit("columns version", 0, 2, "1"));
        assert_eq!(of(&[1, 0, 9]), unfit("columns", 1, 0, KINDS));
        assert_eq!(of(&[1, 3]), unfit("columns", 1, 3, KINDS));
    }
}
