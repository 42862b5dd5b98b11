//! Literals.

use sqlparser::ast::{TimezoneInfo, TypedString, Value as Literal, ValueWithSpan};

use crate::decimal::Decimal;
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
            let expected = "a number of at most 38 digits";
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

/// Compiles `TIMESTAMP '…'`, `DATE '…'` and `TIME '…'`.
pub(super) fn typed_text(literal: &TypedString) -> Result<Typed, Fault> {
    use sqlparser::ast::DataType as Parsed;
    let Literal::SingleQuotedString(text) = &literal.value.value else {
        return Err(refused(literal, "TIMESTAMP", timestamp::EXPECTED));
    };
    let (value, data_type) = match &literal.data_type {
        Parsed::Timestamp(_, TimezoneInfo::None) => {
            (timestamp::parse(text).map(Value::Timestamp), DataType::Timestamp)
        }
        Parsed::Date => (timestamp::parse_date(text).map(Value::Date), DataType::Date),
        Parsed::Time(_, TimezoneInfo::None) => {
            (timestamp::parse_time(text).map(Value::Time), DataType::Time)
        }
        _ => return Err(refused(literal, "TIMESTAMP", timestamp::EXPECTED)),
    };
    let expected = match data_type {
        DataType::Date => "YYYY-MM-DD",
        DataType::Time => "HH:MM:SS[.fff]",
        _ => timestamp::EXPECTED,
    };
    let word = data_type.to_string();
    let word = word.split('(').next().unwrap_or_default();
    let value = value.ok_or_else(|| refused(literal, word, expected))?;
    Ok(Typed::new(Expression::Constant(value), data_type))
}

fn refused(literal: &TypedString, word: &str, expected: &str) -> Fault {
    let expected = format!("{word} '{expected}'");
    let reason = SqlErrorReason::mismatch("the literal", quoted(literal), expected);
    Fault::new(literal.value.span.start, reason)
}

/// INT where 32 bits hold it, else BIGINT, else DECIMAL; with a point a DECIMAL of its digits, with
/// an exponent a DOUBLE.
fn number(text: &str) -> Option<Typed> {
    if text.contains(['e', 'E']) {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        return Some(Typed::new(Expression::Constant(Value::Double(number)), DataType::Double));
    }
    if let Ok(number) = text.parse::<i64>() {
        let is_int = i32::try_from(number).is_ok();
        let data_type = if is_int { DataType::Int } else { DataType::BigInt };
        return Some(Typed::new(Expression::Constant(Value::Integer(number)), data_type));
    }
    let number = Decimal::parse(text)?;
    let digits = number.unscaled().unsigned_abs().to_string().len();
    let precision = u8::try_from(digits).ok()?.max(number.scale()).max(1);
    let data_type = DataType::Decimal { precision, scale: number.scale() };
    Some(Typed::new(Expression::Constant(Value::Decimal(number)), data_type))
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
        assert_eq!(
            number("9223372036854775808").and_then(|typed| typed.data_type),
            Some(DataType::Decimal { precision: 19, scale: 0 })
        );
    }

    #[test]
    fn a_number_with_a_point_is_a_decimal_of_its_digits_and_with_an_exponent_a_double() {
        let decimal = number("1.50").unwrap();

        assert_eq!(decimal.data_type, Some(DataType::Decimal { precision: 3, scale: 2 }));
        assert_eq!(
            number("1e2"),
            Some(Typed::new(Expression::Constant(Value::Double(100.0)), DataType::Double))
        );
        assert_eq!(number("1e999"), None);
    }
}
