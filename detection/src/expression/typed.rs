//! The types of expressions and how they meet.

use crate::decimal::PRECISION_MAX;
use crate::expression::tree::{Expression, Width};
use crate::value::{DataType, Value};

/// A tree and the type of its value; none for a bare NULL, which fits every type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) expression: Expression,
    pub(crate) data_type: Option<DataType>,
}

impl Typed {
    pub(crate) const fn new(expression: Expression, data_type: DataType) -> Self {
        Self { expression, data_type: Some(data_type) }
    }

    /// A bare NULL.
    pub(super) const NULL: Self =
        Self { expression: Expression::Constant(Value::Null), data_type: None };

    /// The tree, widened to `wanted` where SQL widens by itself; unchanged when it does not.
    pub(crate) fn widen_to(self, wanted: &DataType) -> Result<Expression, Self> {
        match &self.data_type {
            None => Ok(self.expression),
            Some(found) if found == wanted => Ok(self.expression),
            Some(found) if widens(found, wanted) => {
                let found = found.clone();
                Ok(Expression::cast(self.expression, found, wanted.clone()))
            }
            Some(_) => Err(self),
        }
    }
}

/// How wide a whole number is, from TINYINT to BIGINT; none for another type.
const fn integer_rank(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::TinyInt => Some(0),
        DataType::SmallInt => Some(1),
        DataType::Int => Some(2),
        DataType::BigInt => Some(3),
        _ => None,
    }
}

/// Whether SQL turns a value of one type into the other by itself.
///
/// # Source
/// Flink's `LogicalTypeCasts`, implicit rules.
fn widens(found: &DataType, wanted: &DataType) -> bool {
    use DataType::{Date, Decimal, Double, Float, Timestamp, TimestampLtz};
    match (integer_rank(found), integer_rank(wanted)) {
        (Some(found), Some(wanted)) => found < wanted,
        (Some(_), None) => matches!(wanted, Float | Double | Decimal { .. }),
        (None, _) => matches!(
            (found, wanted),
            (Float | Decimal { .. }, Double)
                | (Decimal { .. }, Float | Decimal { .. })
                | (Date | TimestampLtz, Timestamp)
                | (Timestamp, TimestampLtz)
        ),
    }
}

/// The name of a type, also of a bare NULL's.
pub(crate) fn type_name(data_type: Option<&DataType>) -> String {
    data_type.map_or_else(|| "NULL".to_owned(), ToString::to_string)
}

/// Widens to a type that [`common`] gave.
pub(crate) fn widen(typed: Typed, common: &DataType) -> Expression {
    debug_assert!(
        typed.data_type.as_ref().is_none_or(|own| own == common || widens(own, common)),
        "a common type fits all"
    );
    typed.widen_to(common).unwrap_or_else(|typed| typed.expression)
}

/// The DECIMAL that holds every value of a whole number's type.
pub(crate) const fn decimal_of(data_type: &DataType) -> Option<(u8, u8)> {
    match data_type {
        DataType::TinyInt => Some((3, 0)),
        DataType::SmallInt => Some((5, 0)),
        DataType::Int => Some((10, 0)),
        DataType::BigInt => Some((19, 0)),
        DataType::Decimal { precision, scale } => Some((*precision, *scale)),
        _ => None,
    }
}

/// The type both fit; the outer none when there is no such type, the inner when both are NULL.
pub(crate) fn common(
    left: Option<&DataType>,
    right: Option<&DataType>,
) -> Option<Option<DataType>> {
    let (left, right) = match (left, right) {
        (None, other) | (other, None) => return Some(other.cloned()),
        (Some(left), Some(right)) if left == right => return Some(Some(left.clone())),
        (Some(left), Some(right)) => (left, right),
    };
    if widens(left, right)
        && !matches!(left, DataType::Decimal { .. })
        && integer_rank(left).is_none()
    {
        return Some(Some(right.clone()));
    }
    if widens(right, left)
        && !matches!(right, DataType::Decimal { .. })
        && integer_rank(right).is_none()
    {
        return Some(Some(left.clone()));
    }
    if let (Some(left_rank), Some(right_rank)) = (integer_rank(left), integer_rank(right)) {
        return Some(Some(if left_rank < right_rank { right.clone() } else { left.clone() }));
    }
    if let (Some((left_digits, left_scale)), Some((right_digits, right_scale))) =
        (decimal_of(left), decimal_of(right))
    {
        let scale = left_scale.max(right_scale);
        let whole = (left_digits - left_scale).max(right_digits - right_scale);
        return Some(Some(decimal(i16::from(whole) + i16::from(scale), i16::from(scale))));
    }
    if left.is_numeric() && right.is_numeric() {
        let is_float = |one: &DataType| *one == DataType::Float || one.is_integer();
        let is_narrow = is_float(left) && is_float(right);
        return Some(Some(if is_narrow { DataType::Float } else { DataType::Double }));
    }
    None
}

