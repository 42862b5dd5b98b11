//! `headland reserve`: units promised to customers, over a running hub's socket.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use headland_reconcile::escrow::Closing;
use headland_reconcile::{RequestId, Sku, TextError, Units, UnitsError};
use serde::Serialize;

use crate::client::{self, AskError};
use crate::escrow::{CloseRequest, ReserveRequest, UnitsRequest};
use crate::review::{lines, percent_encoded};

/// What to do with rights to sell.
#[derive(Debug, Clone, Subcommand)]
pub enum ReserveCommand {
    /// Promise units to a customer: granted, not-here, promised-elsewhere or unknown-yet.
    Units {
        /// Which sku at which hub.
        #[command(flatten)]
        target: TargetOptions,
        /// What the customer calls the reservation; the same again is the same reservation.
        #[arg(long, value_parser = request)]
        request: RequestId,
        /// How many.
        #[arg(long, value_parser = units, allow_negative_numbers = true)]
        units: Units,
    },
    /// End a reservation that was made at this hub; the same end again changes nothing.
    Close {
        /// Which sku at which hub.
        #[command(flatten)]
        target: TargetOptions,
        /// What the customer calls the reservation.
        #[arg(long, value_parser = request)]
        request: RequestId,
        /// How it ended.
        #[arg(long, value_enum)]
        outcome: OutcomeOption,
    },
    /// Put units up for sale.
    Offer {
        /// Which sku at which hub.
        #[command(flatten)]
        target: TargetOptions,
        /// What you call the offer; the same again is the same offer.
        #[arg(long, value_parser = request)]
        request: RequestId,
        /// How many.
        #[arg(long, value_parser = units, allow_negative_numbers = true)]
        units: Units,
    },
    /// Say that units put up for sale are missing: rights are recalled in every region.
    Recall {
        /// Which sku at which hub.
        #[command(flatten)]
        target: TargetOptions,
        /// What you call the recall; the same again is the same recall.
        #[arg(long, value_parser = request)]
        request: RequestId,
        /// How many.
        #[arg(long, value_parser = units, allow_negative_numbers = true)]
        units: Units,
    },
    /// Show who holds rights, as far as this hub knows.
    Show {
        /// Which sku at which hub.
        #[command(flatten)]
        target: TargetOptions,
    },
}

/// Which sku at which hub.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// The sku.
    #[arg(value_parser = sku)]
    sku: Sku,
}

/// How a reservation ended.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OutcomeOption {
    /// The customer has the units.
    Sold,
    /// The customer does not want them.
    Released,
}

/// What to send where.
enum Asked {
    Get(String),
    Post(&'static str, serde_json::Value),
}

impl Asked {
    fn post(path: &'static str, request: &impl Serialize) -> Self {
        // Texts and numbers always have a JSON; null would be refused by the hub.
        Self::Post(path, serde_json::to_value(request).unwrap_or_default())
    }
}

impl ReserveCommand {
    fn asked(&self) -> (&PathBuf, Asked) {
        match self.clone() {
            Self::Units { target: TargetOptions { sku, .. }, request, units } => {
                let asked = ReserveRequest { request, sku, units };
                (self.socket(), Asked::post("/v1/reserve", &asked))
            }
            Self::Close { target: TargetOptions { sku, .. }, request, outcome } => {
                let outcome = match outcome {
                    OutcomeOption::Sold => Closing::Sold,
                    OutcomeOption::Released => Closing::Released,
                };
                let asked = CloseRequest { request, sku, outcome };
                (self.socket(), Asked::post("/v1/reserve/close", &asked))
            }
            Self::Offer { target: TargetOptions { sku, .. }, request, units } => {
                let asked = UnitsRequest { request, sku, units };
                (self.socket(), Asked::post("/v1/rights", &asked))
            }
            Self::Recall { target: TargetOptions { sku, .. }, request, units } => {
                let asked = UnitsRequest { request, sku, units };
                (self.socket(), Asked::post("/v1/rights/recall", &asked))
            }
            Self::Show { target: TargetOptions { sku, .. } } => {
                let path = format!("/v1/rights?sku={}", percent_encoded(sku.as_str()));
                (self.socket(), Asked::Get(path))
            }
        }
    }

    const fn socket(&self) -> &PathBuf {
        match self {
            Self::Units { target, .. }
            | Self::Close { target, .. }
            | Self::Offer { target, .. }
            | Self::Recall { target, .. }
            | Self::Show { target } => &target.socket,
        }
    }
}

/// Asks the hub and returns what to print: JSON, one object a line.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or refuses.
pub fn run(command: &ReserveCommand) -> Result<String, AskError> {
    let (socket, asked) = command.asked();
    let exchange = async {
        match &asked {
            Asked::Get(path) => client::get(socket, path).await,
            Asked::Post(path, json) => client::post(socket, path, serde_json::to_vec(json)?).await,
        }
    };
    client::ask(socket, exchange, lines)
}

fn sku(text: &str) -> Result<Sku, TextError> {
    Sku::new(text)
}

fn request(text: &str) -> Result<RequestId, TextError> {
    RequestId::new(text)
}

fn units(text: &str) -> Result<Units, Box<dyn std::error::Error + Send + Sync>> {
    let number: i64 = text.parse()?;
    if number < 1 {
        return Err(format!("{number} units, expected at least 1").into());
    }
    Units::new(number).map_err(|error: UnitsError| error.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(subcommand)]
        _command: ReserveCommand,
    }

    #[test]
    fn no_units_and_fewer_are_refused_with_how_many_would_fit() {
        let parse = |units: &str| {
            let asked = ["--socket", "s", "A", "--request", "cart-7", "--units", units];
            Arguments::try_parse_from(["headland", "units"].into_iter().chain(asked))
        };

        let told = ["0", "-3"].map(|units| parse(units).unwrap_err().to_string());

        assert!(parse("1").is_ok());
        assert!(told[0].contains("0 units, expected at least 1"), "{}", told[0]);
        assert!(told[1].contains("-3 units, expected at least 1"), "{}", told[1]);
    }
}
