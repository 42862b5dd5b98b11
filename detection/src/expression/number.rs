//! Functions of numbers.

use crate::expression::function::Parameter::{Any, Double, Whole};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::value::Value;

type Called = Result<Value, EvaluationError>;

/// Functions whose last digit the C library of a machine would decide are those of `libm`, which
/// follows FreeBSD's as Java's `StrictMath` does, so that every node and Flink give the same.
///
/// Functions whose type does not depend on their argument's; those of which it does are compiled in
/// [`numeric`](crate::expression::numeric).
pub(super) static FUNCTIONS: &[Function] = &[
    function("SQRT", &[Double], Outcome::Double, |a| real(a, f64::sqrt)),
    function("CBRT", &[Double], Outcome::Double, |a| real(a, libm::cbrt)),
    function("EXP", &[Double], Outcome::Double, |a| real(a, f64::exp)),
    function("LN", &[Double], Outcome::Double, |a| real(a, f64::ln)),
    function("LOG10", &[Double], Outcome::Double, |a| real(a, libm::log10)),
    function("LOG2", &[Double], Outcome::Double, |a| real(a, |x| x.ln() / std::f64::consts::LN_2)),
    function("LOG", &[Double, Double], Outcome::Double, logarithm).optional(1),
    function("POWER", &[Double, Double], Outcome::Double, |a| reals(a, f64::powf)),
    function("POW", &[Double, Double], Outcome::Double, |a| reals(a, f64::powf)),
    function("SIN", &[Double], Outcome::Double, |a| real(a, f64::sin)),
    function("COS", &[Double], Outcome::Double, |a| real(a, f64::cos)),
    function("TAN", &[Double], Outcome::Double, |a| real(a, f64::tan)),
    function("COT", &[Double], Outcome::Double, |a| real(a, |x| 1.0 / x.tan())),
    function("ASIN", &[Double], Outcome::Double, |a| real(a, libm::asin)),
    function("ACOS", &[Double], Outcome::Double, |a| real(a, libm::acos)),
    function("ATAN", &[Double], Outcome::Double, |a| real(a, libm::atan)),
    function("ATAN2", &[Double, Double], Outcome::Double, |a| reals(a, libm::atan2)),
    function("SINH", &[Double], Outcome::Double, |a| real(a, libm::sinh)),
    function("COSH", &[Double], Outcome::Double, |a| real(a, libm::cosh)),
    function("TANH", &[Double], Outcome::Double, |a| real(a, tanh)),
    function("DEGREES", &[Double], Outcome::Double, |a| real(a, f64::to_degrees)),
    function("RADIANS", &[Double], Outcome::Double, |a| real(a, f64::to_radians)),
    function("PI", &[], Outcome::Double, |_| Ok(Value::Double(std::f64::consts::PI))),
    function("E", &[], Outcome::Double, |_| Ok(Value::Double(std::f64::consts::E))),
    function("BIN", &[Whole], Outcome::Text, |a| whole(a, |n| format!("{n:b}"))),
    function("HEX", &[Any], Outcome::Text, hex),
];

fn real(arguments: &[Value], body: impl FnOnce(f64) -> f64) -> Called {
    Ok(match arguments {
        [Value::Double(number)] => Value::Double(body(*number)),
        _ => Value::Null,
    })
}

fn reals(arguments: &[Value], body: impl FnOnce(f64, f64) -> f64) -> Called {
    Ok(match arguments {
        [Value::Double(first), Value::Double(second)] => Value::Double(body(*first, *second)),
        _ => Value::Null,
    })
}

fn whole(arguments: &[Value], body: impl FnOnce(i64) -> String) -> Called {
    Ok(match arguments {
        [Value::Integer(number)] => Value::text(&body(*number)),
        _ => Value::Null,
    })
}

/// # Source
/// FreeBSD's `s_tanh.c`, as Java's `StrictMath`; that of `libm` is musl's, which rounds otherwise.
fn tanh(x: f64) -> f64 {
    let size = x.abs();
    if x.is_nan() || size < 2.0_f64.powi(-55) {
        return x;
    }
    let magnitude = if size >= 22.0 {
        1.0
    } else if size >= 1.0 {
        1.0 - 2.0 / (libm::expm1(2.0 * size) + 2.0)
    } else {
        let grown = libm::expm1(-2.0 * size);
        -grown / (grown + 2.0)
    };
    magnitude.copysign(x)
}

/// A number in two's complement, or the bytes of a text, in upper case.
fn hex(arguments: &[Value]) -> Called {
    let of_bytes =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    Ok(match arguments {
        [Value::Integer(number)] => Value::text(&format!("{number:X}")),
        [Value::Text(text)] => Value::text(&of_bytes(text.as_bytes())),
        [Value::Null] => Value::Null,
        _ => return Err(EvaluationError::Argument),
    })
}

/// `LOG(x)` is natural, `LOG(base, x)` to a base.
fn logarithm(arguments: &[Value]) -> Called {
    Ok(match arguments {
        [Value::Double(number)] => Value::Double(number.ln()),
        [Value::Double(base), Value::Double(number)] => Value::Double(number.ln() / base.ln()),
        _ => Value::Null,
    })
}

/// Which whole number a fraction becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Half away from zero.
    Nearest,
    /// Towards zero.
    Cut,
}

