//! JSON functions: paths of fields and indexes, `$.a.b[0]`, in lax mode.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::expression::function::Parameter::{Any, Text};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::value::Value;

type Called = Result<Value, EvaluationError>;

pub(super) static FUNCTIONS: &[Function] = &[
    function("JSON_VALUE", &[Text, Text], Outcome::Text, value),
    function("JSON_QUERY", &[Text, Text], Outcome::Text, query),
    function("JSON_EXISTS", &[Text, Text], Outcome::Boolean, exists),
    function("IS_JSON", &[Text], Outcome::Boolean, |a| is(a, |_| true)).seeing_nulls(),
    function("IS_JSON_OBJECT", &[Text], Outcome::Boolean, |a| {
        is(a, |json| matches!(json, Json::Object(_)))
    })
    .seeing_nulls(),
    function("IS_JSON_ARRAY", &[Text], Outcome::Boolean, |a| {
        is(a, |json| matches!(json, Json::Array(_)))
    })
    .seeing_nulls(),
    function("IS_JSON_SCALAR", &[Text], Outcome::Boolean, |a| {
        is(a, |json| !matches!(json, Json::Array(_) | Json::Object(_)))
    })
    .seeing_nulls(),
    function("JSON_STRING", &[Any], Outcome::Text, |a| {
        Ok(a.first().map_or(Value::Null, |value| Value::text(&written(value).to_string())))
    }),
    function("JSON_QUOTE", &[Text], Outcome::Text, |a| {
        Ok(a.first().map_or(Value::Null, |value| Value::text(&written(value).to_string())))
    }),
];

/// `JSON_OBJECT`: per field its name, whether its value is JSON already, and the value.
pub(super) static OBJECT: Function = maker("JSON_OBJECT", |a| object(a, Nulls::Kept));
pub(super) static OBJECT_WITHOUT_NULLS: Function =
    maker("JSON_OBJECT ABSENT ON NULL", |a| object(a, Nulls::Left));

/// `JSON_ARRAY`: per value whether it is JSON already, and the value.
pub(super) static ARRAY: Function = maker("JSON_ARRAY NULL ON NULL", |a| list(a, Nulls::Kept));
pub(super) static ARRAY_WITHOUT_NULLS: Function = maker("JSON_ARRAY", |a| list(a, Nulls::Left));

const fn maker(name: &'static str, body: fn(&[Value]) -> Called) -> Function {
    function(name, &[Any], Outcome::Text, body).optional(1).repeated().seeing_nulls()
}

/// What NULL becomes in an object or array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Kept,
    Left,
}

/// A JSON value that keeps the order of its fields and the digits of its numbers.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Boolean(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(format!("{number:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Number(digits) => f.write_str(digits),
            Self::Text(text) => quote(text, f),
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    quote(name, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).unwrap_or_default())
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// The steps of `[lax|strict] $.field['field'][index]`.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let path = path.trim();
    let path = path.strip_prefix("lax ").or_else(|| path.strip_prefix("strict ")).unwrap_or(path);
    let mut rest = path.trim_start().strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, tail) = name.split_at(end);
            steps.push(Step::Field((!name.is_empty()).then_some(name)?));
            rest = tail;
        } else {
            let (inner, tail) = rest.strip_prefix('[')?.split_once(']')?;
            let quoted = inner.strip_prefix(['\'', '"']);
            let quoted = quoted.and_then(|inner| inner.strip_suffix(['\'', '"']));
            steps.push(match quoted {
                Some(name) => Step::Field(name),
                None => Step::Index(inner.trim().parse().ok()?),
            });
            rest = tail;
        }
    }
    Some(steps)
}

