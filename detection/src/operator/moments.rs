//! Count, sum and sum of squares: what variances and deviations are made of.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::relation::Spread;
use crate::value::{Value, widened};

/// Count, sum and sum of squares.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Moments {
    count: i64,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// Adds a value (`by` 1) or takes it back (-1).
    pub(crate) fn shift(&mut self, value: f64, by: i64) {
        self.count += by;
        self.sum += value * widened(by);
        self.squares += value * value * widened(by);
    }

    /// Adds what another has seen.
    pub(crate) fn merge(&mut self, more: &Self) {
        let Self { count, sum, squares } = more;
        self.count += count;
        self.sum += sum;
        self.squares += squares;
    }

    /// As Flink rewrites it: (Σx² - (Σx)² / n) / n, or / (n - 1) for a sample.
    pub(crate) fn spread(&self, spread: Spread) -> Value {
        let (is_deviation, divisor) = match spread {
            Spread::DeviationPopulation => (true, self.count),
            Spread::VariancePopulation => (false, self.count),
            Spread::DeviationSample => (true, self.count - 1),
            Spread::VarianceSample => (false, self.count - 1),
        };
        if divisor <= 0 {
            return Value::Null;
        }
        let variance =
            (self.squares - self.sum * self.sum / widened(self.count)) / widened(divisor);
        debug_assert!(self.count > 0, "a divisor above zero is of rows");
        Value::Double(if is_deviation { variance.sqrt() } else { variance })
    }

    /// Writes count, sum and squares.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let Self { count, sum, squares } = self;
        writer.i64(*count);
        writer.u64(sum.to_bits());
        writer.u64(squares.to_bits());
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self {
            count: reader.i64("count")?,
            sum: f64::from_bits(reader.u64("sum")?),
            squares: f64::from_bits(reader.u64("squares")?),
        })
    }
}
