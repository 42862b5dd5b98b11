//! Scalar functions: their names, what they take and what they give.

use std::borrow::Cow;

use crate::expression::tree::{EvaluationError, Expression};
use crate::expression::{charset, collection, digest, json, kind, moment, number, text};
use crate::value::{Column, DataType, Value};

/// A scalar function. Arguments are cast by the compiler to what it takes.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// How many parameters at the end may be absent.
    pub(crate) optional: usize,
    /// Whether the last parameter takes any number of arguments.
    pub(crate) last: Last,
    pub(crate) result: Outcome,
    pub(crate) nulls: NullArguments,
    pub(crate) body: Body,
}

/// What a function does with its arguments.
type Body = fn(&[Value]) -> Result<Value, EvaluationError>;

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    Text,
    /// Any whole number.
    Whole,
    /// Any number, as DOUBLE.
    Double,
    /// TIMESTAMP, TIMESTAMP_LTZ or DATE, as TIMESTAMP.
    Moment,
    Bytes,
    Array,
    Map,
    /// As an element of the first argument, which is an ARRAY.
    Element,
    /// Of the first argument's type.
    Same,
    Boolean,
    Any,
}

/// How often the last parameter may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Once,
    Repeated,
}

/// The type of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Text,
    Boolean,
    Int,
    BigInt,
    Double,
    Timestamp,
    TimestampLtz,
    Date,
    Bytes,
    TextArray,
    TextMap,
    /// The type of the first argument.
    First,
    /// The type of the first argument's elements.
    Element,
    /// An ARRAY of the first argument's keys or values.
    Keys,
    Values,
    /// An ARRAY of ROWs of the first argument's keys and values.
    Entries,
}

/// What NULL among the arguments does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NullArguments {
    /// The result is NULL.
    Win,
    /// The function sees them.
    AreSeen,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Outcome {
    /// The type of the result for a first argument of type `first`.
    pub(crate) fn data_type(self, first: Option<&DataType>) -> Option<DataType> {
        Some(match self {
            Self::Text => DataType::String,
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int,
            Self::BigInt => DataType::BigInt,
            Self::Double => DataType::Double,
            Self::Timestamp => DataType::Timestamp,
            Self::TimestampLtz => DataType::TimestampLtz,
            Self::Date => DataType::Date,
            Self::Bytes => DataType::Bytes,
            Self::TextArray => DataType::Array(DataType::String.into()),
            Self::TextMap => DataType::Map((DataType::String, DataType::String).into()),
            Self::First => return first.cloned(),
            Self::Element => match first? {
                DataType::Array(element) => DataType::clone(element),
                DataType::Map(entry) => entry.1.clone(),
                _ => return None,
            },
            Self::Entries => match first? {
                DataType::Map(entry) => {
                    let columns = [
                        Column::new("key", entry.0.clone()),
                        Column::new("value", entry.1.clone()),
                    ];
                    DataType::Array(DataType::Row(columns.into()).into())
                }
                _ => return None,
            },
            Self::Keys | Self::Values => match first? {
                DataType::Map(entry) if self == Self::Keys => {
                    DataType::Array(entry.0.clone().into())
                }
                DataType::Map(entry) => DataType::Array(entry.1.clone().into()),
                _ => return None,
            },
        })
    }
}

/// Most arguments that are kept without allocating.
const INLINE_ARGUMENTS: usize = 4;

impl Function {
    /// The function called `name` in upper case.
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        Self::all().find(|function| function.name == name)
    }

    /// Every function of the tables.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [
            text::FUNCTIONS,
            digest::FUNCTIONS,
            charset::FUNCTIONS,
            kind::FUNCTIONS,
            number::FUNCTIONS,
            moment::FUNCTIONS,
            json::FUNCTIONS,
            collection::FUNCTIONS,
        ]
        .into_iter()
        .flatten()
    }

    /// The value for a row.
    pub(crate) fn call(
        &self,
        arguments: &[Expression],
        row: &[Value],
    ) -> Result<Value, EvaluationError> {
        debug_assert!(
            arguments.len() + self.optional >= self.parameters.len(),
            "the compiler counted the arguments"
        );
        let mut inline = [const { Value::Null }; INLINE_ARGUMENTS];
        if let Some(values) = inline.get_mut(..arguments.len()) {
            for (value, argument) in values.iter_mut().zip(arguments) {
                *value = argument.evaluate(row)?.into_owned();
            }
            return self.apply(values);
        }
        let values = arguments.iter().map(|argument| argument.evaluate(row).map(Cow::into_owned));
        self.apply(&values.collect::<Result<Vec<_>, _>>()?)
    }

    fn apply(&self, values: &[Value]) -> Result<Value, EvaluationError> {
        match self.nulls {
            NullArguments::Win if values.iter().any(Value::is_null) => Ok(Value::Null),
            NullArguments::Win | NullArguments::AreSeen => (self.body)(values),
        }
    }
}

