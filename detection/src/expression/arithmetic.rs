//! Operators over numbers and times: which type they give.

use sqlparser::ast::Expr;

use crate::expression::compile::Compiler;
use crate::expression::function::Function;
use crate::expression::scope::Scope;
use crate::expression::tree::{Expression, Operator, Width};
use crate::expression::typed::{Typed, common, decimal, decimal_of, type_name, widen, width};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::DataType;

impl<S: Scope> Compiler<'_, S> {
    /// `left operator right`; `name` is how errors call the operator.
    pub(super) fn arithmetic(
        &mut self,
        operator: Operator,
        name: &str,
        left_sql: &Expr,
        right_sql: &Expr,
    ) -> Result<Typed, Fault> {
        let (left, right) = (self.compile(left_sql)?, self.compile(right_sql)?);
        if let Some(shifted) = shift(operator, &left, &right) {
            return Ok(shifted);
        }
        for (typed, sql, side) in [(&left, left_sql, "left"), (&right, right_sql, "right")] {
            if typed.data_type.as_ref().is_some_and(|data_type| !data_type.is_numeric()) {
                let subject = format!("the {side} side of {name}");
                let found = type_name(typed.data_type.as_ref());
                let reason = SqlErrorReason::mismatch(subject, found, "a number");
                return Err(Fault::new(self.at(sql), reason));
            }
        }
        Ok(numbers(operator, left, right))
    }
}

/// Times and intervals; none for anything else.
fn shift(operator: Operator, left: &Typed, right: &Typed) -> Option<Typed> {
    use DataType::{BigInt, Date, DayInterval, MonthInterval, Time};
    let (left_type, right_type) = (left.data_type.as_ref()?, right.data_type.as_ref()?);
    let is_time = |one: &DataType| one.is_timestamp() || matches!(one, Date | Time);
    let is_interval = |one: &DataType| matches!(one, DayInterval | MonthInterval);
    let whole = |operator, left: &Typed, right: &Typed| {
        let sides = [left.expression.clone(), right.expression.clone()];
        folded(Expression::Arithmetic(operator, Width::BigInt, Box::new(sides)))
    };
    match operator {
        Operator::Add | Operator::Subtract if is_interval(left_type) && left_type == right_type => {
            Some(Typed::new(whole(operator, left, right), left_type.clone()))
        }
        Operator::Add if is_interval(left_type) && is_time(right_type) => {
            shift(operator, right, left)
        }
        Operator::Add | Operator::Subtract if is_time(left_type) && is_interval(right_type) => {
            let interval = if operator == Operator::Add {
                right.expression.clone()
            } else {
                folded(Expression::Negate(Width::BigInt, Box::new(right.expression.clone())))
            };
            let is_days = *right_type == DayInterval;
            let name = if is_days { "ADD_MILLIS" } else { "ADD_MONTHS" };
            let arguments = vec![left.expression.clone(), interval];
            Some(Typed::new(
                Expression::Call(Function::by_name(name)?, arguments),
                left_type.clone(),
            ))
        }
        Operator::Multiply if is_interval(left_type) && right_type.is_integer() => {
            Some(Typed::new(whole(operator, left, right), left_type.clone()))
        }
        Operator::Multiply if is_interval(right_type) && left_type.is_integer() => {
            Some(Typed::new(whole(operator, left, right), right_type.clone()))
        }
        Operator::Divide if is_interval(left_type) && *right_type == BigInt => {
            Some(Typed::new(whole(operator, left, right), left_type.clone()))
        }
        _ => None,
    }
}

/// A constant expression's value, else the expression.
pub(crate) fn folded(expression: Expression) -> Expression {
    if !expression.columns().is_empty() {
        return expression;
    }
    match expression.evaluate(&[]) {
        Ok(value) => Expression::Constant(value.into_owned()),
        // It is refused per row, as in Flink.
        Err(_) => expression,
    }
}

fn numbers(operator: Operator, left: Typed, right: Typed) -> Typed {
    let common = common(left.data_type.as_ref(), right.data_type.as_ref()).flatten();
    let decimals = || {
        let left = decimal_of(left.data_type.as_ref()?)?;
        Some((left, decimal_of(right.data_type.as_ref()?)?))
    };
    if let Some(DataType::Decimal { .. }) = common
        && let Some((left_digits, right_digits)) = decimals()
    {
        let exact = |(precision, scale): (u8, u8)| DataType::Decimal { precision, scale };
        let result = decimal_result(operator, left_digits, right_digits);
        let sides = [widen(left, &exact(left_digits)), widen(right, &exact(right_digits))];
        let width = width(Some(&result));
        return Typed::new(Expression::Arithmetic(operator, width, Box::new(sides)), result);
    }
    let width = width(common.as_ref());
    let data_type = width.data_type();
    let sides = [widen(left, &data_type), widen(right, &data_type)];
    Typed::new(Expression::Arithmetic(operator, width, Box::new(sides)), data_type)
}

/// The type of a result over DECIMALs of (precision, scale).
///
/// # Source
/// Flink's `LogicalTypeMerging`: `findAdditionDecimalType` and the like.
fn decimal_result(operator: Operator, left: (u8, u8), right: (u8, u8)) -> DataType {
    let [p1, s1, p2, s2] = [left.0, left.1, right.0, right.1].map(i16::from);
    match operator {
        Operator::Add | Operator::Subtract => {
            let scale = s1.max(s2);
            decimal((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        Operator::Multiply => decimal(p1 + p2 + 1, s1 + s2),
        Operator::Divide => {
            let scale = (s1 + p2 + 1).max(6);
            decimal(p1 - s1 + s2 + scale, scale)
        }
        Operator::Remainder => {
            let scale = s1.max(s2);
            decimal((p1 - s1).min(p2 - s2) + scale, scale)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_results_have_flinks_precision_and_scale() {
        let result = |operator| decimal_result(operator, (10, 2), (5, 3)).to_string();

        assert_eq!(result(Operator::Add), "DECIMAL(12, 3)");
        assert_eq!(result(Operator::Multiply), "DECIMAL(16, 5)");
        assert_eq!(result(Operator::Divide), "DECIMAL(19, 8)");
        assert_eq!(result(Operator::Remainder), "DECIMAL(5, 3)");
    }
}
