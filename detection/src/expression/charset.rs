//! Text as bytes of a character set: ENCODE and DECODE.
//!
//! # Source
//! Java's `Charset` for the six that every JVM has: what a set does not have is `?`, bytes that
//! are no text are U+FFFD, UTF-16 is written big-endian behind a byte-order mark.

use std::sync::Arc;

use crate::expression::function::Parameter::{Bytes, Text};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::value::Value;

pub(super) static FUNCTIONS: &[Function] = &[
    function("ENCODE", &[Text, Text], Outcome::Bytes, |a| match a {
        [Value::Text(text), Value::Text(set)] => {
            let set = Charset::by_name(set).ok_or(EvaluationError::Argument)?;
            Ok(Value::Bytes(Arc::from(set.encoded(text))))
        }
        _ => Ok(Value::Null),
    }),
    function("DECODE", &[Bytes, Text], Outcome::Text, |a| match a {
        [Value::Bytes(bytes), Value::Text(set)] => {
            let set = Charset::by_name(set).ok_or(EvaluationError::Argument)?;
            Ok(Value::text(&set.decoded(bytes)))
        }
        _ => Ok(Value::Null),
    }),
];

/// A character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16,
    Utf16Be,
    Utf16Le,
}

impl Charset {
    fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" => Self::Ascii,
            "ISO-8859-1" => Self::Latin1,
            "UTF-8" => Self::Utf8,
            "UTF-16" => Self::Utf16,
            "UTF-16BE" => Self::Utf16Be,
            "UTF-16LE" => Self::Utf16Le,
            _ => return None,
        })
    }

    fn encoded(self, text: &str) -> Vec<u8> {
        let narrow = |limit: u8| {
            let byte = move |letter: char| {
                u8::try_from(letter).ok().filter(|byte| *byte <= limit).unwrap_or(b'?')
            };
            text.chars().map(byte).collect()
        };
        let wide = || text.encode_utf16();
        match self {
            Self::Ascii => narrow(0x7F),
            Self::Latin1 => narrow(0xFF),
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf16 => {
                std::iter::once(0xFEFF).chain(wide()).flat_map(u16::to_be_bytes).collect()
            }
            Self::Utf16Be => wide().flat_map(u16::to_be_bytes).collect(),
            Self::Utf16Le => wide().flat_map(u16::to_le_bytes).collect(),
        }
    }

    fn decoded(self, bytes: &[u8]) -> String {
        match self {
            Self::Ascii => {
                let letter =
                    |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '\u{FFFD}' };
                bytes.iter().map(letter).collect()
            }
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Utf16 => match bytes {
                [0xFF, 0xFE, rest @ ..] => units(rest, u16::from_le_bytes),
                [0xFE, 0xFF, rest @ ..] => units(rest, u16::from_be_bytes),
                bytes => units(bytes, u16::from_be_bytes),
            },
            Self::Utf16Be => units(bytes, u16::from_be_bytes),
            Self::Utf16Le => units(bytes, u16::from_le_bytes),
        }
    }
}

/// The text of 16-bit units; a byte too many is no text.
fn units(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text =
        String::from_utf16_lossy(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>());
    if !rest.is_empty() {
        text.push('\u{FFFD}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_from_every_set_that_has_its_letters() {
        for set in [Charset::Utf8, Charset::Utf16, Charset::Utf16Be, Charset::Utf16Le] {
            assert_eq!(set.decoded(&set.encoded("aä€😀")), "aä€😀", "{set:?}");
        }
        assert_eq!(Charset::Latin1.decoded(&Charset::Latin1.encoded("aä€")), "aä?");
        assert_eq!(Charset::Ascii.decoded(&Charset::Ascii.encoded("aä")), "a?");
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(Charset::Utf16.encoded("a"), [0xFE, 0xFF, 0, b'a']);
        assert_eq!(Charset::Utf16.decoded(&[0xFF, 0xFE, b'a', 0]), "a");
        assert_eq!(Charset::Utf16Be.decoded(&[0, b'a', 0]), "a\u{FFFD}");
        assert_eq!(Charset::Ascii.decoded(&[0x80]), "\u{FFFD}");
    }
}
