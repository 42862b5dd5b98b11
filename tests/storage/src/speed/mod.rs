//! Rates of the store side by side with a bare file: same disk, same barriers, in turns.

/// Batches of records of 200 bytes.
pub(crate) mod batches;
/// A file and one `fdatasync` a batch.
mod bare;
/// The store, through its public contract.
pub(crate) mod store;
/// Rounds, medians and bars.
mod append;
/// One partition among eight, read back.
mod read;
/// Opening a journal of many files.
mod open;
/// What an idle store writes.
mod idle;
/// What a disk was given.
mod device;
/// What reaches the disk while half of it is cleaned away.
mod wear;

pub(crate) use append::{rounded, run as append};
pub(crate) use idle::run as idle;
pub(crate) use open::{fill, once as open_once, run as open};
pub(crate) use read::run as read;
pub(crate) use wear::run as wear;
