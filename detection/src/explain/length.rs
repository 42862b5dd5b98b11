//! Lengths of time as options and people write them.

use std::fmt;
use std::time::Duration;

/// Milliseconds as `1h30min`, `500ms` or `0ms`; below 0 with a minus in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length(pub(super) i64);

impl Length {
    pub(crate) fn of(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] =
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
        let mut rest = self.0.unsigned_abs();
        if rest == 0 {
            return f.write_str("0ms");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        for (millis, unit) in UNITS {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_written_in_the_largest_units_that_divide_it() {
        let cases = [
            (0, "0ms"),
            (1, "1ms"),
            (60_000, "1min"),
            (5_400_000, "1h30min"),
            (90_061_001, "1d1h1min1s1ms"),
            (-2_000, "-2s"),
        ];
        for (millis, text) in cases {
            assert_eq!(Length(millis).to_string(), text);
        }
    }
}
