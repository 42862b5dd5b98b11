//! The bounds every node keeps. Whoever meets one answers with an error that names it.

use crate::time::ByteCount;

/// Largest record, key, value and headers together; a larger one belongs in an object store.
pub const RECORD_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(1);

/// Most bytes of a batch's records once decompressed; a small batch that holds more is an attack.
pub const DECOMPRESSED_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(8);

/// Most records in a batch: verdicts and acknowledgements are per batch, so this bounds both.
pub const BATCH_RECORDS_LIMIT: usize = 10_000;

/// Largest wire frame: a full batch plus a tenth for what travels with it.
pub const FRAME_BYTES_LIMIT: ByteCount = ByteCount::new((1 << 20) + (1 << 20) / 10);

/// Largest commit: recovery after a crash rereads at most this much to find the last whole one.
pub const COMMIT_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(16);

/// Most bytes of a group of commits that share one barrier; more would delay the first of them.
pub const GROUP_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(4);

/// Most topics on a node; each costs memory for its partitions on every peer.
pub const TOPICS_LIMIT: usize = 1_024;

/// Most links of a hub to other hubs.
pub const LINKS_LIMIT: usize = 32;

/// Most headers on a record.
pub const HEADERS_LIMIT: usize = 64;

/// Most entries of a vector clock: links of a hub times partitions of the inventory topic.
pub const CLOCK_ENTRIES_LIMIT: usize = 4_096;

/// Most gaps that a stamp names, of all logs that its hub had seen; 5 KiB of them at most, which a
/// frame has room for beside verdicts and clock. What lies in further ones is claimed as seen.
pub const SEEN_GAPS_LIMIT: usize = 256;
