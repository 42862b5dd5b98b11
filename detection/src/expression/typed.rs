//! The types of expressions and how they meet.

use crate::expression::tree::{Expression, Width};
use crate::value::{DataType, Value, widened};

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
    pub(crate) fn widen_to(self, wanted: DataType) -> Result<Expression, Self> {
        match (self.data_type, wanted) {
            (None, _) => Ok(self.expression),
            (Some(found), wanted) if found == wanted => Ok(self.expression),
            (Some(DataType::Int), DataType::BigInt) => Ok(self.expression),
            (Some(DataType::Int | DataType::BigInt), DataType::Double) => {
                Ok(match self.expression {
                    Expression::Constant(Value::Integer(number)) => {
                        Expression::Constant(Value::Double(widened(number)))
                    }
                    other => Expression::Widen(Box::new(other)),
                })
            }
            (Some(_), _) => Err(self),
        }
    }
}

/// The name of a type, also of a bare NULL's.
pub(crate) fn type_name(data_type: Option<DataType>) -> String {
    data_type.map_or_else(|| "NULL".to_owned(), |data_type| data_type.to_string())
}

/// Widens to a type that [`common`] gave.
pub(super) fn widen(typed: Typed, common: DataType) -> Expression {
    debug_assert!(
        typed.data_type.is_none_or(|own| own == common || own.is_numeric() && common.is_numeric()),
        "a common type fits all"
    );
    typed.widen_to(common).unwrap_or_else(|typed| typed.expression)
}

/// The type both fit; the outer none when there is no such type, the inner when both are NULL.
pub(super) fn common(left: Option<DataType>, right: Option<DataType>) -> Option<Option<DataType>> {
    match (left, right) {
        (None, other) | (other, None) => Some(other),
        (Some(left), Some(right)) if left == right => Some(Some(left)),
        (Some(left), Some(right)) if left.is_numeric() && right.is_numeric() => {
            let double = left == DataType::Double || right == DataType::Double;
            Some(Some(if double { DataType::Double } else { DataType::BigInt }))
        }
        (Some(_), Some(_)) => None,
    }
}

/// The width of arithmetic on numbers of a type; NULL alone counts as INT.
pub(super) const fn width(data_type: Option<DataType>) -> (Width, DataType) {
    match data_type {
        Some(DataType::Double) => (Width::Double, DataType::Double),
        Some(DataType::BigInt) => (Width::BigInt, DataType::BigInt),
        _ => (Width::Int, DataType::Int),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_meet_in_the_wider_type_and_other_types_only_in_themselves() {
        let (int, bigint, double) = (DataType::Int, DataType::BigInt, DataType::Double);

        assert_eq!(common(Some(int), Some(bigint)), Some(Some(bigint)));
        assert_eq!(common(Some(bigint), Some(double)), Some(Some(double)));
        assert_eq!(
            common(Some(DataType::String), Some(DataType::String)).flatten(),
            Some(DataType::String)
        );
        assert_eq!(common(Some(DataType::String), Some(int)), None);
        assert_eq!(common(None, Some(int)), Some(Some(int)));
        assert_eq!(common(None, None), Some(None));
    }

    #[test]
    fn a_constant_is_widened_once_and_a_column_per_row() {
        let constant = Typed::new(Expression::Constant(Value::Integer(120)), DataType::Int);
        let column = Typed::new(Expression::Column(0), DataType::BigInt);

        assert_eq!(
            constant.widen_to(DataType::Double),
            Ok(Expression::Constant(Value::Double(120.0)))
        );
        assert_eq!(
            column.widen_to(DataType::Double),
            Ok(Expression::Widen(Box::new(Expression::Column(0))))
        );
    }

    #[test]
    fn nothing_narrows_by_itself() {
        let column = Typed::new(Expression::Column(0), DataType::BigInt);

        assert_eq!(column.clone().widen_to(DataType::Int), Err(column));
    }
}
