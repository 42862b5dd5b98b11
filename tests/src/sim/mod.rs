//! Whole regions in one thread: virtual time, a seeded scheduler, and faults at any moment.
//!
//! A `Schedule` is drawn from a seed: what agents read, when disks and frames take how long, and
//! what fails when. A world of three hubs (full mesh) with six agents, or ten that go from hub to
//! hub, runs the very nodes that the binaries drive, over disks that lose power, lanes that
//! overtake each other and wall clocks of hubs that are wrong by up to a day. In some schedules
//! nodes also lose their disks or are started from a backup, two hubs of three among them, and what
//! they were is excluded and handed in; in others regions are in use by leases, and one is left,
//! one region is drained, sealed and goes on as another life while another one joins, the data
//! directory of an agent or of a hub is copied and both are used, clocks of agents are wrong too,
//! or hubs call other regions something else from one start to the next while groups read on.
//! When the last fault is over everything is healed, the world runs until nobody has work left,
//! and `run` judges what is in the logs. The same seed gives the same trace, byte for byte.
//!
//! It does *not* simulate TLS, QUIC or files: what the shells do is their own tests' matter.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it is test code: what does not fit ends the test, and its indices are its own"
)]

/// Regions, nodes, their configuration and rules.
mod topology;
/// What hubs call other regions.
mod names;
/// What agents read.
mod input;
/// What happens when, drawn from a seed.
mod schedule;
/// Events in the order of virtual time.
mod agenda;
/// Connections, lanes and cuts.
mod network;
/// Faults of the harness itself, to prove the checks.
mod planted_fault;
/// One node's disk, clock and commits on their way.
mod machine;
/// What nodes told each other, and whether they may say so.
mod witness;
/// Everything together, step by step.
mod world;
/// What nodes ask for, done.
mod perform;
/// What operators ask of hubs.
mod operator;
/// Groups that read, and names that change meanwhile.
mod consumer;
/// Frames on their way, and connections from the first attempt to their end.
mod traffic;
/// What is in the logs at the end.
mod evidence;
/// What has to hold.
mod check;
/// What inventory should be, by the definitions alone: shared with the tests of reconciling.
#[path = "../../../reconcile/tests/oracle/mod.rs"]
mod oracle;
/// What the hubs derived, beside what the oracle states of it.
#[path = "../../../reconcile/tests/stated/mod.rs"]
mod stated;

pub use check::Check;
pub use planted_fault::Planted;
pub use schedule::Schedule;
pub use world::{Outcome, run};
