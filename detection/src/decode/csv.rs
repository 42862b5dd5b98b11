//! Comma-separated values by RFC 4180, one record per line.

use std::borrow::Cow;
use std::sync::Arc;

use crate::decode::decoder::{DecodeError, HeaderError, expected, parse_text, shown};
use crate::sql::error::Hint;
use crate::table::Table;
use crate::value::{Column, Value};

/// Decodes lines of comma-separated values.
///
/// A field that is empty or `NA` is NULL; in quotes it is that text. A quoted field cannot hold a
/// line break, since a source is read line by line.
#[derive(Debug, Clone)]
pub(crate) struct CsvDecoder {
    columns: Arc<[Column]>,
    /// Per field of a line: where its column stands, if it is one.
    fields: Arc<[Option<usize>]>,
}

impl CsvDecoder {
    pub(crate) fn new(table: &Table, header: Option<&[u8]>) -> Result<Self, HeaderError> {
        let columns: Arc<[Column]> = Arc::from(table.physical());
        let fields = match header {
            Some(header) => fields_of(table, header)?,
            None => (0..columns.len()).map(Some).collect(),
        };
        Ok(Self { columns, fields })
    }

    /// The values of a line in the order of the schema.
    pub(crate) fn decode(&self, line: &[u8]) -> Result<Vec<Value>, DecodeError> {
        let mut values = vec![Value::Null; self.columns.len()];
        let mut count = 0;
        for field in Fields::new(line)? {
            let field = field?;
            let index = self.fields.get(count).copied().flatten();
            count += 1;
            let column = index.and_then(|index| self.columns.get(index));
            let value = index.and_then(|index| values.get_mut(index));
            if let (Some(column), Some(value)) = (column, value) {
                *value = field.value(column)?;
            }
        }
        if count == self.fields.len() {
            Ok(values)
        } else {
            Err(DecodeError::FieldCount { found: count, expected: self.fields.len() })
        }
    }
}

fn fields_of(table: &Table, header: &[u8]) -> Result<Arc<[Option<usize>]>, HeaderError> {
    let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
    let header = header.strip_suffix(b"\r").unwrap_or(header);
    let names = Fields::new(header)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(HeaderError::Line)?;
    let columns = table.physical();
    for column in &columns {
        let mut named = names.iter().filter(|field| field.text == **column.name());
        let (first, second) = (named.next(), named.next());
        let column = Arc::clone(column.name());
        if first.is_none() {
            let hint = Hint::new(&column, names.iter().map(|field| &*field.text));
            return Err(HeaderError::Lacks { column, table: Arc::clone(table.name()), hint });
        }
        if second.is_some() {
            return Err(HeaderError::Repeats { column });
        }
    }
    let index_of = |name: &str| columns.iter().position(|column| **column.name() == *name);
    Ok(names.iter().map(|field| index_of(&field.text)).collect())
}

/// One field of a line.
#[derive(Debug)]
struct Field<'a> {
    text: Cow<'a, str>,
    is_quoted: bool,
    /// Where it begins, in bytes from 1.
    position: usize,
}

impl Field<'_> {
    fn value(&self, column: &Column) -> Result<Value, DecodeError> {
        let text = &*self.text;
        if !self.is_quoted && matches!(text, "" | "NA") {
            return Ok(Value::Null);
        }
        let value = parse_text(text, column.data_type());
        debug_assert!(value.as_ref().is_none_or(|value| value.fits(column.data_type())));
        value.ok_or_else(|| DecodeError::Column {
            column: Arc::clone(column.name()),
            position: self.position,
            found: shown(text),
            expected: expected(column.data_type()),
        })
    }
}

