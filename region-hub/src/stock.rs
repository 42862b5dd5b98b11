//! `headland stock`: what a running hub knows of one sku, and of which cut that is.

use std::path::PathBuf;

use clap::Args;
use headland_reconcile::{Location, Sku, TextError};

use crate::client::{self, AskError};
use crate::review::{lines, percent_encoded};

/// Which sku at which hub.
#[derive(Debug, Clone, Args)]
pub struct StockOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// Only units at this location.
    #[arg(long, value_parser = location)]
    location: Option<Location>,
    /// The sku.
    #[arg(value_parser = sku)]
    sku: Sku,
}

/// Asks the hub and returns what to print: one JSON object, in which `reflects` says up to where
/// the logs of inventory were applied.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or knows nothing of the sku.
pub fn run(options: &StockOptions) -> Result<String, AskError> {
    let StockOptions { socket, location, sku } = options;
    let only = location.as_ref().map(|at| format!("&location={}", percent_encoded(at.as_str())));
    let sku = percent_encoded(sku.as_str());
    let path = format!("/v1/stock?sku={sku}{}", only.unwrap_or_default());
    client::ask(socket, async { client::get(socket, &path).await }, lines)
}

fn sku(text: &str) -> Result<Sku, TextError> {
    Sku::new(text)
}

fn location(text: &str) -> Result<Location, TextError> {
    Location::new(text)
}
