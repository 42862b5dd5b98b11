//! Damaged frames, batches and certificates: no panic, and never more memory than the bound.
//!
//! One test, because the allocator counts for the whole process. `PROPTEST_CASES=<count>` sets
//! another number of cases.
#![expect(clippy::unwrap_used, reason = "a test's helpers are a test")]

use std::alloc::System;
use std::path::Path;

use cap::Cap;
use headland_event::limits::{DECOMPRESSED_BYTES_LIMIT, FRAME_BYTES_LIMIT};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What a decoder may allocate in all, besides what the bytes themselves amount to: a message,
/// tables of names.
const SLACK_BYTES: usize = 64 << 10;

/// Per byte of a frame: a record of a few bytes is a structure of some dozens, kept once and moved
/// while its list grows.
const BYTES_PER_BYTE: usize = 64;

/// Bytes allocated, also those freed again, while `decode` runs.
fn allocated(decode: impl FnOnce()) -> usize {
    let before = MEMORY.total_allocated();
    decode();
    MEMORY.total_allocated() - before
}

/// Every golden frame of every version.
fn golden() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../replication/tests/fixtures");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| unhex(&std::fs::read_to_string(file).unwrap())).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let (pairs, _) = digits.as_chunks::<2>();
    pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).unwrap()).collect()
}

/// What damage does: a byte set, bytes cut off, a length blown up, bytes added.
#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Length(prop::sample::Index, u32),
    Append(Vec<u8>),
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            any::<prop::sample::Index>().prop_map(Self::Cut),
            (any::<prop::sample::Index>(), any::<u32>())
                .prop_map(|(at, length)| Self::Length(at, length)),
            prop::collection::vec(any::<u8>(), 1..40).prop_map(Self::Append),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Set(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Length(at, length) => {
                let at = at.index(bytes.len());
                let field = length.to_be_bytes();
                bytes.iter_mut().skip(at).zip(field).for_each(|(byte, new)| *byte = new);
            }
            Self::Append(more) => bytes.extend_from_slice(more),
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic_or_allocate_beyond_its_bound() {
    let golden = golden();
    assert!(golden.len() >= 15, "{} fixtures", golden.len());
    let bytes = prop_oneof![
        4 => (prop::sample::select(golden), prop::collection::vec(Damage::any(), 1..6)).prop_map(
            |(mut bytes, damages)| {
                damages.iter().for_each(|damage| damage.apply(&mut bytes));
                bytes
            }
        ),
        1 => prop::collection::vec(any::<u8>(), 0..2_000),
    ];
    // The regressions of a library that is not in a file cannot be kept beside it.
    let config = ProptestConfig::default();
    let cases = config.cases.max(4_096);
    let config = ProptestConfig { failure_persistence: None, cases, ..config };
    let decoders: [fn(&[u8]); 3] =
        [headland_fuzz::frame, headland_fuzz::batch, headland_fuzz::certificate];

    let held = TestRunner::new(config).run(&bytes, |bytes| {
        for decode in decoders {
            let found = allocated(|| decode(&bytes));
            let bound = SLACK_BYTES + BYTES_PER_BYTE * bytes.len();
            prop_assert!(found <= bound, "{found} bytes for {} of input", bytes.len());
        }
        Ok(())
    });
    let oversized = vec![1; FRAME_BYTES_LIMIT.as_len() + 1];
    let refused = allocated(|| drop(headland_replication::Frame::decode(oversized.into())));

    if let Err(error) = held {
        panic!("{error}");
    }
    assert!(refused <= SLACK_BYTES, "{refused} bytes for a frame that is too large");
    assert!(MEMORY.max_allocated() < 8 * DECOMPRESSED_BYTES_LIMIT.as_len());
}