/// `ROUND(x, digits)` and `TRUNCATE(x, digits)`; digits below 0 stand before the point. The type
/// stays, except that a DECIMAL keeps no more digits than asked for: the compiler casts it.
pub(super) fn rounded(value: &Value, digits: i64, rounding: Rounding) -> Value {
    match value {
        Value::Integer(number) => Value::Integer(rounded_whole(*number, digits, rounding)),
        Value::Double(number) => Value::Double(rounded_real(*number, digits, rounding)),
        Value::Float(number) => {
            Value::Float(crate::value::narrowed(rounded_real(f64::from(*number), digits, rounding)))
        }
        Value::Decimal(number) => {
            let kept = digits.clamp(-38, i64::from(number.scale()));
            let power = u32::try_from(i64::from(number.scale()) - kept).ok();
            let Some(unit) = power.and_then(|power| 10_i128.checked_pow(power)) else {
                return Value::Null;
            };
            let (unscaled, half) = (number.unscaled(), unit / 2);
            let cut = unscaled - unscaled % unit;
            let is_up = rounding == Rounding::Nearest && unit > 1 && (unscaled - cut).abs() >= half;
            let rounded = if is_up { cut + unit * unscaled.signum() } else { cut };
            crate::decimal::Decimal::new(rounded, number.scale())
                .map_or(Value::Null, Value::Decimal)
        }
        _ => Value::Null,
    }
}

fn rounded_whole(number: i64, digits: i64, rounding: Rounding) -> i64 {
    let Ok(power) = u32::try_from(digits.saturating_neg()) else { return number };
    if power == 0 {
        return number;
    }
    let Some(unit) = 10_i64.checked_pow(power) else { return 0 };
    let rest = number % unit;
    let is_up = rounding == Rounding::Nearest && rest.unsigned_abs() >= unit.unsigned_abs() / 2;
    let cut = number - rest;
    if is_up { cut.wrapping_add(unit * number.signum()) } else { cut }
}

/// Through the shortest decimal text, as Flink does, so that 2.675 rounds up at two digits.
fn rounded_real(number: f64, digits: i64, rounding: Rounding) -> f64 {
    if !number.is_finite() {
        return number;
    }
    if let Some(decimal) = exact(number)
        && let Value::Decimal(rounded) = rounded(&Value::Decimal(decimal), digits, rounding)
    {
        return rounded.to_f64();
    }
    number
}

fn exact(number: f64) -> Option<crate::decimal::Decimal> {
    crate::decimal::Decimal::parse(&number.to_string())
}

/// The sign of a number, in its type.
pub(super) fn sign(value: &Value) -> Value {
    match value {
        Value::Integer(number) => Value::Integer(number.signum()),
        Value::Double(number) if *number == 0.0 || number.is_nan() => Value::Double(*number),
        Value::Double(number) => Value::Double(number.signum()),
        Value::Float(number) if *number == 0.0 || number.is_nan() => Value::Float(*number),
        Value::Float(number) => Value::Float(number.signum()),
        Value::Decimal(number) => {
            let sign = i64::try_from(number.unscaled().signum()).unwrap_or_default();
            Value::Decimal(crate::decimal::Decimal::from_integer(sign))
        }
        _ => Value::Null,
    }
}

/// The nearest whole number below or above, in the argument's type; of a DECIMAL without digits
/// behind the point.
pub(super) fn floor(value: &Value) -> Value {
    match value {
        Value::Double(number) => Value::Double(number.floor()),
        Value::Float(number) => Value::Float(number.floor()),
        Value::Decimal(number) => number.floor().map_or(Value::Null, Value::Decimal),
        whole => whole.clone(),
    }
}

/// As [`floor`], upwards.
pub(super) fn ceiling(value: &Value) -> Value {
    match value {
        Value::Double(number) => Value::Double(number.ceil()),
        Value::Float(number) => Value::Float(number.ceil()),
        Value::Decimal(number) => number.ceiling().map_or(Value::Null, Value::Decimal),
        whole => whole.clone(),
    }
}

/// The number without its sign; the least whole number of a type is its own.
pub(super) fn magnitude(value: &Value) -> Value {
    match value {
        Value::Integer(number) => Value::Integer(number.wrapping_abs()),
        Value::Double(number) => Value::Double(number.abs()),
        Value::Float(number) => Value::Float(number.abs()),
        Value::Decimal(number) => Value::Decimal(number.magnitude()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hyperbolic_tangent_is_odd_and_ends_at_one() {
        assert_eq!([tanh(0.0), tanh(30.0), tanh(-30.0)], [0.0, 1.0, -1.0]);
        assert_eq!(tanh(-0.5), -tanh(0.5));
        assert!((tanh(1.0) - 0.761_594_155_955_764_9).abs() < 1e-15);
        assert!(tanh(f64::NAN).is_nan());
    }

    #[test]
    fn rounding_goes_half_away_from_zero_on_the_digits_that_are_shown() {
        let round = |number, digits| rounded_real(number, digits, Rounding::Nearest);

        assert_eq!([round(2.675, 2), round(-2.5, 0), round(1_250.0, -2)], [2.68, -3.0, 1_300.0]);
        assert_eq!(rounded_real(2.679, 2, Rounding::Cut), 2.67);
        assert_eq!(rounded_whole(-1_250, -2, Rounding::Nearest), -1_300);
        assert_eq!(rounded_whole(7, 2, Rounding::Nearest), 7);
    }
}
