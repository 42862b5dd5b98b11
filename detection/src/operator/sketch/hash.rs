//! A hash that is part of snapshots: it never changes, unlike that of a hash map.

/// 64 bits over bytes: FNV-1a, then the finalizer of MurmurHash3, since FNV alone leaves the upper
/// bits of short inputs uneven.
///
/// # Source
/// Fowler, Noll, Vo; Appleby's `fmix64`.
pub(super) fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// Spreads every bit of a number over all bits of the result; a bijection.
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_text_is_the_same_for_ever() {
        assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(b"dev-0001"), stable_hash(b"dev-0001"));
        assert_ne!(stable_hash(b"dev-0001"), stable_hash(b"dev-0002"));
    }
}
