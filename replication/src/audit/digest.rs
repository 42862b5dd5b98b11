//! What batches come to.

use headland_event::Entry;

/// How many records batches hold, and a sum that depends on every byte of them and on their
/// sequences, but not on the order in which they are added. It wraps, so the difference of two is
/// what lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// Records.
    pub records: u64,
    /// Sum over the batches.
    pub sum: u64,
}

impl Digest {
    /// What one entry comes to, by its checksum. Two batches with equal checksums, spans and
    /// sequences pass for one another: one in 2³².
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let span = entry.batch.span();
        let content = mix(u64::from(entry.batch.checksum()) ^ span.rotate_left(32));
        Self { records: span, sum: mix(content ^ entry.dot.sequence.get()) }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records.wrapping_add(other.records),
            sum: self.sum.wrapping_add(other.sum),
        }
    }

    /// What is left without `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            records: self.records.wrapping_sub(other.records),
            sum: self.sum.wrapping_sub(other.sum),
        }
    }
}

/// Spreads every bit over all 64 (Steele, Lea, Flood 2014, the finalizer of SplitMix64), so that
/// sums of neighbouring numbers do not cancel.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
