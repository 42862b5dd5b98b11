//! Literals.

use sqlparser::ast::{TimezoneInfo, TypedString, Value as Literal, ValueWithSpan};

use crate::expression::compile::boolean;
use crate::expression::source_text::quoted;
use crate::expression::tree::Expression;
use crate::expression::typed::Typed;
use crate::sql::error::{Fault, SqlErrorReason};
use crate::timestamp;
use crate::value::{DataType, Value};

/// Compiles a literal; `sign` is `-` for the number behind a minus, without which the smallest
/// BIGINT would not fit.
pub(super) fn compile(literal: &ValueWithSpan, sign: &str) -> Result<Typed, Fault> {
    match &literal.value {
        Literal::Null => Ok(Typed::NULL),
        Literal::Boolean(value) => Ok(boolean(Expression::Constant(Value::Boolean(*value)))),
        Literal::SingleQuotedString(text) => {
            Ok(Typed::new(Expression::Constant(Value::text(text)), DataType::String))
        }
        Literal::Number(digits, _) => number(&format!("{sign}{digits}")).ok_or_else(|| {
            let expected = "a number within 64 bits";
            let reason = SqlErrorReason::mismatch("the literal", digits, expected);
            Fault::new(literal.span.start, reason)
        }),
        other => {
            let expected = "'text' in single quotes or `name` in backquotes";
            let reason = SqlErrorReason::mismatch("the literal", other, expected);
            Err(Fault::new(literal.span.start, reason))
        }
    }
}

/// Compiles `TIMESTAMP '…'`.
pub(super) fn timestamp(literal: &TypedString) -> Result<Typed, Fault> {
    use sqlparser::ast::DataType as Parsed;
    let time = match (&literal.data_type, &literal.value.value) {
        (Parsed::Timestamp(None, TimezoneInfo::None), Literal::SingleQuotedString(text)) => {
            timestamp::parse(text)
        }
        _ => None,
    };
    let time = time.ok_or_else(|| {
        let expected = format!("TIMESTAMP '{}'", timestamp::EXPECTED);
        let reason = SqlErrorReason::mismatch("the literal", quoted(literal), expected);
        Fault::new(literal.value.span.start, reason)
    })?;
    Ok(Typed::new(Expression::Constant(Value::Timestamp(time)), DataType::Timestamp))
}

/// INT where 32 bits hold it, else BIGINT; with a point or exponent a DOUBLE, since there is no
/// DECIMAL here.
fn number(text: &str) -> Option<Typed> {
    if text.contains(['.', 'e', 'E']) {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        return Some(Typed::new(Expression::Constant(Value::Double(number)), DataType::Double));
    }
    let number = text.parse::<i64>().ok()?;
    let data_type = if i32::try_from(number).is_ok() { DataType::Int } else { DataType::BigInt };
    Some(Typed::new(Expression::Constant(Value::Integer(number)), data_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(number: i64, data_type: DataType) -> Option<Typed> {
        Some(Typed::new(Expression::Constant(Value::Integer(number)), data_type))
    }

    #[test]
    fn a_whole_number_is_an_int_where_it_fits_and_else_a_bigint() {
        assert_eq!(number("2147483647"), integer(2_147_483_647, DataType::Int));
        assert_eq!(number("2147483648"), integer(2_147_483_648, DataType::BigInt));
        assert_eq!(number("-9223372036854775808"), integer(i64::MIN, DataType::BigInt));
        assert_eq!(number("9223372036854775808"), None);
    }

    #[test]
    fn a_number_with_a_point_or_an_exponent_is_a_double() {
        let double =
            |number| Typed::new(Expression::Constant(Value::Double(number)), DataType::Double);

        assert_eq!(number("1.5"), Some(double(1.5)));
        assert_eq!(number("1e2"), Some(double(100.0)));
        assert_eq!(number("1e999"), None);
    }
}
