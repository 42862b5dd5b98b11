//! The agent on a device: source, decode, detect, outbox, uplink.
//!
//! It follows files, decodes each line by the table it belongs to, runs SQL rules, writes records,
//! alerts and its place in each file to its journal in one commit, and sends the journal to its
//! region's hub over one QUIC connection, alerts first; while that one is away, to the next of its
//! hubs. Without a hub it goes on the same way.
//!
//! It does *not* know what regions are to each other, stock or conflicts, and it never talks to
//! another agent.
//!
//! Main types: [`Node`] decides everything; [`pipeline`] drives one with tokio.
//!
//! ```no_run
//! # async fn run() -> Result<(), edge_agent::RunError> {
//! use headland_platform::task::Token;
//!
//! let config = edge_agent::config::load("agent.toml".as_ref())?;
//! edge_agent::run(config, Token::new()).await
//! # }
//! ```

/// The agent's configuration.
pub mod config;
/// Follows files as they grow.
pub mod source;
/// Lines to rows and records.
pub mod decode;
/// What could not go on, with the reason.
pub mod dead;
/// Rows to alerts.
pub mod detect;
/// Records and alerts to commits.
pub mod outbox;
/// Which of its hubs it uses.
pub mod hubs;
/// The link to the hub.
pub mod uplink;
/// The agent: everything it decides, without a socket, a file or a clock.
pub mod node;
/// Frames of the link over QUIC.
mod connection;
/// Wires the stages and drives the node.
pub mod pipeline;
/// Metrics, from what the node says of itself.
mod metrics;
/// The agent's own HTTP interface.
mod api;
/// What is wrong with rule files, and what their rules will do.
pub mod rules;

pub use node::{Node, Output};
pub use pipeline::{RunError, check, run};
