//! Regular expressions: linear in the text whatever the pattern, compiled once per rule.

use crate::expression::tree::{EvaluationError, Expression};
use crate::value::Value;

/// Most memory a compiled pattern may take: a class of all letters repeated a hundred times fits.
const COMPILED_BYTES_LIMIT: usize = 1 << 20;

/// Deepest nesting of groups in a pattern.
const NESTING_LIMIT: u32 = 50;

/// A compiled regular expression; equal when its pattern is.
#[derive(Debug, Clone)]
pub(crate) struct Regex(regex::Regex);

impl Regex {
    /// Compiles a pattern in Java's syntax as far as it has linear time: no look-around and no
    /// back references.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        regex::RegexBuilder::new(pattern)
            .size_limit(COMPILED_BYTES_LIMIT)
            .dfa_size_limit(COMPILED_BYTES_LIMIT)
            .nest_limit(NESTING_LIMIT)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("a pattern of more than {limit} bytes once compiled")
                }
                other => {
                    let text = other.to_string();
                    text.lines().last().unwrap_or_default().replacen("error: ", "", 1)
                }
            })
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Regex {}

/// What is done with a regular expression. The first argument is the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegexCall {
    /// `REGEXP(text, pattern)`: whether it is found anywhere.
    Found,
    /// `REGEXP_EXTRACT(text, pattern[, group])`.
    Extract,
    /// `REGEXP_REPLACE(text, pattern, replacement)`.
    Replace,
    /// `REGEXP_COUNT(text, pattern)`.
    Count,
}

impl RegexCall {
    /// The value for a row; NULL when an argument is.
    pub(crate) fn evaluate(
        self,
        Regex(regex): &Regex,
        arguments: &[Expression],
        row: &[Value],
    ) -> Result<Value, EvaluationError> {
        let [text, rest @ ..] = arguments else { return Ok(Value::Null) };
        let text = text.evaluate(row)?;
        let Value::Text(text) = &*text else { return Ok(Value::Null) };
        let second = rest.first().map(|second| second.evaluate(row)).transpose()?;
        Ok(match (self, second.as_deref()) {
            (Self::Found, _) => Value::Boolean(regex.is_match(text)),
            (Self::Count, _) => {
                Value::Integer(i64::try_from(regex.find_iter(text).count()).unwrap_or(i64::MAX))
            }
            (Self::Extract, None) => group(regex, text, 0),
            (Self::Extract, Some(Value::Integer(index))) => {
                usize::try_from(*index).map_or(Value::Null, |index| group(regex, text, index))
            }
            (Self::Replace, Some(Value::Text(replacement))) => {
                // Flink quotes the replacement: `$1` in it is no group.
                Value::text(&regex.replace_all(text, regex::NoExpand(replacement)))
            }
            (Self::Extract | Self::Replace, _) => Value::Null,
        })
    }
}

fn group(regex: &regex::Regex, text: &str, index: usize) -> Value {
    let captures = regex.captures(text);
    let found = captures.as_ref().and_then(|captures| captures.get(index));
    found.map_or(Value::Null, |found| Value::text(found.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(call: RegexCall, pattern: &str, arguments: &[Value]) -> Value {
        let arguments: Vec<_> = arguments.iter().cloned().map(Expression::Constant).collect();
        call.evaluate(&Regex::new(pattern).unwrap(), &arguments, &[]).unwrap()
    }

    #[test]
    fn a_group_is_extracted_by_its_number_and_none_is_null() {
        let text = Value::text("disk=93%");

        assert_eq!(
            call(RegexCall::Extract, r"(\w+)=(\d+)", &[text.clone(), Value::Integer(2)]),
            Value::text("93")
        );
        assert_eq!(
            call(RegexCall::Extract, r"(\w+)=(\d+)", std::slice::from_ref(&text)),
            Value::text("disk=93")
        );
        assert_eq!(call(RegexCall::Extract, "x", &[text, Value::Integer(3)]), Value::Null);
    }

    #[test]
    fn a_replacement_stands_for_itself() {
        let arguments = ["banana", "$2$1"].map(Value::text);

        assert_eq!(call(RegexCall::Replace, "(a)(n)", &arguments), Value::text("b$2$1$2$1a"));
    }

    #[test]
    fn a_pattern_that_would_take_too_much_memory_is_refused() {
        assert!(
            Regex::new(r"\w{100}{100}{100}").unwrap_err().starts_with("a pattern of more than")
        );
        assert!(Regex::new(&format!("{}a{}", "(".repeat(60), ")".repeat(60))).is_err());
    }

    #[test]
    fn a_pattern_that_explodes_elsewhere_takes_linear_time() {
        let text = Value::text(&"a".repeat(50_000));

        assert_eq!(call(RegexCall::Found, "^(a+)+$", &[text]), Value::Boolean(true));
    }
}
