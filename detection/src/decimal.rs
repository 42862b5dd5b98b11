//! DECIMAL: exact numbers of up to 38 digits.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Most digits of a DECIMAL, as in Flink.
pub(crate) const PRECISION_MAX: u8 = 38;

/// An exact decimal number: `unscaled` × 10^-`scale`, of at most 38 digits.
///
/// Equality, order and hash are those of the number, whatever its scale: 1.0 equals 1.00.
#[derive(Clone, Copy)]
pub struct Decimal {
    /// Little-endian; bytes, so that a [`Value`](crate::Value) stays at 24 bytes.
    unscaled: [u8; 16],
    scale: u8,
}

/// 10^`exponent`; none beyond 38.
fn power(exponent: u8) -> Option<i128> {
    10_i128.checked_pow(u32::from(exponent))
}

/// The 256-bit product of two magnitudes as (high, low).
const fn wide_product(left: u128, right: u128) -> (u128, u128) {
    const MASK: u128 = u64::MAX as u128;
    let (left_high, left_low) = (left >> 64, left & MASK);
    let (right_high, right_low) = (right >> 64, right & MASK);
    let low = left_low * right_low;
    let middle = left_high * right_low + (low >> 64);
    let other = left_low * right_high + (middle & MASK);
    let high = left_high * right_high + (middle >> 64) + (other >> 64);
    (high, (other << 64) | (low & MASK))
}

