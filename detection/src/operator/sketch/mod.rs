//! Sketches: bounded summaries of many values, with a stated error. All merge, so that panes of hop
//! windows and partitions can be put together, and equal inputs in any order give equal bytes.

/// How many distinct values: HyperLogLog.
mod distinct;
/// Hashes that do not depend on machine or version.
mod hash;
/// Quantiles with a relative error: DDSketch.
mod quantile;
/// The most frequent values: Count-Min.
mod top;

pub(crate) use distinct::DistinctSketch;
pub(crate) use quantile::QuantileSketch;
pub(crate) use top::TopSketch;
