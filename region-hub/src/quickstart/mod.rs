//! The quickstart: regions of real processes on this machine, real streams, one answer.
//!
//! [`run`] plans everything from the seed, starts hubs and agents, plays, breaks, heals, and reads
//! the answer back through the hubs' API. Modules stand in the order of a run: what is planned,
//! what is started, what is played and broken, what is found.

mod api;
mod chains;
mod checker;
#[cfg(test)]
mod checker_tests;
mod children;
mod configuration;
mod conflicts;
mod console;
mod convergence;
mod directory;
mod drive;
mod dump;
mod error;
mod event;
mod excerpt;
mod facts;
mod fleet;
mod inputs;
mod latency;
mod network;
mod nodes;
mod opening;
mod options;
mod outage;
mod pace;
mod plan;
#[cfg(test)]
mod plan_tests;
mod planted;
mod play;
mod postings;
mod split;
mod summary;

pub use drive::{Outcome, run};
pub use error::QuickstartError;
pub use excerpt::ExcerptError;
pub use options::{OptionError, Options, RegionCount, Seed, Speed, SplitBy};
