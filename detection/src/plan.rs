//! Compiled rules: typed operators over column indexes.

use std::fmt;
use std::sync::Arc;

use headland_event::{Severity, TopicName};

use crate::explain::Monotony;
use crate::relation::{Changes, Sink};
use crate::settings::RuleSettings;
use crate::table::{Table, TableId};
use crate::value::{Schema, Value};

/// A rule: what one `INSERT INTO … SELECT` does. Its name is its target table's.
#[derive(Debug, Clone)]
pub struct Rule {
    name: Arc<str>,
    sources: Arc<[TableId]>,
    topic: TopicName,
    severity: Severity,
    schema: Schema,
    settings: RuleSettings,
    sink: Sink,
}

impl Rule {
    /// A rule that writes to `target` what `sink` makes of `sources`.
    pub(crate) fn new(
        (target, topic): (&Table, &TopicName),
        sources: Vec<TableId>,
        sink: Sink,
    ) -> Self {
        debug_assert!(!sources.is_empty(), "every query has FROM");
        Self {
            name: Arc::clone(target.name()),
            sources: Arc::from(sources),
            topic: topic.clone(),
            severity: target.severity(),
            schema: target.schema().clone(),
            settings: *target.settings(),
            sink,
        }
    }

    /// The rule's name: the name of the table it inserts into.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The tables it reads, in the order the query names them, each once.
    #[must_use]
    pub fn sources(&self) -> &[TableId] {
        &self.sources
    }

    /// The topic its results go to.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// How much its results matter.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// The columns of its results.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How it runs besides what its query says: the options of its target.
    #[must_use]
    pub const fn settings(&self) -> &RuleSettings {
        &self.settings
    }

    /// Whether a result may change or be taken back after it came; otherwise each of its
    /// [`RuleResult`](crate::RuleResult)s is an [`Insert`](crate::Change::Insert) that stands.
    #[must_use]
    pub const fn results_may_change(&self) -> bool {
        match self.sink.relation.changes {
            Changes::Append => {
                !self.settings.allowed_lateness.is_zero() || self.settings.early_results.is_some()
            }
            Changes::Retract => true,
        }
    }

    /// Whether its results are those of windows of fixed length over single rows, so that it can
    /// read several logs side by side ([`Engine::on_row_of`](crate::Engine::on_row_of)).
    #[must_use]
    pub fn merges_parts(&self) -> bool {
        self.sink.relation.merges_parts()
    }

    /// Whether no further row can refute a result of this rule, so that one on partial data stands:
    /// a count of rows that is to be above a bound, for example.
    #[must_use]
    pub fn is_monotone(&self) -> bool {
        match Monotony::of(&self.sink.relation) {
            Monotony::Monotone(_) => true,
            Monotony::Refutable(_) => false,
        }
    }

    /// What it computes and how its results are named.
    pub(crate) const fn sink(&self) -> &Sink {
        &self.sink
    }
}

/// Keys of a group joined by `|`; NULL is `\N`.
///
/// Several keys are told apart whatever they hold: `|` and `\` within one of them are escaped by
/// `\`. A single key stays as it is.
pub(crate) struct JoinedKeys<'a>(pub(crate) &'a [Value]);

impl fmt::Display for JoinedKeys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("|")?;
            }
            match key {
                Value::Null => f.write_str("\\N")?,
                Value::Text(text) if self.0.len() > 1 && text.contains(['|', '\\']) => {
                    f.write_str(&text.replace('\\', "\\\\").replace('|', "\\|"))?;
                }
                key => write!(f, "{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_keys_are_told_apart_whatever_they_hold() {
        let joined = |keys: &[Value]| JoinedKeys(keys).to_string();
        let text = Value::text;

        assert_eq!(joined(&[text("85123A"), text("eu-1")]), "85123A|eu-1");
        assert_eq!(joined(&[text("a|b"), text("c")]), "a\\|b|c");
        assert_eq!(joined(&[text("a"), text("b|c")]), "a|b\\|c");
        assert_eq!(joined(&[text("a|b")]), "a|b");
        assert_eq!(joined(&[Value::Null, Value::Integer(1)]), "\\N|1");
        assert_eq!(joined(&[]), "");
    }
}
