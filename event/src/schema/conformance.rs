//! Whether a JSON value is what a schema describes.

use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::schema::{RecordField, RecordSchema};
use serde_json::Value;

use super::SchemaDefinition;

/// Attribute of a field that lists the values it may have.
const VALUES: &str = "hl-values";

/// Characters of a value that a message repeats.
const SHOWN_CHARS: usize = 64;

/// Where and how a value is not what its schema describes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at} is {found}, expected {expected}")]
pub struct Misfit {
    /// The place, such as `value.postings[1].units`.
    pub at: String,
    /// What stands there, its first 64 characters; `absent` when nothing does.
    pub found: String,
    /// What the schema describes.
    pub expected: String,
}

/// Checks a value against the whole schema.
pub(super) fn check(schema: &SchemaDefinition, value: &Value) -> Result<(), Misfit> {
    Check { schema, at: "value".to_owned() }.value(&schema.avro, value)
}

/// A walk over a value and its schema. The depth is that of the value, which its parser bounds, and
/// of what a schema nests without a value: unions hold no unions, so at most one level each.
struct Check<'a> {
    schema: &'a SchemaDefinition,
    at: String,
}

impl Check<'_> {
    fn value(&mut self, schema: &Schema, value: &Value) -> Result<(), Misfit> {
        let fits = match schema {
            Schema::Record(record) => return self.record(record, value),
            Schema::Union(union) => return self.union(union.variants(), value),
            Schema::Ref { name } => {
                let Some(named) = self.schema.named.get(&name.to_string()) else {
                    return self.misfit(value, &format!("the unknown type {name}"));
                };
                return self.value(named, value);
            }
            Schema::Array(array) => match value {
                Value::Array(items) => return self.items(&array.items, items),
                _ => false,
            },
            Schema::Map(map) => match value {
                Value::Object(fields) => {
                    return fields.iter().try_for_each(|(name, value)| {
                        self.within(&format!(".{name}"), |of| of.value(&map.types, value))
                    });
                }
                _ => false,
            },
            Schema::Enum(of) => {
                value.as_str().is_some_and(|word| of.symbols.iter().any(|known| known == word))
            }
            Schema::Null => value.is_null(),
            Schema::Boolean => value.is_boolean(),
            Schema::Int | Schema::Date | Schema::TimeMillis => {
                value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
            }
            Schema::Float | Schema::Double => value.is_number(),
            Schema::Bytes | Schema::String | Schema::Fixed(_) | Schema::Uuid(_) => {
                value.is_string()
            }
            // Every other type of Avro is a 64-bit number, or stands in JSON as text.
            _ => value.is_i64() || value.is_string(),
        };
        if fits { Ok(()) } else { self.misfit(value, &described(schema)) }
    }

    fn record(&mut self, record: &RecordSchema, value: &Value) -> Result<(), Misfit> {
        let Value::Object(fields) = value else {
            return self.misfit(value, &described(&Schema::Record(record.clone())));
        };
        record.fields.iter().try_for_each(|field| {
            self.within(&format!(".{}", field.name), |of| match fields.get(&field.name) {
                Some(value) => of.field(field, value),
                None if field.default.is_some() => Ok(()),
                None => {
                    let (at, expected) = (of.at.clone(), described(&field.schema));
                    Err(Misfit { at, found: "absent".to_owned(), expected })
                }
            })
        })
    }

    fn field(&mut self, field: &RecordField, value: &Value) -> Result<(), Misfit> {
        if let Some(Value::Array(values)) = field.custom_attributes.get(VALUES)
            && !values.contains(value)
        {
            let known: Vec<String> = values.iter().map(Value::to_string).collect();
            return self.misfit(value, &format!("one of {}", known.join(", ")));
        }
        self.value(&field.schema, value)
    }

    fn items(&mut self, schema: &Schema, items: &[Value]) -> Result<(), Misfit> {
        items.iter().enumerate().try_for_each(|(index, item)| {
            self.within(&format!("[{index}]"), |of| of.value(schema, item))
        })
    }

    fn union(&mut self, branches: &[Schema], value: &Value) -> Result<(), Misfit> {
        let mut expected = String::new();
        for branch in branches {
            let Err(misfit) = self.value(branch, value) else { return Ok(()) };
            let separator = if expected.is_empty() { "" } else { "; or " };
            let name = described(branch);
            // Writing to a text does not fail.
            let _written = if misfit.at == self.at {
                write!(expected, "{separator}{name}")
            } else {
                write!(expected, "{separator}{name}, of which {misfit}")
            };
        }
        self.misfit(value, &expected)
    }

    fn within(
        &mut self,
        step: &str,
        check: impl FnOnce(&mut Self) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        let length = self.at.len();
        self.at.push_str(step);
        let checked = check(self);
        self.at.truncate(length);
        checked
    }

    fn misfit(&self, value: &Value, expected: &str) -> Result<(), Misfit> {
        let found = value.to_string().chars().take(SHOWN_CHARS).collect();
        Err(Misfit { at: self.at.clone(), found, expected: expected.to_owned() })
    }
}

