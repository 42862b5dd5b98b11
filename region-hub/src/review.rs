//! `headland review`: what operators decide about late events, and about what overlaps with a
//! stocktake, over a running hub's socket.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::api::RECORDS_LIMIT;
use crate::client::{self, AskError};
use crate::node::{ReviewKind, ReviewRequest};

/// What to look at or decide.
#[derive(Debug, Clone, Subcommand)]
pub enum ReviewCommand {
    /// List late events and what overlaps with a stocktake, one JSON object a line.
    List {
        /// The hub's socket, as `api.socket` in its configuration says.
        #[arg(long)]
        socket: PathBuf,
        /// Also those that were decided.
        #[arg(long)]
        all: bool,
    },
    /// Show one of them with what was decided about it.
    Show {
        /// The hub's socket, as `api.socket` in its configuration says.
        #[arg(long)]
        socket: PathBuf,
        /// Its `id` in the list.
        late: String,
    },
    /// Let a late event count; of an overlap: all of it came after the count.
    Approve {
        /// Who decides what and why.
        #[command(flatten)]
        decision: DecisionOptions,
        /// From when on it counts.
        #[arg(long, value_enum, default_value = "restate")]
        effective: EffectiveOption,
    },
    /// Never let a late event count; of an overlap: the count has all of it.
    Reject {
        /// Who decides what and why.
        #[command(flatten)]
        decision: DecisionOptions,
    },
    /// Let a late event count with another number of units, in the direction it had; of an overlap:
    /// as many of them came after the count.
    Amend {
        /// Who decides what and why.
        #[command(flatten)]
        decision: DecisionOptions,
        /// From when on it counts.
        #[arg(long, value_enum, default_value = "restate")]
        effective: EffectiveOption,
        /// Units it counts with.
        #[arg(long, allow_negative_numbers = true)]
        quantity: i64,
    },
}

/// Who decides what and why.
#[derive(Debug, Clone, Args)]
pub struct DecisionOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// Its `id` in the list: the delivery id of a late event.
    late: String,
    /// Who decides.
    #[arg(long)]
    reviewer: String,
    /// Why.
    #[arg(long)]
    reason: String,
}

/// From when on a late event counts.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum EffectiveOption {
    /// From its own place and time: a stocktake that knew of it has it in its count.
    Restate,
    /// From the decision on: closed books stay as they are.
    Carry,
}

/// What to send where.
enum Asked {
    Get(String),
    Post(ReviewRequest),
}

impl ReviewCommand {
    fn asked(&self) -> (&PathBuf, Asked) {
        match self {
            Self::List { socket, all } => {
                let query = if *all { "" } else { "?pending=true" };
                (socket, Asked::Get(format!("/v1/review{query}")))
            }
            Self::Show { socket, late } => {
                (socket, Asked::Get(format!("/v1/review?late={}", percent_encoded(late))))
            }
            Self::Approve { decision, effective } => {
                decision.asked(ReviewKind::Approve, Some(*effective), None)
            }
            Self::Reject { decision } => decision.asked(ReviewKind::Reject, None, None),
            Self::Amend { decision, effective, quantity } => {
                decision.asked(ReviewKind::Amend, Some(*effective), Some(*quantity))
            }
        }
    }
}

impl DecisionOptions {
    fn asked(
        &self,
        kind: ReviewKind,
        effective: Option<EffectiveOption>,
        quantity: Option<i64>,
    ) -> (&PathBuf, Asked) {
        let Self { socket, late, reviewer, reason } = self;
        let effective = effective.map(|effective| match effective {
            EffectiveOption::Restate => "restate".to_owned(),
            EffectiveOption::Carry => "carry".to_owned(),
        });
        let (late, reviewer, reason) = (late.clone(), reviewer.clone(), reason.clone());
        (socket, Asked::Post(ReviewRequest { kind, late, reviewer, reason, effective, quantity }))
    }
}

/// Asks the hub and returns what to print: JSON, one object a line.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or refuses.
pub fn run(command: &ReviewCommand) -> Result<String, AskError> {
    let (socket, asked) = command.asked();
    let exchange = async {
        match &asked {
            Asked::Get(path) => client::get(socket, path).await,
            Asked::Post(request) => {
                client::post(socket, "/v1/review", serde_json::to_vec(request)?).await
            }
        }
    };
    client::ask(socket, exchange, lines)
}

/// What to tell beside a list that is perhaps cut.
#[must_use]
pub fn cut(command: &ReviewCommand, told: &str) -> Option<String> {
    let is_full =
        matches!(command, ReviewCommand::List { .. }) && told.lines().count() >= RECORDS_LIMIT;
    is_full.then(|| format!("the list ends after {RECORDS_LIMIT}; there may be more"))
}

/// A JSON array as its elements, anything else as it is, one a line.
pub(crate) fn lines(answer: &[u8]) -> Result<String, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_slice(answer)?;
    Ok(match value {
        serde_json::Value::Array(elements) => {
            elements.iter().map(|element| format!("{element}\n")).collect()
        }
        other => format!("{other}\n"),
    })
}

/// A text as the value of a query (RFC 3986, section 2.1).
pub(crate) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_printed_one_object_a_line() {
        let lines = lines(br#"[{"id":"a"}, {"id":"b"}]"#).unwrap();

        assert_eq!(lines, "{\"id\":\"a\"}\n{\"id\":\"b\"}\n");
    }

    #[test]
    fn a_delivery_id_of_any_characters_fits_a_query() {
        assert_eq!(percent_encoded("eu-1/7 &ü"), "eu-1%2F7%20%26%C3%BC");
    }
}
