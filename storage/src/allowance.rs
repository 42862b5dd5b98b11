//! How many offsets a file of the journal gives at most.
//!
//! Where the end of a file is lost nothing says how many offsets stood there, and the lost bytes
//! bound that badly: a batch of 10,000 records can have 100 bytes. So a file says in its header,
//! before it gives any, how many it will, and another file is begun before one gives more.

use headland_event::ByteCount;

/// Most offsets that a file gives, of all partitions together, as the exponent of 2; 0 when the
/// file does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance(u16);

impl Allowance {
    /// That of a cold file, and of files of earlier versions: they do not say.
    pub(crate) const UNKNOWN: Self = Self(0);

    /// Every file allows for so many: as seven batches can hold.
    const OFFSETS_MIN: u64 = 1 << 16;

    /// Bytes of a file for each offset that it allows for: where records are larger the bytes end
    /// a file, not its offsets.
    const BYTES_PER_OFFSET: u64 = 128;

    /// That of a new file, which begins with a group of `first` offsets, when the file before gave
    /// `given`: where offsets end files, each allows for more than the one before, so that few do.
    pub(crate) fn of_file(file_bytes: ByteCount, given: u64, first: u64) -> Self {
        let of_bytes = file_bytes.get() / Self::BYTES_PER_OFFSET;
        let offsets = Self::OFFSETS_MIN.max(of_bytes).max(given.saturating_mul(2)).max(first);
        let exponent = offsets.checked_next_power_of_two().map(u64::trailing_zeros);
        Self(exponent.and_then(|exponent| exponent.try_into().ok()).unwrap_or(0))
    }

    /// As it stands in a file's header.
    pub(crate) const fn code(self) -> u16 {
        self.0
    }

    /// What a file's header says.
    pub(crate) const fn of_code(code: u16) -> Self {
        Self(code)
    }

    /// Most offsets of the file; all there are when it does not say.
    pub(crate) const fn offsets(self) -> u64 {
        match self.0 {
            exponent @ 1..64 => 1 << exponent,
            _ => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(file_bytes: ByteCount, given: u64, first: u64) -> u64 {
        let allowance = Allowance::of_file(file_bytes, given, first);
        assert_eq!(Allowance::of_code(allowance.code()), allowance);
        allowance.offsets()
    }

    #[test]
    fn a_file_allows_for_its_bytes_its_first_group_and_twice_what_the_file_before_gave() {
        assert_eq!(allowed(ByteCount::new(100), 0, 0), 1 << 16);
        assert_eq!(allowed(ByteCount::mebibytes(120), 0, 0), 1 << 20);
        assert_eq!(allowed(ByteCount::new(100), 0, (1 << 20) + 1), 1 << 21);
        assert_eq!(allowed(ByteCount::new(100), 1 << 20, 9), 1 << 21);
        assert_eq!(allowed(ByteCount::new(100), 1 << 62, 9), 1 << 63);
    }

    #[test]
    fn more_than_can_be_said_is_not_said() {
        assert_eq!(allowed(ByteCount::new(100), u64::MAX, 0), u64::MAX);
        assert_eq!(allowed(ByteCount::new(100), 0, (1 << 63) + 1), u64::MAX);
        assert_eq!(Allowance::UNKNOWN.offsets(), u64::MAX);
        assert_eq!(Allowance::of_code(64).offsets(), u64::MAX);
    }
}