/// A type as a message calls it.
fn described(schema: &Schema) -> String {
    match schema {
        Schema::Enum(of) => format!("one of {}", of.symbols.join(", ")),
        Schema::Union(of) => {
            let branches: Vec<String> = of.variants().iter().map(described).collect();
            branches.join(" or ")
        }
        other => other.name().map_or_else(
            || serde_json::to_string(other).unwrap_or_default().trim_matches('"').to_owned(),
            ToString::to_string,
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> SchemaDefinition {
        SchemaDefinition::parse(
            r#"[
              {"type": "record", "name": "Moved", "fields": [
                {"name": "kind", "type": "string", "hl-values": ["sale", "transfer-out"]},
                {"name": "units", "type": "int"},
                {"name": "unit", "type": ["null", "string"], "default": null},
                {"name": "next", "type": ["null", "Moved"], "default": null}]},
              {"type": "record", "name": "Counted", "fields": [
                {"name": "kind", "type": "string", "hl-values": ["stocktake"]},
                {"name": "counts", "type": {"type": "array", "items": "long"}}]}
            ]"#,
        )
        .unwrap()
    }

    fn misfit(value: &Value) -> String {
        schema().check(value).unwrap_err().to_string()
    }

    #[test]
    fn an_object_with_its_fields_fits_with_and_without_those_that_have_a_default() {
        let schema = schema();

        for value in [
            json!({"kind": "sale", "units": 3}),
            json!({"kind": "transfer-out", "units": -3, "unit": "each", "more": [1]}),
            json!({"kind": "sale", "units": 3, "next": {"kind": "sale", "units": 4}}),
            json!({"kind": "stocktake", "counts": [1, 4_000_000_000_i64]}),
        ] {
            assert_eq!(schema.check(&value), Ok(()), "{value}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place_and_what_would_fit() {
        let plain = SchemaDefinition::parse(
            r#"{"type": "record", "name": "Counted", "fields": [
                {"name": "counts", "type": {"type": "array", "items": "int"}}]}"#,
        )
        .unwrap();
        let of = |value: Value| plain.check(&value).unwrap_err().to_string();

        assert_eq!(of(json!({"counts": [1, "2"]})), "value.counts[1] is \"2\", expected int");
        assert_eq!(
            of(json!({"counts": [4_000_000_000_i64]})),
            "value.counts[0] is 4000000000, expected int"
        );
        assert!(of(json!({})).starts_with("value.counts is absent, expected "));
        assert_eq!(of(json!(7)), "value is 7, expected Counted");
    }

    #[test]
    fn of_a_union_every_branch_says_why_it_does_not_fit() {
        let text = misfit(&json!({"kind": "theft", "units": 1}));

        let expected = "value is {\"kind\":\"theft\",\"units\":1}, expected Moved, of which \
                        value.kind is \"theft\", expected one of \"sale\", \"transfer-out\"; or \
                        Counted, of which value.kind is \"theft\", expected one of \"stocktake\"";
        assert_eq!(text, expected);
    }
}
