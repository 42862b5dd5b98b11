//! Regions that are left and returned to, or lose their disk, under load: what that costs.
//!
//! Real hubs, agents and consumer groups. Small runs of it are tests; `cargo xtask soak failover`
//! runs large ones.

/// Regions, their agents and what these write.
mod regions;
/// A consumer group that remembers what it has read.
mod consumer;
/// Groups that go to another region and come back, at any lag.
pub mod groups;
/// A region whose hub is killed and that is left without an operator.
pub mod automatic;
/// A hub that loses its disk.
pub mod disks;
