//! Scalar functions.

use std::borrow::Cow;

use crate::expression::tree::{EvaluationError, Expression, wrapped};
use crate::value::Value;

/// A scalar function; types of arguments were checked by the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarFunction {
    /// ABS of an INT, which wraps at 32 bits.
    AbsInt,
    /// ABS of a BIGINT or DOUBLE.
    Abs,
    /// The first argument that is not NULL.
    Coalesce,
    Upper,
    Lower,
    /// Text end to end; NULL when any argument is. Also `||`.
    Concat,
}

impl ScalarFunction {
    /// Names the compiler knows.
    pub(crate) const NAMES: [&str; 5] = ["ABS", "COALESCE", "UPPER", "LOWER", "CONCAT"];

    pub(crate) fn evaluate<'a>(
        self,
        arguments: &'a [Expression],
        row: &'a [Value],
    ) -> Result<Cow<'a, Value>, EvaluationError> {
        match self {
            Self::AbsInt | Self::Abs => unary(arguments, row, |value| match value {
                Value::Integer(number) if self == Self::AbsInt => {
                    Value::Integer(wrapped(number.wrapping_abs()))
                }
                Value::Integer(number) => Value::Integer(number.wrapping_abs()),
                Value::Double(number) => Value::Double(number.abs()),
                _ => Value::Null,
            }),
            Self::Upper => unary(arguments, row, |value| cased(value, str::to_uppercase)),
            Self::Lower => unary(arguments, row, |value| cased(value, str::to_lowercase)),
            Self::Coalesce => {
                for argument in arguments {
                    let value = argument.evaluate(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Cow::Owned(Value::Null))
            }
            Self::Concat => {
                let mut joined = String::new();
                for argument in arguments {
                    let value = argument.evaluate(row)?;
                    let Value::Text(text) = &*value else { return Ok(Cow::Owned(Value::Null)) };
                    joined.push_str(text);
                }
                Ok(Cow::Owned(Value::text(&joined)))
            }
        }
    }
}

fn unary<'a>(
    arguments: &'a [Expression],
    row: &'a [Value],
    function: impl FnOnce(&Value) -> Value,
) -> Result<Cow<'a, Value>, EvaluationError> {
    debug_assert_eq!(arguments.len(), 1, "the compiler counted the arguments");
    let value = arguments.first().map(|argument| argument.evaluate(row)).transpose()?;
    Ok(Cow::Owned(value.map_or(Value::Null, |value| function(&value))))
}

fn cased(value: &Value, change: impl FnOnce(&str) -> String) -> Value {
    match value {
        Value::Text(text) => Value::text(&change(text)),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: ScalarFunction, arguments: &[Value]) -> Value {
        let arguments: Vec<_> = arguments.iter().cloned().map(Expression::Constant).collect();
        function.evaluate(&arguments, &[]).unwrap().into_owned()
    }

    #[test]
    fn concat_with_a_null_is_null() {
        let (a, b) = (Value::text("a"), Value::text("b"));

        assert_eq!(call(ScalarFunction::Concat, &[a.clone(), b]), Value::text("ab"));
        assert_eq!(call(ScalarFunction::Concat, &[a, Value::Null]), Value::Null);
    }

    #[test]
    fn coalesce_is_the_first_value_that_is_not_null() {
        let arguments = [Value::Null, Value::Integer(2), Value::Integer(3)];

        assert_eq!(call(ScalarFunction::Coalesce, &arguments), Value::Integer(2));
        assert_eq!(call(ScalarFunction::Coalesce, &[Value::Null]), Value::Null);
    }

    #[test]
    fn abs_of_the_smallest_int_wraps_to_itself_and_of_the_same_bigint_does_not() {
        let smallest = [Value::Integer(i64::from(i32::MIN))];

        assert_eq!(call(ScalarFunction::AbsInt, &smallest), smallest[0]);
        assert_eq!(call(ScalarFunction::Abs, &smallest), Value::Integer(1 << 31));
    }

    #[test]
    fn upper_and_lower_change_case_and_keep_null() {
        assert_eq!(call(ScalarFunction::Upper, &[Value::text("äb")]), Value::text("ÄB"));
        assert_eq!(call(ScalarFunction::Lower, &[Value::text("ÄB")]), Value::text("äb"));
        assert_eq!(call(ScalarFunction::Lower, &[Value::Null]), Value::Null);
    }
}
