//! Sums of DECIMAL, exact to 38 digits.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::decimal::Decimal;
use crate::value::{DataType, Value};
use crate::value_codec;

const PRECISION: u8 = 38;

/// A sum and how many values are in it; no sum once one did not fit 38 digits, as in Flink.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ExactSum {
    sum: Option<Decimal>,
    count: i64,
}

impl ExactSum {
    /// The sum of nothing.
    pub(crate) fn new() -> Self {
        Self { sum: Some(Decimal::from_integer(0)), count: 0 }
    }

    /// Adds a value (`by` 1) or takes it back (-1).
    pub(crate) fn shift(&mut self, number: Decimal, by: i64) {
        debug_assert!(by == 1 || by == -1, "one value comes or goes");
        let scale = |sum: Decimal| sum.scale().max(number.scale());
        self.sum = self.sum.and_then(|sum| {
            let number = if by < 0 { number.negated() } else { number };
            sum.plus(number, PRECISION, scale(sum))
        });
        self.count += by;
    }

    /// Adds what another has seen.
    pub(crate) fn merge(&mut self, more: &Self) {
        let Self { sum, count } = more;
        self.sum = self
            .sum
            .zip(*sum)
            .and_then(|(mine, more)| mine.plus(more, PRECISION, mine.scale().max(more.scale())));
        self.count += count;
    }

    /// The sum as the result's type; NULL over no value and when it did not fit.
    pub(crate) fn sum(&self, result_type: &DataType) -> Value {
        let sum = self.sum.filter(|_| self.count > 0);
        let (precision, scale) = digits(result_type);
        let sum = sum.and_then(|sum| sum.rounded(precision, scale));
        sum.map_or(Value::Null, Value::Decimal)
    }

    /// The sum over the count as the result's type; NULL as [`sum`](Self::sum).
    pub(crate) fn average(&self, result_type: &DataType) -> Value {
        let sum = self.sum.filter(|_| self.count > 0);
        let (precision, scale) = digits(result_type);
        let count = Decimal::from_integer(self.count);
        let average = sum.and_then(|sum| sum.divided(count, precision, scale));
        average.map_or(Value::Null, Value::Decimal)
    }

    /// Writes sum and count.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let Self { sum, count } = self;
        value_codec::write(&sum.map_or(Value::Null, Value::Decimal), writer);
        writer.i64(*count);
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let sum = match value_codec::read(reader)? {
            Value::Decimal(sum) => Some(sum),
            _ => None,
        };
        Ok(Self { sum, count: reader.i64("count")? })
    }
}

const fn digits(result_type: &DataType) -> (u8, u8) {
    match result_type {
        DataType::Decimal { precision, scale } => (*precision, *scale),
        _ => (PRECISION, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    fn of(texts: &[&str]) -> ExactSum {
        let mut sum = ExactSum::new();
        texts.iter().for_each(|text| sum.shift(decimal(text), 1));
        sum
    }

    const TYPE: DataType = DataType::Decimal { precision: 38, scale: 2 };

    #[test]
    fn tenths_add_up_exactly_and_leave_nothing_behind() {
        let mut sum = of(&["0.10", "0.20"]);

        assert_eq!(sum.sum(&TYPE), Value::Decimal(decimal("0.30")));
        assert_eq!(sum.average(&TYPE), Value::Decimal(decimal("0.15")));
        sum.shift(decimal("0.10"), -1);
        sum.shift(decimal("0.20"), -1);
        assert_eq!(sum.sum(&TYPE), Value::Null);
    }

    #[test]
    fn a_sum_beyond_38_digits_is_null() {
        let most = "9".repeat(38);

        assert_eq!(of(&[&most, "1"]).sum(&TYPE), Value::Null);
    }
}
