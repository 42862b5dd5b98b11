//! One schema, parsed.

use std::collections::BTreeMap;

use apache_avro::Schema;
use serde_json::Value;

use super::conformance::{self, Misfit};
use super::{SchemaId, versions};

/// Most bytes of a schema's text: what is larger is no schema of a record that fits a batch.
const TEXT_BYTES_LIMIT: usize = 256 << 10;

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// More bytes than any schema has.
    #[error("{found} bytes, a schema has at most {limit}")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Most bytes.
        limit: usize,
    },
    /// Not JSON.
    #[error("line {line}, column {column}: not JSON: {detail}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser met.
        detail: String,
    },
    /// JSON, but no Avro schema.
    #[error("not an Avro schema: {detail}")]
    Avro {
        /// What does not fit.
        detail: String,
    },
}

/// An Avro schema of JSON values.
#[derive(Debug, Clone)]
pub struct SchemaDefinition {
    id: SchemaId,
    pub(super) avro: Schema,
    /// The types it names, for those that refer to them.
    pub(super) named: BTreeMap<String, Schema>,
}

impl SchemaDefinition {
    /// Reads a schema. O(bytes).
    ///
    /// # Errors
    /// [`SchemaError`] when the text is none.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > TEXT_BYTES_LIMIT {
            return Err(SchemaError::TooLarge { found: text.len(), limit: TEXT_BYTES_LIMIT });
        }
        let json: Value = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            SchemaError::Json { line, column, detail: error.to_string() }
        })?;
        let avro = Schema::parse(&json)
            .map_err(|error| SchemaError::Avro { detail: error.to_string() })?;
        let mut named = BTreeMap::new();
        collect(&avro, &mut named);
        Ok(Self { id: SchemaId::of_canonical(&avro.canonical_form()), avro, named })
    }

    /// The schema's name by its content.
    #[must_use]
    pub const fn id(&self) -> SchemaId {
        self.id
    }

    /// Checks that a JSON value is what the schema describes.
    ///
    /// A record is an object that may have further fields; a field with a default may be absent. A
    /// union is any of its branches, not wrapped in a branch's name as in Avro's own JSON encoding.
    /// Integers are in the range of their type. A field's attribute `hl-values` lists the values it
    /// may have, for words that Avro's enums cannot hold (`transfer-out`). O(value).
    ///
    /// # Errors
    /// [`Misfit`] that names the first place that does not fit.
    pub fn check(&self, value: &Value) -> Result<(), Misfit> {
        conformance::check(self, value)
    }

    /// Whether data written with `self` can always be read by `reader`.
    pub(super) fn is_read_by(&self, reader: &Self) -> Result<(), versions::Mismatch> {
        versions::can_read(&self.avro, &reader.avro)
    }
}

/// Keeps every type that has a name.
fn collect(schema: &Schema, named: &mut BTreeMap<String, Schema>) {
    if let Some(name) = schema.name().filter(|_| !matches!(schema, Schema::Ref { .. })) {
        named.insert(name.to_string(), schema.clone());
    }
    match schema {
        Schema::Record(record) => {
            record.fields.iter().for_each(|field| collect(&field.schema, named));
        }
        Schema::Union(union) => union.variants().iter().for_each(|of| collect(of, named)),
        Schema::Array(array) => collect(&array.items, named),
        Schema::Map(map) => collect(&map.types, named),
        _ => {}
    }
}

impl PartialEq for SchemaDefinition {
    /// Two schemas are the same when their contents have the same name.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for SchemaDefinition {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_refused_with_its_line_and_what_is_no_schema_with_the_word() {
        let json = SchemaDefinition::parse("{\n  \"type\": \"record\",\n}").unwrap_err();
        let avro = SchemaDefinition::parse("\"strng\"").unwrap_err();

        assert!(matches!(json, SchemaError::Json { line: 3, column: 1, .. }), "{json:?}");
        assert!(avro.to_string().contains("strng"), "{avro}");
    }

    #[test]
    fn a_text_beyond_the_limit_is_refused_before_it_is_parsed() {
        let text = " ".repeat(TEXT_BYTES_LIMIT + 1);

        let error = SchemaDefinition::parse(&text).unwrap_err();

        let (found, limit) = (TEXT_BYTES_LIMIT + 1, TEXT_BYTES_LIMIT);
        assert_eq!(error, SchemaError::TooLarge { found, limit });
    }

    #[test]
    fn doc_and_order_of_attributes_do_not_change_the_id_and_a_field_does() {
        let record = |fields: &str| {
            let text = format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#);
            SchemaDefinition::parse(&text).unwrap().id()
        };

        let plain = record(r#"{"name":"a","type":"long"}"#);

        assert_eq!(record(r#"{"doc":"units","type":"long","name":"a"}"#), plain);
        assert_ne!(record(r#"{"name":"b","type":"long"}"#), plain);
    }
}
