//! Conditions of WHERE and ON, one by one.

use crate::expression::Expression;
use crate::expression::tree::Comparison;
use crate::value::Value;

/// The operands of AND, however it nests; the condition itself when it is none.
pub(super) fn split(condition: Expression) -> Vec<Expression> {
    match condition {
        Expression::And(operands) => operands.into_iter().flat_map(split).collect(),
        other => vec![other],
    }
}

/// One condition of several; none of none.
pub(super) fn join(mut conditions: Vec<Expression>) -> Option<Expression> {
    match conditions.len() {
        0 | 1 => conditions.pop(),
        _ => Some(Expression::And(conditions)),
    }
}

/// A column with a constant number of milliseconds added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shifted {
    pub(super) column: usize,
    pub(super) millis: i64,
}

impl Shifted {
    pub(super) fn of(expression: &Expression) -> Option<Self> {
        match expression {
            Expression::Column(column) => Some(Self { column: *column, millis: 0 }),
            Expression::Call(function, arguments) if function.name == "ADD_MILLIS" => {
                let [inner, Expression::Constant(Value::Integer(millis))] = arguments.as_slice()
                else {
                    return None;
                };
                let Self { column, millis: more } = Self::of(inner)?;
                Some(Self { column, millis: more.checked_add(*millis)? })
            }
            _ => None,
        }
    }
}

/// Bounds on the difference of two columns, both ends within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    pub(super) lower: Option<i64>,
    pub(super) upper: Option<i64>,
}

impl Bounds {
    /// What a condition says about `right` less `left`; none when it says something else.
    pub(super) fn of(condition: &Expression, left: usize, right: usize) -> Option<Self> {
        let Expression::Compare(comparison, sides) = condition else { return None };
        let [first, second] = &**sides;
        let (first, second) = (Shifted::of(first)?, Shifted::of(second)?);
        // first + a OP second + b, as left + c OP right or right OP left + c.
        let (is_left_first, shift) = if (first.column, second.column) == (left, right) {
            (true, first.millis.checked_sub(second.millis)?)
        } else if (first.column, second.column) == (right, left) {
            (false, second.millis.checked_sub(first.millis)?)
        } else {
            return None;
        };
        let least = |more: i64| Some(Self { lower: Some(shift.checked_add(more)?), upper: None });
        let most = |less: i64| Some(Self { lower: None, upper: Some(shift.checked_sub(less)?) });
        match (comparison, is_left_first) {
            (Comparison::Equal, _) => Some(Self { lower: Some(shift), upper: Some(shift) }),
            (Comparison::LessOrEqual, true) | (Comparison::GreaterOrEqual, false) => least(0),
            (Comparison::Less, true) | (Comparison::Greater, false) => least(1),
            (Comparison::GreaterOrEqual, true) | (Comparison::LessOrEqual, false) => most(0),
            (Comparison::Greater, true) | (Comparison::Less, false) => most(1),
            (Comparison::NotEqual, _) => None,
        }
    }

    /// Both at once.
    pub(super) fn and(self, other: Self) -> Self {
        let tighter =
            |one: Option<i64>, other: Option<i64>, pick: fn(i64, i64) -> i64| match (one, other) {
                (Some(one), Some(other)) => Some(pick(one, other)),
                (one, other) => one.or(other),
            };
        Self {
            lower: tighter(self.lower, other.lower, i64::max),
            upper: tighter(self.upper, other.upper, i64::min),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::function::Function;

    fn later(column: usize, millis: i64) -> Expression {
        let function = Function::by_name("ADD_MILLIS").unwrap();
        let millis = Expression::Constant(Value::Integer(millis));
        Expression::Call(function, vec![Expression::Column(column), millis])
    }

    fn bounds(comparison: Comparison, left: Expression, right: Expression) -> Option<Bounds> {
        Bounds::of(&Expression::Compare(comparison, Box::new([left, right])), 0, 1)
    }

    #[test]
    fn bounds_are_those_of_right_less_left_whichever_stands_first() {
        let column = Expression::Column;
        let lower = |millis| Some(Bounds { lower: Some(millis), upper: None });
        let upper = |millis| Some(Bounds { lower: None, upper: Some(millis) });

        // right >= left - 2000
        assert_eq!(bounds(Comparison::GreaterOrEqual, column(1), later(0, -2_000)), lower(-2_000));
        // right < left + 5000
        assert_eq!(bounds(Comparison::Less, column(1), later(0, 5_000)), upper(4_999));
        // left <= right + 10
        assert_eq!(bounds(Comparison::LessOrEqual, column(0), later(1, 10)), lower(-10));
        // left > right
        assert_eq!(bounds(Comparison::Greater, column(0), column(1)), upper(-1));
        assert_eq!(bounds(Comparison::Less, column(0), column(2)), None);
    }
}
