//! Tells from a few bytes whether a part could begin here, so that few checksums are computed.
//!
//! A part's length stands in it up to three times: in its own header, and as the sum of the
//! lengths inside. Random bytes agree with themselves once in 2^32 places, text never, because
//! four letters are a length of more than 500 MB.

use crate::body::PART_HEADER_LEN;

const CRC_LEN: usize = 4;
/// The smallest content: a deleted empty key of an owner with one letter.
const CONTENT_LEN_MIN: usize = 7;
const TOPIC_LEN_MAX: usize = 249;
const OWNER_LEN_MAX: usize = 64;
/// Partition, base offset, dot: what stands between an entry's topic and its stamp.
const BEFORE_STAMP: usize = 4 + 8 + 16 + 12 + 8;
/// Bytes after which an entry without stamp and the start of a stamp have been seen.
pub(super) const SEEN_LEN: usize = PART_HEADER_LEN + 1 + TOPIC_LEN_MAX + BEFORE_STAMP + 5;

/// Bytes of the part that could begin with `head` and must fit `room`; `None` when none can.
///
/// A head shorter than [`SEEN_LEN`] is judged by what there is of it.
pub(super) fn part_len(head: &[u8], room: u64) -> Option<usize> {
    let length = usize::try_from(number(head.get(CRC_LEN..)?)?).ok()?;
    let whole = length.checked_add(PART_HEADER_LEN)?;
    let fits = length >= CONTENT_LEN_MIN && u64::try_from(whole).is_ok_and(|whole| whole <= room);
    let content = head.get(PART_HEADER_LEN..)?;
    (fits && (may_be_entry(content, length) || may_be_change(content, length))).then_some(whole)
}

fn may_be_entry(content: &[u8], length: usize) -> bool {
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let Some(after) = after_name(content, TOPIC_LEN_MAX, is_in_name) else { return false };
    let stamp = after + BEFORE_STAMP;
    match content.get(stamp) {
        None => stamp < length,
        Some(0) => agrees(content, stamp + 1, length),
        // What follows is a version, and a layout of its own up to the batch.
        Some(1) => content.get(stamp + 1).is_none_or(|version| matches!(version, 1 | 2)),
        Some(_) => false,
    }
}

fn may_be_change(content: &[u8], length: usize) -> bool {
    let is_in_name = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    let Some(key) = after_name(content, OWNER_LEN_MAX, is_in_name) else { return false };
    let Some(key_len) = content.get(key..).and_then(number) else { return key < length };
    let Ok(key_len) = usize::try_from(key_len) else { return false };
    let value = (key + 4).saturating_add(key_len);
    match content.get(value) {
        None => value < length,
        Some(0) => value + 1 == length,
        Some(1) => agrees(content, value + 1, length),
        Some(_) => false,
    }
}

/// Position after a name, if one could begin here.
fn after_name(content: &[u8], max: usize, fits: impl Fn(&u8) -> bool) -> Option<usize> {
    let (length, rest) = content.split_first()?;
    let length = usize::from(*length);
    let is_name = (1..=max).contains(&length) && rest.iter().take(length).all(fits);
    is_name.then_some(1 + length)
}

/// Whether the length at `at` ends where the content does; unseen, it may.
fn agrees(content: &[u8], at: usize, length: usize) -> bool {
    let Some(found) = content.get(at..).and_then(number) else { return at + 4 <= length };
    usize::try_from(found).ok().and_then(|found| found.checked_add(at + 4)) == Some(length)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|raw| u32::from_be_bytes(*raw))
}
