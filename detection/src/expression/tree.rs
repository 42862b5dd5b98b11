//! The tree of an expression and its evaluation.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::expression::cast::{self, Cast, OnFailure};
use crate::expression::function::Function;
use crate::expression::pattern::LikePattern;
use crate::expression::regex::{Regex, RegexCall};
use crate::value::{DataType, Value};

/// A row for which an expression has no value; Flink fails the whole job here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// An integer was divided by zero.
    #[error("an integer is divided by zero")]
    DivisionByZero,
    /// A text or number has no value in the type it is cast to; `TRY_CAST` gives NULL instead.
    #[error("a value cannot be cast to its type")]
    Cast,
    /// An argument of a function is out of its range.
    #[error("an argument of a function is out of its range")]
    Argument,
}

/// The width arithmetic is done in; the compiler has widened both sides to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// 8 bits, wrapping.
    TinyInt,
    /// 16 bits, wrapping.
    SmallInt,
    /// 32 bits, wrapping.
    Int,
    /// 64 bits, wrapping.
    BigInt,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
    /// Exact; the result has this type, and is NULL when it does not fit.
    Decimal { precision: u8, scale: u8 },
}

impl Width {
    /// The type of the result.
    pub(crate) const fn data_type(self) -> DataType {
        match self {
            Self::TinyInt => DataType::TinyInt,
            Self::SmallInt => DataType::SmallInt,
            Self::Int => DataType::Int,
            Self::BigInt => DataType::BigInt,
            Self::Float => DataType::Float,
            Self::Double => DataType::Double,
            Self::Decimal { precision, scale } => DataType::Decimal { precision, scale },
        }
    }
}

