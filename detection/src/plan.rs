//! Compiled rules: typed operators over column indexes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headland_event::{EventTime, Severity, TopicName};

use crate::aggregate::Aggregate;
use crate::expression::Expression;
use crate::table::TableId;
use crate::value::{DataType, Schema, Value};

/// A rule: what one `INSERT INTO … SELECT` does. Its name is its target table's.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) source: TableId,
    pub(crate) topic: TopicName,
    pub(crate) severity: Severity,
    pub(crate) schema: Schema,
    pub(crate) operator: Operator,
    pub(crate) key: KeyLabel,
    pub(crate) window: WindowLabel,
}

impl Rule {
    /// The rule's name: the name of the table it inserts into.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The table it reads.
    #[must_use]
    pub const fn source(&self) -> TableId {
        self.source
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

    pub(crate) const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// What the rule's state looks like: a snapshot is restored only into a rule of the same shape.
    pub(crate) fn shape(&self) -> String {
        match &self.operator {
            Operator::Filter(_) => "stateless".to_owned(),
            Operator::Tumble(plan) => plan.shape(),
        }
    }
}

/// What a rule computes. A new kind of rule is a variant with its plan, and its state in the
/// engine.
#[derive(Debug, Clone)]
pub(crate) enum Operator {
    Filter(FilterPlan),
    Tumble(TumblePlan),
}

/// `SELECT projection FROM table WHERE predicate`.
#[derive(Debug, Clone)]
pub(crate) struct FilterPlan {
    pub(crate) predicate: Option<Expression>,
    /// Over the row of the source.
    pub(crate) projection: Vec<Expression>,
}

/// Aggregates over tumbling windows.
#[derive(Debug, Clone)]
pub(crate) struct TumblePlan {
    pub(crate) size: WindowSize,
    pub(crate) predicate: Option<Expression>,
    /// Over the row of the source, without window_start and window_end.
    pub(crate) keys: Vec<(Expression, DataType)>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// Over a [group row](TumblePlan::group_row).
    pub(crate) having: Option<Expression>,
    /// Over a [group row](TumblePlan::group_row).
    pub(crate) projection: Vec<Expression>,
}

impl TumblePlan {
    /// Where window_start stands in a group row; window_end follows, then the aggregates.
    pub(crate) const fn window_start_index(keys: usize) -> usize {
        keys
    }

    /// Where the first aggregate stands in a group row.
    pub(crate) const fn aggregates_index(keys: usize) -> usize {
        keys + 2
    }

    /// The row HAVING and SELECT see: keys, window_start, window_end, aggregates.
    pub(crate) fn group_row(
        &self,
        keys: &[Value],
        end: EventTime,
        aggregates: impl Iterator<Item = Value>,
    ) -> Vec<Value> {
        debug_assert_eq!(keys.len(), self.keys.len(), "a group has every key");
        let start = end.minus(self.size.duration());
        let mut row =
            Vec::with_capacity(Self::aggregates_index(keys.len()) + aggregates.size_hint().0);
        row.extend_from_slice(keys);
        row.extend([Value::Timestamp(start), Value::Timestamp(end)]);
        row.extend(aggregates);
        row
    }

    fn shape(&self) -> String {
        let keys = self.keys.iter().map(|(_, data_type)| data_type.to_string());
        let aggregates = self.aggregates.iter().map(Aggregate::shape);
        format!(
            "TUMBLE {} ms, keys ({}), aggregates ({})",
            self.size.duration().as_millis(),
            keys.collect::<Vec<_>>().join(", "),
            aggregates.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The size of a tumbling window: whole milliseconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowSize(i64);

impl WindowSize {
    /// A size; none when it is under a millisecond or beyond 64 bits of them.
    pub(crate) fn new(size: Duration) -> Option<Self> {
        i64::try_from(size.as_millis()).ok().filter(|millis| *millis > 0).map(Self)
    }

    pub(crate) const fn duration(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    /// The end of the window that holds `time`; windows are aligned to the epoch.
    pub(crate) const fn end_of(self, time: EventTime) -> EventTime {
        let start = time.millis().saturating_sub(time.millis().rem_euclid(self.0));
        EventTime::from_millis(start.saturating_add(self.0))
    }
}

/// Where the key of a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyLabel {
    /// A column of the result.
    Result(usize),
    /// The group's keys, joined.
    Group,
    /// A column of the source's row.
    Source(usize),
    /// Nothing names it.
    None,
}

/// Where the window of a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowLabel {
    /// A column of the result.
    Result(usize),
    /// The window's end in milliseconds.
    End,
    /// The offset of the evidence.
    Evidence,
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
    use proptest::prelude::*;

    use super::*;

    fn size(millis: u64) -> WindowSize {
        WindowSize::new(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_on_both_its_sides() {
        let end = |millis| size(10).end_of(EventTime::from_millis(millis)).millis();

        assert_eq!([end(-11), end(-10), end(-1), end(0), end(9), end(10)], [-10, 0, 0, 10, 10, 20]);
    }

    #[test]
    fn a_window_of_no_time_is_refused() {
        assert_eq!(WindowSize::new(Duration::ZERO), None);
        assert!(WindowSize::new(Duration::from_millis(1)).is_some());
    }

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

    proptest! {
        #[test]
        fn a_time_lies_in_its_window(millis in any::<i64>(), window in 1_u64..10_000_000) {
            let end = size(window).end_of(EventTime::from_millis(millis));

            if end.millis() != i64::MAX {
                let window = i64::try_from(window).unwrap();
                prop_assert!(millis < end.millis());
                prop_assert!(i128::from(end.millis()) - i128::from(window) <= i128::from(millis));
                prop_assert_eq!(end.millis().rem_euclid(window), 0);
            }
        }
    }
}
