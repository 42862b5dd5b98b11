//! What end-to-end tests and simulations are made of.
//!
//! It starts the real binaries, or drives the real nodes in virtual time. It does *not* decide
//! what is right: each test says that itself.

/// The binaries under test, built once a process.
pub mod binaries;
/// One process under test.
pub mod process;
/// HTTP over a Unix socket.
pub mod http;
/// Hubs and agents in a folder of their own.
pub mod fleet;
/// Lines as devices write them.
pub mod lines;
/// A peer with a valid certificate that says what no honest one would.
pub mod forger;
/// An OTLP/HTTP receiver.
pub mod collector;
/// Whole regions in one thread.
pub mod sim;