/// Arithmetic operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The comparison with its sides exchanged.
    pub(crate) const fn mirrored(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A compiled expression. Types were checked by the compiler; a NULL can appear anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    Column(usize),
    Constant(Value),
    /// A change of type, also one that SQL does by itself.
    Cast(Box<Cast>),
    Not(Box<Self>),
    /// At least two operands.
    And(Vec<Self>),
    /// At least two operands.
    Or(Vec<Self>),
    IsNull(Box<Self>),
    /// `IS TRUE` or `IS FALSE`: never NULL.
    Is(Box<Self>, bool),
    Compare(Comparison, Box<[Self; 2]>),
    Arithmetic(Operator, Width, Box<[Self; 2]>),
    Negate(Width, Box<Self>),
    In(Box<Self>, Vec<Self>),
    Like(Box<Self>, LikePattern),
    Case {
        branches: Vec<(Self, Self)>,
        otherwise: Box<Self>,
    },
    /// Of several values the first that is not NULL.
    Coalesce(Vec<Self>),
    /// `IS NOT DISTINCT FROM`: equality for which NULL equals NULL.
    Same(Box<[Self; 2]>),
    /// A call; arguments are cast to what the function takes.
    Call(&'static Function, Vec<Self>),
    /// A call with a regular expression that is constant, compiled once.
    Match(RegexCall, Regex, Vec<Self>),
    /// ARRAY[…] or ROW(…).
    Collect(Vec<Self>),
    /// A field of a ROW, by index.
    Field(Box<Self>, usize),
}

type Evaluated<'a> = Result<Cow<'a, Value>, EvaluationError>;

const fn boolean<'a>(value: Option<bool>) -> Cow<'a, Value> {
    match value {
        Some(value) => Cow::Owned(Value::Boolean(value)),
        None => Cow::Owned(Value::Null),
    }
}

impl Expression {
    /// A change of type; a constant is changed at once.
    pub(crate) fn cast(input: Self, from: DataType, to: DataType) -> Self {
        if let Self::Constant(value) = &input
            && let Some(value) = cast::cast(value, &from, &to)
        {
            return Self::Constant(value);
        }
        Self::Cast(Box::new(Cast { input, from, to, on_failure: OnFailure::Refuse }))
    }

    /// The constant it is, if it is one.
    pub(crate) const fn constant(&self) -> Option<&Value> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The expression with every column `index` replaced by `columns[index]`.
    pub(crate) fn over(&self, columns: &[Self]) -> Self {
        self.map_columns(&mut |index| columns.get(index).cloned().unwrap_or(Self::Column(index)))
    }

    /// Whether it has a value for every row. No more than the usual conditions are known to.
    pub(crate) fn is_total(&self) -> bool {
        let all = |list: &[Self]| list.iter().all(Self::is_total);
        match self {
            Self::Column(_) | Self::Constant(_) => true,
            Self::Cast(cast) => cast.is_total() && cast.input.is_total(),
            Self::Not(inner) | Self::IsNull(inner) | Self::Is(inner, _) | Self::Like(inner, _) => {
                inner.is_total()
            }
            Self::And(list) | Self::Or(list) | Self::Coalesce(list) => all(list),
            Self::Compare(_, sides) | Self::Same(sides) => all(&**sides),
            Self::In(inner, list) => inner.is_total() && all(list),
            Self::Arithmetic(..)
            | Self::Negate(..)
            | Self::Case { .. }
            | Self::Call(..)
            | Self::Match(..)
            | Self::Collect(_)
            | Self::Field(..) => false,
        }
    }

    /// The columns it reads, in the order of their appearance.
    pub(crate) fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        self.map_columns(&mut |index| {
            columns.push(index);
            Self::Column(index)
        });
        columns
    }

    fn map_columns(&self, map: &mut impl FnMut(usize) -> Self) -> Self {
        let mut all =
            |list: &[Self]| -> Vec<Self> { list.iter().map(|one| one.map_columns(map)).collect() };
        match self {
            Self::Constant(value) => Self::Constant(value.clone()),
            Self::And(list) => Self::And(all(list)),
            Self::Or(list) => Self::Or(all(list)),
            Self::Coalesce(list) => Self::Coalesce(all(list)),
            Self::Collect(list) => Self::Collect(all(list)),
            Self::Call(function, list) => Self::Call(function, all(list)),
            Self::Match(call, regex, list) => Self::Match(*call, regex.clone(), all(list)),
            Self::Column(index) => map(*index),
            Self::Cast(cast) => Self::Cast(Box::new(Cast {
                input: cast.input.map_columns(map),
                from: cast.from.clone(),
                to: cast.to.clone(),
                on_failure: cast.on_failure,
            })),
            Self::Not(inner) => Self::Not(Box::new(inner.map_columns(map))),
            Self::IsNull(inner) => Self::IsNull(Box::new(inner.map_columns(map))),
            Self::Is(inner, truth) => Self::Is(Box::new(inner.map_columns(map)), *truth),
            Self::Negate(width, inner) => Self::Negate(*width, Box::new(inner.map_columns(map))),
            Self::Like(inner, pattern) => {
                Self::Like(Box::new(inner.map_columns(map)), pattern.clone())
            }
            Self::Field(inner, index) => Self::Field(Box::new(inner.map_columns(map)), *index),
            Self::Compare(comparison, sides) => {
                Self::Compare(*comparison, Box::new(both(sides, map)))
            }
            Self::Same(sides) => Self::Same(Box::new(both(sides, map))),
            Self::Arithmetic(operator, width, sides) => {
                Self::Arithmetic(*operator, *width, Box::new(both(sides, map)))
            }
            Self::In(needle, list) => {
                let list = list.iter().map(|one| one.map_columns(map)).collect();
                Self::In(Box::new(needle.map_columns(map)), list)
            }
            Self::Case { branches, otherwise } => {
                let branches = branches
                    .iter()
                    .map(|(when, then)| (when.map_columns(map), then.map_columns(map)))
                    .collect();
                Self::Case { branches, otherwise: Box::new(otherwise.map_columns(map)) }
            }
        }
    }

    /// The value for a row; a column or constant is lent, so that filters allocate nothing.
    pub(crate) fn evaluate<'a>(&'a self, row: &'a [Value]) -> Evaluated<'a> {
        Ok(match self {
            Self::Column(index) => {
                debug_assert!(*index < row.len(), "the compiler resolved columns to this schema");
                row.get(*index).map_or(Cow::Owned(Value::Null), Cow::Borrowed)
            }
            Self::Constant(value) => Cow::Borrowed(value),
            Self::Cast(cast) => Cow::Owned(cast.evaluate(row)?),
            Self::Not(inner) => boolean(inner.truth(row)?.map(|value| !value)),
            Self::And(operands) => boolean(connect(operands, row, false)?),
            Self::Or(operands) => boolean(connect(operands, row, true)?),
            Self::IsNull(inner) => boolean(Some(inner.evaluate(row)?.is_null())),
            Self::Is(inner, wanted) => boolean(Some(inner.truth(row)? == Some(*wanted))),
            Self::Compare(comparison, sides) => {
                let [left, right] = &**sides;
                let (left, right) = (left.evaluate(row)?, right.evaluate(row)?);
                boolean(compare(*comparison, &left, &right))
            }
            Self::Arithmetic(operator, width, sides) => {
                let [left, right] = &**sides;
                let (left, right) = (left.evaluate(row)?, right.evaluate(row)?);
                Cow::Owned(calculate(*operator, *width, &left, &right)?)
            }
            Self::Negate(width, inner) => Cow::Owned(negated(*width, &*inner.evaluate(row)?)),
            Self::In(needle, list) => boolean(contains(&*needle.evaluate(row)?, list, row)?),
            Self::Like(inner, pattern) => match &*inner.evaluate(row)? {
                Value::Text(text) => boolean(Some(pattern.matches(text))),
                _ => boolean(None),
            },
            Self::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if condition.is_true(row)? {
                        return result.evaluate(row);
                    }
                }
                return otherwise.evaluate(row);
            }
            Self::Coalesce(values) => {
                for value in values {
                    let value = value.evaluate(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Cow::Owned(Value::Null)
            }
            Self::Same(sides) => {
                let [left, right] = &**sides;
                boolean(Some(left.evaluate(row)? == right.evaluate(row)?))
            }
            Self::Call(function, arguments) => Cow::Owned(function.call(arguments, row)?),
            Self::Match(call, regex, arguments) => {
                Cow::Owned(call.evaluate(regex, arguments, row)?)
            }
            Self::Collect(values) => {
                let values = values.iter().map(|value| value.evaluate(row).map(Cow::into_owned));
                Cow::Owned(Value::Array(values.collect::<Result<_, _>>()?))
            }
            Self::Field(inner, index) => match &*inner.evaluate(row)? {
                Value::Array(values) => {
                    Cow::Owned(values.get(*index).cloned().unwrap_or(Value::Null))
                }
                _ => Cow::Owned(Value::Null),
            },
        })
    }

    /// Whether the condition holds: not when it is false, and not when it is unknown.
    pub(crate) fn is_true(&self, row: &[Value]) -> Result<bool, EvaluationError> {
        Ok(self.truth(row)? == Some(true))
    }

    /// The truth of a condition; none when it is unknown.
    fn truth(&self, row: &[Value]) -> Result<Option<bool>, EvaluationError> {
        Ok(match &*self.evaluate(row)? {
            Value::Boolean(value) => Some(*value),
            _ => None,
        })
    }
}