/// The quotient and remainder of a 256-bit number; none when the quotient has more than 128 bits.
fn wide_quotient((high, low): (u128, u128), divisor: u128) -> Option<(u128, u128)> {
    if divisor == 0 || high >= divisor {
        return None;
    }
    let (mut rest, mut quotient) = (high, 0_u128);
    for bit in (0..128).rev() {
        let carry = rest >> 127;
        rest = (rest << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if carry == 1 || rest >= divisor {
            rest = rest.wrapping_sub(divisor);
            quotient |= 1;
        }
    }
    Some((quotient, rest))
}

/// `left` × `right` / `divisor`, rounded half away from zero; none beyond 127 bits.
fn scaled(left: i128, right: i128, divisor: i128) -> Option<i128> {
    let product = wide_product(left.unsigned_abs(), right.unsigned_abs());
    let divisor_magnitude = divisor.unsigned_abs();
    let (quotient, rest) = wide_quotient(product, divisor_magnitude)?;
    let is_up = rest >= divisor_magnitude - rest;
    let magnitude = i128::try_from(quotient.checked_add(u128::from(is_up))?).ok()?;
    let is_negative =
        (left < 0) != (right < 0) && (divisor > 0) || divisor < 0 && (left < 0) == (right < 0);
    Some(if is_negative { -magnitude } else { magnitude })
}

impl Decimal {
    /// The number `unscaled` × 10^-`scale`; none beyond 38 digits.
    #[must_use]
    pub fn new(unscaled: i128, scale: u8) -> Option<Self> {
        let limit = power(PRECISION_MAX)?;
        let fits = scale <= PRECISION_MAX && -limit < unscaled && unscaled < limit;
        fits.then(|| Self { unscaled: unscaled.to_le_bytes(), scale })
    }

    /// A whole number.
    #[must_use]
    pub fn from_integer(number: i64) -> Self {
        Self { unscaled: i128::from(number).to_le_bytes(), scale: 0 }
    }

    /// The number times 10^[`scale`](Self::scale).
    #[must_use]
    pub const fn unscaled(self) -> i128 {
        i128::from_le_bytes(self.unscaled)
    }

    /// How many digits stand behind the point.
    #[must_use]
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// Parses `[sign]digits[.digits][e[sign]digits]`; none for anything else or beyond 38 digits.
    /// Digits behind the 38th scale digit are refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + decimals.len() == 0 || !is_digits(whole) || !is_digits(decimals) {
            return None;
        }
        let mut unscaled = 0_i128;
        for digit in whole.bytes().chain(decimals.bytes()) {
            unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let scale = i32::try_from(decimals.len()).ok()?.checked_sub(exponent)?;
        let (unscaled, scale) = match u8::try_from(scale) {
            Ok(scale) => (unscaled, scale),
            Err(_) if scale < 0 => (unscaled.checked_mul(power(u8::try_from(-scale).ok()?)?)?, 0),
            Err(_) => return None,
        };
        Self::new(if mantissa.starts_with('-') { -unscaled } else { unscaled }, scale)
    }

    /// The nearest number of `precision` and `scale`, half away from zero; none when it has too
    /// many digits before the point.
    #[must_use]
    pub fn rounded(self, precision: u8, scale: u8) -> Option<Self> {
        let unscaled = match scale.checked_sub(self.scale) {
            Some(more) => self.unscaled().checked_mul(power(more)?)?,
            None => scaled(self.unscaled(), 1, power(self.scale - scale)?)?,
        };
        let limit = power(precision.min(PRECISION_MAX))?;
        if unscaled <= -limit || unscaled >= limit { None } else { Self::new(unscaled, scale) }
    }

    /// The nearest DOUBLE.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // Through text, so that the result is the nearest one for every number of digits.
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The number whose shortest text a DOUBLE has; none for NaN, infinities and what is too large.
    #[must_use]
    pub fn from_f64(number: f64, precision: u8, scale: u8) -> Option<Self> {
        if !number.is_finite() || number.abs() >= 1e38 {
            return None;
        }
        let text = number.to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let room = usize::from(PRECISION_MAX).saturating_sub(whole.trim_start_matches('-').len());
        let decimals = decimals.get(..decimals.len().min(room)).unwrap_or_default();
        Self::parse(&format!("{whole}.{decimals}"))?.rounded(precision, scale)
    }

    /// The whole part, cut towards zero; none beyond 64 bits.
    #[must_use]
    pub fn to_integer(self) -> Option<i64> {
        i64::try_from(self.unscaled() / power(self.scale)?).ok()
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u8)> {
        let scale = self.scale.max(other.scale);
        let left = self.unscaled().checked_mul(power(scale - self.scale)?)?;
        let right = other.unscaled().checked_mul(power(scale - other.scale)?)?;
        Some((left, right, scale))
    }

    /// The sum as `precision` and `scale`; none when it does not fit.
    #[must_use]
    pub fn plus(self, other: Self, precision: u8, scale: u8) -> Option<Self> {
        let (left, right, common) = self.aligned(other)?;
        Self::wide(left.checked_add(right)?, common, precision, scale)
    }

    /// The difference as `precision` and `scale`; none when it does not fit.
    #[must_use]
    pub fn minus(self, other: Self, precision: u8, scale: u8) -> Option<Self> {
        self.plus(other.negated(), precision, scale)
    }

    /// The product as `precision` and `scale`; none when it does not fit.
    #[must_use]
    pub fn times(self, other: Self, precision: u8, scale: u8) -> Option<Self> {
        let product_scale = self.scale + other.scale;
        let (left, right) = (self.unscaled(), other.unscaled());
        let unscaled = match product_scale.checked_sub(scale) {
            Some(less) => scaled(left, right, power(less)?)?,
            None => left.checked_mul(right)?.checked_mul(power(scale - product_scale)?)?,
        };
        Self::wide(unscaled, scale, precision, scale)
    }

    /// The quotient as `precision` and `scale`; none when it does not fit or `other` is 0.
    #[must_use]
    pub fn divided(self, other: Self, precision: u8, scale: u8) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let (left, right) = (self.unscaled(), other.unscaled());
        let shift = i16::from(scale) + i16::from(other.scale) - i16::from(self.scale);
        let unscaled = match u8::try_from(shift) {
            Ok(shift) => scaled(left, power(shift)?, right)?,
            Err(_) => scaled(left, 1, right.checked_mul(power(u8::try_from(-shift).ok()?)?)?)?,
        };
        Self::wide(unscaled, scale, precision, scale)
    }

    /// The remainder, with the sign of `self`; none when `other` is 0.
    #[must_use]
    pub fn remainder(self, other: Self) -> Option<Self> {
        let (left, right, scale) = self.aligned(other)?;
        Self::new(left.checked_rem(right)?, scale)
    }

    fn wide(unscaled: i128, scale: u8, precision: u8, wanted_scale: u8) -> Option<Self> {
        let number = Self { unscaled: unscaled.to_le_bytes(), scale };
        number.rounded(precision, wanted_scale)
    }

    /// The number with the other sign.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self { unscaled: self.unscaled().wrapping_neg().to_le_bytes(), scale: self.scale }
    }

    /// The number without its sign.
    #[must_use]
    pub const fn magnitude(self) -> Self {
        if self.unscaled() < 0 { self.negated() } else { self }
    }

    /// Whether it is 0.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.unscaled() == 0
    }

    /// The greatest whole number that is not above it.
    #[must_use]
    pub fn floor(self) -> Option<Self> {
        Self::new(self.unscaled().div_euclid(power(self.scale)?), 0)
    }

    /// The least whole number that is not below it.
    #[must_use]
    pub fn ceiling(self) -> Option<Self> {
        self.negated().floor().map(Self::negated)
    }

    /// The same number with the fewest digits behind the point.
    fn shortest(self) -> (i128, u8) {
        let (mut unscaled, mut scale) = (self.unscaled(), self.scale);
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        (unscaled, scale)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let Some((left, right, _)) = self.aligned(*other) {
            return left.cmp(&right);
        }
        // Aligning overflowed: so the whole parts differ, or one number dwarfs the other.
        let whole = |number: &Self| number.unscaled() / power(number.scale).unwrap_or(1);
        whole(self).cmp(&whole(other)).then_with(|| self.unscaled().cmp(&other.unscaled()))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.shortest() == other.shortest()
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.shortest().hash(state);
    }
}

