//! Rates of the store side by side with a bare file: same disk, same barriers, in turns.

/// Batches of records of 200 bytes.
mod batches;
/// A file and one `fdatasync` a batch.
mod bare;
/// The store, through its public contract.
mod store;
/// Rounds, medians and bars.
mod append;

pub(crate) use append::run;