/// The fields of a line, in order; stops after the first that is broken.
struct Fields<'a> {
    line: &'a str,
    /// What is left; none behind the last field.
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn new(line: &'a [u8]) -> Result<Self, DecodeError> {
        let line = std::str::from_utf8(line).map_err(|error| DecodeError::Syntax {
            position: error.valid_up_to() + 1,
            found: "bytes that are not UTF-8".to_owned(),
            expected: "UTF-8",
        })?;
        Ok(Self { line, rest: Some(line) })
    }

    /// The place of a part of the line, in bytes from 1.
    fn place_of(&self, rest: &str) -> usize {
        debug_assert!(rest.len() <= self.line.len(), "a part is no longer than the line");
        self.line.len() - rest.len() + 1
    }

    fn plain(&mut self, rest: &'a str) -> Result<Cow<'a, str>, DecodeError> {
        let (text, rest) = match rest.split_once(',') {
            Some((text, rest)) => (text, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        match text.find('"') {
            None => Ok(Cow::Borrowed(text)),
            Some(_) => {
                let found = shown(text);
                let position = self.line.len() - rest.map_or(0, |rest| rest.len() + 1) - text.len();
                let expected = "quotes around the whole field";
                Err(DecodeError::Syntax { position: position + 1, found, expected })
            }
        }
    }

    /// Reads from behind the opening quote.
    fn quoted(&mut self, mut body: &'a str) -> Result<Cow<'a, str>, DecodeError> {
        let mut text = Cow::Borrowed("");
        loop {
            let Some((part, rest)) = body.split_once('"') else {
                return Err(DecodeError::Syntax {
                    position: self.line.len() + 1,
                    found: "the end of the line".to_owned(),
                    expected: "a closing quote",
                });
            };
            if text.is_empty() {
                text = Cow::Borrowed(part);
            } else {
                text.to_mut().push_str(part);
            }
            if let Some(rest) = rest.strip_prefix('"') {
                text.to_mut().push('"');
                body = rest;
            } else if rest.is_empty() {
                self.rest = None;
                return Ok(text);
            } else if let Some(rest) = rest.strip_prefix(',') {
                self.rest = Some(rest);
                return Ok(text);
            } else {
                let (position, found) = (self.place_of(rest), shown(rest));
                let expected = "a comma or the end of the line behind a closing quote";
                return Err(DecodeError::Syntax { position, found, expected });
            }
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let position = self.place_of(rest);
        let (is_quoted, text) = match rest.strip_prefix('"') {
            Some(body) => (true, self.quoted(body)),
            None => (false, self.plain(rest)),
        };
        Some(text.map(|text| Field { text, is_quoted, position }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{Decoder, Program};

    use super::*;

    fn decoder(header: Option<&str>) -> Result<Decoder, HeaderError> {
        let sql = "CREATE TABLE air (station STRING, pm25 DOUBLE, n INT) \
                   WITH ('topic' = 'air', 'format' = 'csv')";
        let program = Program::compile("rules.sql", sql).unwrap();
        Decoder::new(program.tables().first().unwrap(), header.map(str::as_bytes))
    }

    fn decode(line: &str) -> Result<Vec<Value>, String> {
        let decoder = decoder(Some("n,wind,pm25,station")).unwrap();
        decoder
            .decode(line.as_bytes())
            .map(|row| row.values().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_found_by_their_name_in_the_header() {
        let row = decode("7,NNW,4.5,Dongsi\r").unwrap();

        assert_eq!(row, [Value::text("Dongsi"), Value::Double(4.5), Value::Integer(7)]);
    }

    #[test]
    fn na_and_nothing_are_null_and_in_quotes_they_are_text() {
        assert_eq!(decode("NA,x,,NA").unwrap(), [Value::Null, Value::Null, Value::Null]);
        assert_eq!(decode("NA,x,,\"NA\"").unwrap()[0], Value::text("NA"));
        assert_eq!(decode("NA,x,,\"\"").unwrap()[0], Value::text(""));
    }

    #[test]
    fn a_quoted_field_holds_commas_and_doubled_quotes() {
        let row = decode(r#"1,"a,b",2,"say ""hi"", twice""#).unwrap();

        assert_eq!(row[0], Value::text("say \"hi\", twice"));
    }

    #[test]
    fn without_a_header_fields_stand_in_the_order_of_the_columns() {
        let row = decoder(None).unwrap().decode(b"Dongsi,1e2,3").unwrap();

        assert_eq!(row.values(), [Value::text("Dongsi"), Value::Double(100.0), Value::Integer(3)]);
    }

    #[test]
    fn a_header_must_name_every_column_once() {
        assert_eq!(
            decoder(Some("station,PM2.5,n")).unwrap_err().to_string(),
            "the header does not name column \"pm25\" of table air, did you mean \"PM2.5\"?"
        );
        assert_eq!(
            decoder(Some("station,pm25,n,n")).unwrap_err().to_string(),
            "the header names column \"n\" twice"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_column_and_place() {
        assert_eq!(
            decode("1,N,high,Dongsi").unwrap_err(),
            "column \"pm25\", byte 5: found \"high\", expected DOUBLE"
        );
        assert_eq!(
            decode("2147483648,N,1,Dongsi").unwrap_err(),
            "column \"n\", byte 1: found \"2147483648\", expected INT"
        );
        assert_eq!(
            decode("1,N,nan,Dongsi").unwrap_err(),
            "column \"pm25\", byte 5: found \"nan\", expected DOUBLE"
        );
    }

    #[test]
    fn broken_quotes_are_refused_with_their_place() {
        assert_eq!(
            decode("1,N,2,\"Dongsi").unwrap_err(),
            "byte 14: found the end of the line, expected a closing quote"
        );
        assert_eq!(
            decode("1,N,2,\"Dong\"si").unwrap_err(),
            "byte 13: found \"si\", expected a comma or the end of the line behind a closing quote"
        );
        assert_eq!(
            decode("1,N\"W,2,Dongsi").unwrap_err(),
            "byte 3: found \"N\\\"W\", expected quotes around the whole field"
        );
    }

    #[test]
    fn a_field_too_few_or_too_many_is_refused() {
        assert_eq!(decode("1,N,2").unwrap_err(), "found 3 fields, expected 4");
        assert_eq!(decode("1,N,2,Dongsi,").unwrap_err(), "found 5 fields, expected 4");
    }

    proptest! {
        #[test]
        fn a_field_survives_quoting(texts in prop::collection::vec("[a\",ä ]{0,5}", 1..5)) {
            let quoted: Vec<String> =
                texts.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect();
            let line = quoted.join(",");

            let fields = Fields::new(line.as_bytes()).unwrap().collect::<Result<Vec<_>, _>>();

            let read: Vec<_> = fields.unwrap().into_iter().map(|f| f.text.into_owned()).collect();
            prop_assert_eq!(read, texts);
        }

        #[test]
        fn no_line_makes_the_decoder_panic(line in prop::collection::vec(any::<u8>(), 0..40)) {
            let row = decoder(None).unwrap().decode(&line);

            prop_assert!(row.is_err() || row.is_ok_and(|row| row.values().len() == 3));
        }
    }
}
