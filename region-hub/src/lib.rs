//! A region's hub: ingest, log, links, reconcile, alerts, api.
//!
//! It takes in what its region's agents send, replicates it to other regions over the same kind of
//! link, and reconciles what all regions say about the same stock. Whatever it acknowledges is on
//! disk; whatever it derives is written exactly once.
//!
//! It does *not* know the sources of devices, and it never trusts a payload about who sent it.
//!
//! Main types: [`Node`] decides everything; [`pipeline`] drives one with tokio.
//!
//! ```no_run
//! # async fn run() -> Result<(), region_hub::RunError> {
//! use headland_platform::task::Token;
//!
//! let config = region_hub::config::load("hub.toml".as_ref())?;
//! region_hub::run(config, Token::new()).await
//! # }
//! ```

/// The hub's configuration.
pub mod config;
/// Folders of schemas.
pub mod schemas;
/// Frames of links over QUIC.
mod connections;
/// One connection to an agent or to another region's hub.
pub mod peer_link;
/// Which connections there are and which have something to do.
pub mod peer_links;
/// What is sent in the place of records that are gone.
mod holes;
/// What the hub says, once, about a batch that an agent publishes.
pub mod ingest;
/// How far the region's event time has come.
pub mod promises;
/// The hub's topics.
pub mod topics;
/// Records that the hub itself writes.
pub mod records;
/// What hubs say of the topics that are declared there.
pub mod settings;
/// Committed inventory of every region in, derived records out.
pub mod reconcile;
/// Which regions take part.
pub mod members;
/// Rules over the rows of several regions.
pub mod global;
/// Rights to sell, as the journals of all regions tell of them.
pub mod escrow;
/// Spans of traced records.
pub mod spans;
/// The hub: everything it decides, without a socket, a file or a clock.
pub mod node;
/// Wires the stages and drives the node.
pub mod pipeline;
/// Metrics, taken from the node.
mod metrics;
/// The hub's own HTTP interface.
mod api;
/// Asking a node over its Unix socket.
pub mod client;
/// Whether a running hub's log holds what was written.
pub mod audit;
/// What operators ask of links to other regions.
pub mod links;
/// Consumer groups.
pub mod groups;
/// Leaving a region for another one, and returning to it.
pub mod failover;
/// What operators ask of stock.
pub mod stock;
/// What operators decide about late events.
pub mod review;
/// What operators and shops do with rights to sell.
pub mod reserve;
/// What is wrong with rule files, and what their rules will do.
pub mod rules;
/// A fleet's private authority and the certificates it signs.
pub mod pki;
/// What operators do with a node's data directory.
pub mod store;
/// Regions of real processes on this machine, real streams, one answer.
pub mod quickstart;

pub use node::{Node, Output, Status};
pub use pipeline::{RunError, check, run};
