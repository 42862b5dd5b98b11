//! The quickstart: regions of real processes on this machine, real streams, one answer.
//!
//! [`run`] plans everything from the seed, starts hubs and agents, plays, breaks, heals, and reads
//! the answer back through the hubs' API. Modules stand in the order of a run: what is planned,
//! what is started, what is played and broken, what is found.

/// Questions to hubs and agents.
mod api;
/// Ordered writes with wrong clocks.
mod chains;
/// The external checker.
mod checker;
#[cfg(test)]
mod checker_tests;
/// The processes.
mod children;
/// Configuration and certificates of all nodes.
mod configuration;
/// Concurrent writes.
mod conflicts;
/// What a run says.
mod console;
/// When all hubs agree.
mod convergence;
/// Where a run writes.
mod directory;
/// One run from its first line to its verdict.
mod drive;
/// What the hubs hold, as files.
mod dump;
/// Why a run could not go on.
mod error;
/// Inventory events as agents read them.
mod event;
/// The recorded streams.
mod excerpt;
/// What the checker must be told.
mod facts;
/// Regions and agents.
mod fleet;
/// The files that agents read.
mod inputs;
/// How long alerts take.
mod latency;
/// The relays between the hubs.
mod network;
/// Waiting until nodes show something.
mod nodes;
/// Opening stock and deliveries.
mod opening;
/// What a user may choose.
mod options;
/// The cut and the kill.
mod outage;
/// When a recorded moment is played.
mod pace;
/// All that follows from the seed.
mod plan;
#[cfg(test)]
mod plan_tests;
/// Cases with a known causal order.
mod causal_case;
/// Playing the plan into the inputs.
mod play;
/// Sales as postings, and how each is delivered.
mod postings;
/// Which site an invoice belongs to.
mod split;
/// The table for people.
mod summary;

pub use drive::{Outcome, run};
pub use error::QuickstartError;
pub use excerpt::ExcerptError;
pub use options::{OptionError, Options, RegionCount, Seed, Speed, SplitBy};