/// A function of the given parameters.
pub(super) const fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    result: Outcome,
    body: Body,
) -> Function {
    Function {
        name,
        parameters,
        optional: 0,
        last: Last::Once,
        result,
        nulls: NullArguments::Win,
        body,
    }
}

impl Function {
    /// With that many parameters at the end that may be absent.
    pub(super) const fn optional(mut self, count: usize) -> Self {
        self.optional = count;
        self
    }

    /// With a last parameter that takes any number of arguments.
    pub(super) const fn repeated(mut self) -> Self {
        self.last = Last::Repeated;
        self
    }

    /// With a body that sees NULLs.
    pub(super) const fn seeing_nulls(mut self) -> Self {
        self.nulls = NullArguments::AreSeen;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_given_once_in_upper_case() {
        let mut names: Vec<_> = Function::all().map(|function| function.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| *name == name.to_uppercase()));
    }

    #[test]
    fn every_function_stands_in_the_page_about_rules() {
        let page = include_str!("../../../docs/rules.md");
        // Others write these: TIMESTAMPADD, FLOOR, `+`, IS JSON, `[ ]`.
        let inner = ["ADD_MILLIS", "ADD_MONTHS", "FLOOR_TIME", "CEIL_TIME", "ITEM"];
        let names = Function::all().map(|function| function.name);
        let names = names.filter(|name| !inner.contains(name) && !name.starts_with("IS_JSON"));
        let (here, not_here) = page.split_once("| Of Flink 1.20, not here |").unwrap();

        let missing: Vec<_> = names.filter(|name| !here.contains(&format!("`{name}"))).collect();
        let refuted: Vec<_> = Function::all()
            .filter(|function| not_here.contains(&format!("| `{}`", function.name)))
            .map(|function| function.name)
            .collect();

        assert_eq!(missing, [""; 0]);
        assert_eq!(refuted, [""; 0]);
    }

    #[test]
    fn no_function_panics_over_values_its_parameters_admit() {
        let samples = |parameter: Parameter| match parameter {
            Parameter::Text | Parameter::Any => {
                vec![Value::text(""), Value::text("äb, c"), Value::text("{\"a\":[1]}")]
            }
            Parameter::Whole => [i64::MIN, -1, 0, 1, 3, i64::MAX].map(Value::Integer).to_vec(),
            Parameter::Double => [f64::NAN, -1.5, 0.0, 1e300].map(Value::Double).to_vec(),
            Parameter::Moment => {
                let times = [i64::MIN, -1, 0, i64::MAX].map(headland_event::EventTime::from_millis);
                times.map(Value::Timestamp).to_vec()
            }
            Parameter::Bytes => vec![Value::Bytes([0, 255].into())],
            Parameter::Boolean => vec![Value::Boolean(true)],
            Parameter::Element => vec![Value::Null, Value::Integer(1)],
            Parameter::Same => vec![Value::Array([Value::Null].into()), Value::Null],
            Parameter::Array => vec![Value::Array([Value::Null].into())],
            Parameter::Map => vec![Value::Map([(Value::text("a"), Value::Null)].into())],
        };
        for function in Function::all() {
            let mut calls: Vec<Vec<Value>> = vec![Vec::new()];
            for parameter in function.parameters {
                let given = samples(*parameter);
                calls = calls
                    .iter()
                    .flat_map(|call| {
                        given.iter().map(|value| {
                            let mut call = call.clone();
                            call.push(value.clone());
                            call
                        })
                    })
                    .collect();
            }
            for call in calls {
                drop(function.apply(&call));
            }
        }
    }
}
