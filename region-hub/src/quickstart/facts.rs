//! What the driver did on purpose, for the checker: one JSON object per line of `facts.jsonl`.
//!
//! A checker that sees only the input files could not know in which order two regions wrote, nor
//! what either had seen. These facts are what the driver saw to before it went on.

use serde::Serialize;

/// One planted fact; all ids are delivery ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fact", rename_all = "lowercase")]
pub(super) enum Fact {
    /// The event was kept back until its region's hub had logged a promise past its time.
    Held {
        /// The event.
        id: String,
    },
    /// The event was delivered twice by the same agent.
    Redelivered {
        /// The event.
        id: String,
    },
    /// The event was written when another one was visible at its hub: causality decides.
    Ordered {
        /// The later event, whatever its clock says.
        id: String,
        /// The earlier one, which must lose.
        over: String,
    },
    /// Both were written while neither hub could hear the other.
    Concurrent {
        /// `attribute` or `stocktake`.
        kind: &'static str,
        /// The event with the later clock of its hub, which wins.
        id: String,
        /// The other one.
        over: String,
    },
    /// The stocktake's hub had applied the posting of the same product and location. It had
    /// applied no posting of them without such a fact.
    Saw {
        /// The stocktake.
        id: String,
        /// The posting.
        posting: String,
    },
}

impl Fact {
    /// The fact's line, without its end.
    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_names_its_kind_in_its_line() {
        let fact = Fact::Concurrent {
            kind: "attribute",
            id: "eu-1/p2".to_owned(),
            over: "ap-1/p1".to_owned(),
        };

        assert_eq!(
            fact.line(),
            r#"{"fact":"concurrent","kind":"attribute","id":"eu-1/p2","over":"ap-1/p1"}"#
        );
    }
}