/// Plain digits with as many behind the point as the scale says.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        let digits = format!("{:0>width$}", self.unscaled().unsigned_abs(), width = scale + 1);
        let (whole, decimals) = digits.split_at(digits.len() - scale);
        let sign = if self.unscaled() < 0 { "-" } else { "" };
        if scale == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{decimals}") }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn text_is_parsed_and_shown_digit_by_digit() {
        for text in ["0", "-0.05", "123.450", "99999999999999999999999999999999999999"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("1.5e3").to_string(), "1500");
        for text in ["", ".", "1.2.3", "abc", "100000000000000000000000000000000000000"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rounding_is_half_away_from_zero_and_refuses_what_does_not_fit() {
        assert_eq!(decimal("1.005").rounded(10, 2), Some(decimal("1.01")));
        assert_eq!(decimal("-1.005").rounded(10, 2), Some(decimal("-1.01")));
        assert_eq!(decimal("99.95").rounded(3, 1), None);
    }

    #[test]
    fn products_and_quotients_use_256_bits_on_the_way() {
        let large = decimal("12345678901234567890.123456789012345678");

        assert_eq!(
            large.times(decimal("2.000000000000000000"), 38, 6).unwrap().to_string(),
            "24691357802469135780.246914"
        );
        assert_eq!(decimal("1").divided(decimal("3"), 38, 6).unwrap().to_string(), "0.333333");
        assert_eq!(decimal("-2").divided(decimal("3"), 38, 2).unwrap().to_string(), "-0.67");
        assert_eq!(decimal("1").divided(decimal("0"), 38, 6), None);
    }

    #[test]
    fn a_double_becomes_the_decimal_its_shortest_text_names() {
        assert_eq!(Decimal::from_f64(0.1, 5, 2), Some(decimal("0.1")));
        assert_eq!(Decimal::from_f64(1e20, 38, 0), Some(decimal("100000000000000000000")));
        assert_eq!(Decimal::from_f64(f64::NAN, 5, 2), None);
    }

    #[test]
    fn floor_and_ceiling_go_past_the_number_on_both_sides_of_zero() {
        assert_eq!(decimal("-1.5").floor(), Some(decimal("-2")));
        assert_eq!(decimal("-1.5").ceiling(), Some(decimal("-1")));
        assert_eq!(decimal("1.5").ceiling(), Some(decimal("2")));
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_numbers(left in -10_000_i64..10_000, right in -10_000_i64..10_000,
                                        left_scale in 0_u8..4, right_scale in 0_u8..4) {
            let left_decimal = Decimal::new(left.into(), left_scale).unwrap();
            let right_decimal = Decimal::new(right.into(), right_scale).unwrap();
            let wide = |number: i64, scale: u8| number * 10_i64.pow(u32::from(4 - scale));

            let expected = wide(left, left_scale).cmp(&wide(right, right_scale));

            prop_assert_eq!(left_decimal.cmp(&right_decimal), expected);
            prop_assert_eq!(left_decimal == right_decimal, expected == Ordering::Equal);
        }

        #[test]
        fn a_quotient_times_its_divisor_is_the_dividend(
            left in 1_i64..,
            right in 1_i64..1_000_000,
        ) {
            let product = i128::from(left) * i128::from(right);
            let product = Decimal::new(product, 0).unwrap();
            let right = Decimal::from_integer(right);

            prop_assert_eq!(product.divided(right, 38, 0), Some(Decimal::from_integer(left)));
        }
    }
}