/// A DECIMAL of at most 38 digits: digits behind the point give way, down to six.
///
/// # Source
/// Flink's `LogicalTypeMerging.adjustPrecisionScale`, after SQL Server.
pub(crate) fn decimal(precision: i16, scale: i16) -> DataType {
    const SCALE_KEPT: i16 = 6;
    let most = i16::from(PRECISION_MAX);
    let (precision, scale) = if precision <= most {
        (precision, scale)
    } else {
        (most, (most - (precision - scale)).max(scale.min(SCALE_KEPT)))
    };
    debug_assert!(0 <= scale && scale <= precision, "a scale is part of the precision");
    let digit = |number: i16| u8::try_from(number).unwrap_or(PRECISION_MAX);
    DataType::Decimal { precision: digit(precision), scale: digit(scale) }
}

/// The width of arithmetic on numbers of a type; NULL alone counts as INT.
pub(crate) const fn width(data_type: Option<&DataType>) -> Width {
    match data_type {
        Some(DataType::Double) => Width::Double,
        Some(DataType::Float) => Width::Float,
        Some(DataType::BigInt) => Width::BigInt,
        Some(DataType::TinyInt) => Width::TinyInt,
        Some(DataType::SmallInt) => Width::SmallInt,
        Some(DataType::Decimal { precision, scale }) => {
            Width::Decimal { precision: *precision, scale: *scale }
        }
        _ => Width::Int,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: DataType = DataType::Int;
    const BIGINT: DataType = DataType::BigInt;

    #[test]
    fn numbers_meet_in_the_wider_type_and_other_types_only_in_themselves() {
        let (double, string) = (DataType::Double, DataType::String);

        assert_eq!(common(Some(&INT), Some(&BIGINT)), Some(Some(BIGINT)));
        assert_eq!(common(Some(&BIGINT), Some(&double)), Some(Some(double.clone())));
        assert_eq!(common(Some(&string), Some(&string)), Some(Some(string.clone())));
        assert_eq!(common(Some(&string), Some(&INT)), None);
        assert_eq!(common(None, Some(&INT)), Some(Some(INT)));
        assert_eq!(common(None, None), Some(None));
    }

    #[test]
    fn a_decimal_and_an_int_meet_in_a_decimal_that_holds_both() {
        let price = decimal(5, 2);

        assert_eq!(common(Some(&price), Some(&INT)), Some(Some(decimal(12, 2))));
        assert_eq!(common(Some(&price), Some(&DataType::Double)), Some(Some(DataType::Double)));
    }

    #[test]
    fn digits_behind_the_point_give_way_beyond_38_down_to_six() {
        assert_eq!(decimal(40, 10), DataType::Decimal { precision: 38, scale: 8 });
        assert_eq!(decimal(60, 10), DataType::Decimal { precision: 38, scale: 6 });
        assert_eq!(decimal(60, 2), DataType::Decimal { precision: 38, scale: 2 });
    }

    #[test]
    fn a_constant_is_widened_once_and_a_column_per_row() {
        let constant = Typed::new(Expression::Constant(Value::Integer(120)), INT);
        let column = Typed::new(Expression::Column(0), BIGINT);

        assert_eq!(
            constant.widen_to(&DataType::Double),
            Ok(Expression::Constant(Value::Double(120.0)))
        );
        assert!(matches!(column.widen_to(&DataType::Double), Ok(Expression::Cast(_))));
    }

    #[test]
    fn nothing_narrows_by_itself() {
        let column = Typed::new(Expression::Column(0), BIGINT);

        assert_eq!(column.clone().widen_to(&INT), Err(column));
    }
}
