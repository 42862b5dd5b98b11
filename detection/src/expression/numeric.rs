//! Functions of numbers whose type follows their argument's.

use crate::expression::function::Parameter::{Any, Whole};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::number::{Rounding, ceiling, floor, magnitude, rounded, sign};
use crate::expression::tree::{Expression, Operator};
use crate::expression::typed::{Typed, decimal};
use crate::value::{DataType, Value};

static ABS: Function = function("ABS", &[Any], Outcome::First, |a| Ok(first(a, magnitude)));
static SIGN: Function = function("SIGN", &[Any], Outcome::First, |a| Ok(first(a, sign)));
static FLOOR: Function = function("FLOOR", &[Any], Outcome::First, |a| Ok(first(a, floor)));
static CEIL: Function = function("CEIL", &[Any], Outcome::First, |a| Ok(first(a, ceiling)));
static ROUND: Function =
    function("ROUND", &[Any, Whole], Outcome::First, |a| Ok(digits(a, Rounding::Nearest)))
        .optional(1);
static TRUNCATE: Function =
    function("TRUNCATE", &[Any, Whole], Outcome::First, |a| Ok(digits(a, Rounding::Cut)))
        .optional(1);

/// The names compiled here.
pub(super) const NAMES: [&str; 8] =
    ["ABS", "SIGN", "FLOOR", "CEIL", "CEILING", "ROUND", "TRUNCATE", "MOD"];

fn first(arguments: &[Value], body: impl FnOnce(&Value) -> Value) -> Value {
    arguments.first().map_or(Value::Null, body)
}

fn digits(arguments: &[Value], rounding: Rounding) -> Value {
    match arguments {
        [value] => rounded(value, 0, rounding),
        [value, Value::Integer(digits)] => rounded(value, *digits, rounding),
        _ => Value::Null,
    }
}

/// A call of one of [`NAMES`] but MOD over a number; none when the number of arguments is wrong.
pub(super) fn call(name: &str, arguments: Vec<Typed>) -> Option<Typed> {
    let function = match name {
        "ABS" => &ABS,
        "SIGN" => &SIGN,
        "FLOOR" => &FLOOR,
        "CEIL" | "CEILING" => &CEIL,
        "ROUND" => &ROUND,
        "TRUNCATE" => &TRUNCATE,
        _ => return None,
    };
    let most = function.parameters.len();
    if !(most - function.optional..=most).contains(&arguments.len()) {
        return None;
    }
    let given = arguments.first()?.data_type.clone();
    let kept = match arguments.get(1).and_then(|second| second.expression.constant()) {
        Some(Value::Integer(digits)) => i16::try_from(*digits).ok(),
        _ if arguments.len() == 1 => Some(0),
        _ => None,
    };
    let result = given.as_ref().map(|given| result_type(name, given, kept));
    let expressions = arguments.into_iter().map(|typed| typed.expression).collect();
    let mut expression = Expression::Call(function, expressions);
    // What wraps or keeps digits behind the point is brought into the type of the result.
    if let (Some(given), Some(result)) = (given, &result)
        && (matches!(given, DataType::Decimal { .. })
            || name == "ABS" && given.is_integer() && given != DataType::BigInt)
    {
        let from = if given == *result { widest(&given) } else { given };
        expression = Expression::cast(expression, from, result.clone());
    }
    Some(Typed { expression, data_type: result })
}

/// The type whose cast to `data_type` brings a value into it.
const fn widest(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal { .. } => DataType::Decimal { precision: 38, scale: 0 },
        _ => DataType::BigInt,
    }
}

fn result_type(name: &str, given: &DataType, digits: Option<i16>) -> DataType {
    let DataType::Decimal { precision, scale } = given else { return given.clone() };
    let (precision, scale) = (i16::from(*precision), i16::from(*scale));
    match name {
        "FLOOR" | "CEIL" | "CEILING" => decimal(precision, 0),
        "ROUND" | "TRUNCATE" => match digits {
            Some(digits) if digits >= scale => given.clone(),
            // One digit more before the point: 9.95 rounds to 10.0.
            Some(digits) => {
                let digits = digits.max(0);
                decimal((precision - scale + 1 + digits).min(38), digits)
            }
            None => given.clone(),
        },
        _ => given.clone(),
    }
}

/// MOD is `%`.
pub(super) const MOD: Operator = Operator::Remainder;
