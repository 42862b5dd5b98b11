//! Which column stands where in the lines of a CSV file, as the state keeps it.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};

const VERSION: u8 = 1;

/// What says which column stands where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// The table's declaration: the file does not begin with a header.
    Declared,
    /// The file's first line.
    Named(Bytes),
}

impl Columns {
    /// The header, `None` when the file has none.
    #[must_use]
    pub const fn header(&self) -> Option<&Bytes> {
        match self {
            Self::Declared => None,
            Self::Named(header) => Some(header),
        }
    }

    /// `version u8 │ 0 declared, 1 named u8 │ header`.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u8(u8::from(self.header().is_some()));
        writer.raw(self.header().map_or(&[], |header| header));
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
            (VERSION, found) => Err(unfit("columns", 1, found, "0 without or 1 with a header")),
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
        for columns in [Columns::Declared, Columns::Named(Bytes::from_static(b"station,time"))] {
            assert_eq!(Columns::decode(columns.encode()).unwrap(), columns);
        }
    }

    #[test]
    fn columns_of_another_layout_are_refused() {
        let of = |bytes: &'static [u8]| Columns::decode(Bytes::from_static(bytes)).unwrap_err();

        assert_eq!(of(&[2, 0]), unfit("columns version", 0, 2, "1"));
        assert_eq!(of(&[1, 0, 9]), unfit("columns", 1, 0, "0 without or 1 with a header"));
        assert_eq!(of(&[1, 2]), unfit("columns", 1, 2, "0 without or 1 with a header"));
    }
}