fn walk<'a>(json: &'a Json, steps: &[Step<'_>]) -> Option<&'a Json> {
    steps.iter().try_fold(json, |json, step| match (json, step) {
        (Json::Object(fields), Step::Field(name)) => {
            fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
        }
        (Json::Array(values), Step::Index(index)) => values.get(*index),
        _ => None,
    })
}

/// The value at a path of a text; none when the text is no JSON or has nothing there.
fn find(arguments: &[Value]) -> Option<Json> {
    let (Some(Value::Text(text)), Some(Value::Text(path))) = (arguments.first(), arguments.get(1))
    else {
        return None;
    };
    let json: Json = serde_json::from_str(text).ok()?;
    walk(&json, &steps(path)?).cloned()
}

/// The text of a scalar; NULL for an object, an array and nothing.
fn value(arguments: &[Value]) -> Called {
    Ok(match find(arguments) {
        Some(Json::Text(text)) => Value::text(&text),
        Some(scalar @ (Json::Number(_) | Json::Boolean(_))) => Value::text(&scalar.to_string()),
        Some(Json::Null | Json::Array(_) | Json::Object(_)) | None => Value::Null,
    })
}

/// The text of an object or array; NULL for a scalar and nothing.
fn query(arguments: &[Value]) -> Called {
    Ok(match find(arguments) {
        Some(json @ (Json::Array(_) | Json::Object(_))) => Value::text(&json.to_string()),
        Some(Json::Null | Json::Boolean(_) | Json::Number(_) | Json::Text(_)) | None => Value::Null,
    })
}

fn exists(arguments: &[Value]) -> Called {
    Ok(Value::Boolean(find(arguments).is_some()))
}

fn is(arguments: &[Value], kind: impl FnOnce(&Json) -> bool) -> Called {
    Ok(match arguments.first() {
        Some(Value::Text(text)) => {
            Value::Boolean(serde_json::from_str(text).is_ok_and(|json: Json| kind(&json)))
        }
        // What is no text is no JSON, NULL included.
        _ => Value::Boolean(false),
    })
}

/// The JSON that an argument stands for; none when it is left out.
fn item(is_json: &Value, value: &Value, nulls: Nulls) -> Option<Json> {
    match (is_json, value) {
        (_, Value::Null) => (nulls == Nulls::Kept).then_some(Json::Null),
        (Value::Boolean(true), Value::Text(text)) => serde_json::from_str(text).ok(),
        (_, value) => Some(written(value)),
    }
}

fn object(arguments: &[Value], nulls: Nulls) -> Called {
    let (fields, rest) = arguments.as_chunks::<3>();
    debug_assert!(rest.is_empty(), "the compiler gives three arguments a field");
    let fields = fields.iter().filter_map(|[name, is_json, value]| {
        Some((name.to_string(), item(is_json, value, nulls)?))
    });
    Ok(Value::text(&Json::Object(fields.collect()).to_string()))
}

fn list(arguments: &[Value], nulls: Nulls) -> Called {
    let (values, rest) = arguments.as_chunks::<2>();
    debug_assert!(rest.is_empty(), "the compiler gives two arguments a value");
    let values = values.iter().filter_map(|[is_json, value]| item(is_json, value, nulls));
    Ok(Value::text(&Json::Array(values.collect()).to_string()))
}

fn written(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(truth) => Json::Boolean(*truth),
        Value::Integer(_) | Value::Double(_) | Value::Float(_) | Value::Decimal(_) => {
            Json::Number(value.to_string())
        }
        Value::Array(values) => Json::Array(values.iter().map(written).collect()),
        Value::Map(entries) => Json::Object(
            entries.iter().map(|(key, value)| (key.to_string(), written(value))).collect(),
        ),
        _ => Json::Text(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"z": {"a": [1, 2.50, "x"]}, "n": null, "t": true}"#;

    fn at(function: fn(&[Value]) -> Called, path: &str) -> Value {
        function(&[Value::text(TEXT), Value::text(path)]).unwrap()
    }

    #[test]
    fn a_path_leads_through_fields_and_indexes() {
        assert_eq!(at(value, "$.z.a[0]"), Value::text("1"));
        assert_eq!(at(value, "lax $['z']['a'][2]"), Value::text("x"));
        assert_eq!(at(value, "$.t"), Value::text("true"));
        assert_eq!(at(query, "$.z"), Value::text(r#"{"a":[1,2.5,"x"]}"#));
    }

    #[test]
    fn what_is_not_there_or_of_the_other_kind_is_null() {
        assert_eq!(at(value, "$.z"), Value::Null);
        assert_eq!(at(query, "$.t"), Value::Null);
        assert_eq!(at(value, "$.n"), Value::Null);
        assert_eq!(at(value, "$.missing[3]"), Value::Null);
        assert_eq!(at(exists, "$.n"), Value::Boolean(true));
        assert_eq!(at(exists, "$.missing"), Value::Boolean(false));
        assert_eq!(value(&[Value::text("no json"), Value::text("$")]), Ok(Value::Null));
    }

    #[test]
    fn what_is_json_already_is_not_quoted_again() {
        let (plain, json) = (Value::Boolean(false), Value::Boolean(true));
        let inner =
            list(&[plain.clone(), Value::text("x"), plain.clone(), Value::Null], Nulls::Left);
        let fields = [Value::text("a"), json, inner.unwrap(), Value::text("b"), plain, Value::Null];

        assert_eq!(object(&fields, Nulls::Kept), Ok(Value::text(r#"{"a":["x"],"b":null}"#)));
        assert_eq!(object(&fields, Nulls::Left), Ok(Value::text(r#"{"a":["x"]}"#)));
    }

    #[test]
    fn a_text_is_json_or_not() {
        let is_json = |text: &str| is(&[Value::text(text)], |_| true).unwrap();

        assert_eq!(is_json("[1]"), Value::Boolean(true));
        assert_eq!(is_json("[1"), Value::Boolean(false));
    }
}
