//! What end-to-end tests and simulations are made of.
//!
//! It starts the real binaries, or drives the real nodes in virtual time. It does *not* decide
//! what is right: each test says that itself.
//!
//! Main types: [`fleet::Fleet`] and [`process::Process`] for real binaries, [`sim::run`] for whole
//! regions in one thread and virtual time, which a seed repeats:
//!
//! ```
//! use headland_tests::sim::{Planted, Schedule, run};
//!
//! let outcome = run(Schedule::draw(7), Planted::Nothing);
//!
//! assert_eq!(outcome.failures, [].into());
//! assert!(outcome.records > 0);
//! ```

/// The binaries under test, built once a process.
pub mod binaries;
/// Commands of a hub's binary.
pub mod commands;
/// One process under test.
pub mod process;
/// HTTP over a Unix socket.
pub mod http;
/// Hubs and agents in a folder of their own.
pub mod fleet;
/// Consumers that read a topic as all regions have it.
pub mod readers;
/// Two regions under load, whose hubs are killed.
pub mod kills;
/// Regions that are left and returned to, or lose their disk.
pub mod failover;
/// Paths between hubs that can be cut.
pub mod cable;
/// Lines as devices write them.
pub mod lines;
/// A peer with a valid certificate that says what no honest one would.
pub mod forger;
/// Handshakes that are begun and never finished.
pub mod flood;
/// An OTLP/HTTP receiver.
pub mod collector;
/// Hubs in any layout of links, in one thread.
pub mod layout;
/// Whole regions in one thread.
pub mod sim;