fn both(sides: &[Expression; 2], map: &mut impl FnMut(usize) -> Expression) -> [Expression; 2] {
    let [left, right] = sides;
    [left.map_columns(map), right.map_columns(map)]
}

/// AND (`decisive` false) and OR (`decisive` true) over three truth values: one decisive operand
/// decides, else an unknown one makes the whole unknown. Stops at the first decisive operand.
fn connect(
    operands: &[Expression],
    row: &[Value],
    decisive: bool,
) -> Result<Option<bool>, EvaluationError> {
    debug_assert!(operands.len() >= 2, "a connective connects");
    let mut result = Some(!decisive);
    for operand in operands {
        match operand.truth(row)? {
            Some(value) if value == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// `needle IN (list)`: unknown when it is not found and a NULL could have been it.
fn contains(
    needle: &Value,
    list: &[Expression],
    row: &[Value],
) -> Result<Option<bool>, EvaluationError> {
    let mut result = Some(false);
    for item in list {
        match compare(Comparison::Equal, needle, &*item.evaluate(row)?) {
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// SQL's comparison: unknown when a side is NULL; a NaN is unequal to and ordered with nothing.
fn compare(comparison: Comparison, left: &Value, right: &Value) -> Option<bool> {
    let order = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return None,
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (left, right) => Some(left.cmp(right)),
    };
    Some(order.map_or(comparison == Comparison::NotEqual, |order| comparison.holds(order)))
}

fn negated(width: Width, value: &Value) -> Value {
    match value {
        Value::Integer(number) => {
            Value::Integer(wrapped_to(number.wrapping_neg(), &width.data_type()))
        }
        Value::Double(number) => Value::Double(-number),
        Value::Float(number) => Value::Float(-number),
        Value::Decimal(number) => Value::Decimal(number.negated()),
        _ => Value::Null,
    }
}

fn calculate(
    operator: Operator,
    width: Width,
    left: &Value,
    right: &Value,
) -> Result<Value, EvaluationError> {
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => {
            debug_assert!(width != Width::Double, "the compiler widens both sides alike");
            let wide = integer(operator, *left, *right)?;
            Ok(Value::Integer(match width {
                Width::BigInt => wide,
                Width::Int => wrapped(wide),
                other => wrapped_to(wide, &other.data_type()),
            }))
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(match operator {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            Operator::Remainder => left % right,
        })),
        (Value::Float(left), Value::Float(right)) => Ok(Value::Float(match operator {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            Operator::Remainder => left % right,
        })),
        (Value::Decimal(left), Value::Decimal(right)) => {
            let Width::Decimal { precision, scale } = width else {
                debug_assert!(false, "the compiler widens both sides alike");
                return Ok(Value::Null);
            };
            let is_division = matches!(operator, Operator::Divide | Operator::Remainder);
            if is_division && right.is_zero() {
                return Err(EvaluationError::DivisionByZero);
            }
            let result = match operator {
                Operator::Add => left.plus(*right, precision, scale),
                Operator::Subtract => left.minus(*right, precision, scale),
                Operator::Multiply => left.times(*right, precision, scale),
                Operator::Divide => left.divided(*right, precision, scale),
                Operator::Remainder => {
                    left.remainder(*right).and_then(|rest| rest.rounded(precision, scale))
                }
            };
            Ok(result.map_or(Value::Null, Value::Decimal))
        }
        _ => Ok(Value::Null),
    }
}

/// 64-bit arithmetic as in Java: wrapping, truncating towards zero, zero divisors refused.
fn integer(operator: Operator, left: i64, right: i64) -> Result<i64, EvaluationError> {
    match operator {
        Operator::Add => Ok(left.wrapping_add(right)),
        Operator::Subtract => Ok(left.wrapping_sub(right)),
        Operator::Multiply => Ok(left.wrapping_mul(right)),
        Operator::Divide | Operator::Remainder if right == 0 => {
            Err(EvaluationError::DivisionByZero)
        }
        Operator::Divide => Ok(left.wrapping_div(right)),
        Operator::Remainder => Ok(left.wrapping_rem(right)),
    }
}

/// The low 32 bits with their sign, which is what 32-bit arithmetic would have left.
pub(crate) const fn wrapped(wide: i64) -> i64 {
    (wide << 32) >> 32
}

/// The low bits of a whole number with their sign, as many as its type has.
pub(crate) const fn wrapped_to(wide: i64, data_type: &DataType) -> i64 {
    match data_type {
        DataType::TinyInt => (wide << 56) >> 56,
        DataType::SmallInt => (wide << 48) >> 48,
        DataType::Int => wrapped(wide),
        _ => wide,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTHS: [Option<bool>; 3] = [Some(true), Some(false), None];

    fn constant(truth: Option<bool>) -> Expression {
        Expression::Constant(truth.map_or(Value::Null, Value::Boolean))
    }

    fn arithmetic(operator: Operator, width: Width, left: i64, right: i64) -> Expression {
        let side = |number| Expression::Constant(Value::Integer(number));
        Expression::Arithmetic(operator, width, Box::new([side(left), side(right)]))
    }

    #[test]
    fn and_or_and_not_follow_three_valued_logic() {
        for left in TRUTHS {
            for right in TRUTHS {
                let and = Expression::And(vec![constant(left), constant(right)]);
                let or = Expression::Or(vec![constant(left), constant(right)]);
                let expected_and = match (left, right) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                let expected_or = match (left, right) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
                assert_eq!(and.truth(&[]), Ok(expected_and), "{left:?} AND {right:?}");
                assert_eq!(or.truth(&[]), Ok(expected_or), "{left:?} OR {right:?}");
            }
        }
        assert_eq!(Expression::Not(Box::new(constant(None))).truth(&[]), Ok(None));
    }

    #[test]
    fn in_is_unknown_when_a_null_could_have_been_the_one() {
        let number = |number| Expression::Constant(Value::Integer(number));
        let null = || Expression::Constant(Value::Null);
        let within = |needle, list| Expression::In(Box::new(needle), list).truth(&[]);

        assert_eq!(within(number(1), vec![null(), number(1)]), Ok(Some(true)));
        assert_eq!(within(number(2), vec![null(), number(1)]), Ok(None));
        assert_eq!(within(number(2), vec![number(1)]), Ok(Some(false)));
        assert_eq!(within(null(), vec![number(1)]), Ok(None));
    }

    #[test]
    fn int_wraps_at_32_bits_and_bigint_at_64() {
        let max = i64::from(i32::MAX);
        let value = |expression: Expression| expression.evaluate(&[]).unwrap().into_owned();

        let int = arithmetic(Operator::Add, Width::Int, max, 1);
        let bigint = arithmetic(Operator::Add, Width::BigInt, i64::MAX, 1);
        let quotient = arithmetic(Operator::Divide, Width::BigInt, i64::MIN, -1);

        assert_eq!(value(int), Value::Integer(i64::from(i32::MIN)));
        assert_eq!(value(bigint), Value::Integer(i64::MIN));
        assert_eq!(value(quotient), Value::Integer(i64::MIN));
    }

    #[test]
    fn integer_division_truncates_towards_zero_and_refuses_zero() {
        let divide = |left, right| arithmetic(Operator::Divide, Width::BigInt, left, right);

        assert_eq!(divide(-7, 2).evaluate(&[]).unwrap().into_owned(), Value::Integer(-3));
        assert_eq!(divide(1, 0).evaluate(&[]), Err(EvaluationError::DivisionByZero));
    }

    #[test]
    fn a_nan_is_unequal_to_itself() {
        let nan = Value::Double(f64::NAN);

        assert_eq!(compare(Comparison::Equal, &nan, &nan), Some(false));
        assert_eq!(compare(Comparison::NotEqual, &nan, &nan), Some(true));
        assert_eq!(compare(Comparison::GreaterOrEqual, &nan, &nan), Some(false));
    }

    #[test]
    fn case_takes_the_first_branch_that_is_true_and_not_one_that_is_unknown() {
        let case = Expression::Case {
            branches: vec![
                (constant(None), Expression::Constant(Value::Integer(1))),
                (constant(Some(true)), Expression::Column(0)),
            ],
            otherwise: Box::new(Expression::Constant(Value::Null)),
        };

        assert_eq!(case.evaluate(&[Value::Integer(2)]).unwrap().into_owned(), Value::Integer(2));
    }
}
