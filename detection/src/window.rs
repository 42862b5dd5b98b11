//! Open windows of a rule: accumulators per window and group, never rows.

use std::collections::BTreeMap;

use headland_event::keymap::key_map;
use headland_event::{EventTime, KeyMap};

use crate::aggregate::Accumulator;
use crate::expression::EvaluationError;
use crate::plan::TumblePlan;
use crate::value::Value;

/// Keys of a group in the order of GROUP BY.
pub(crate) type GroupKeys = Box<[Value]>;

/// Accumulators of a group in the order of the plan's aggregates.
pub(crate) type Accumulators = Box<[Accumulator]>;

/// The open windows of one rule.
///
/// Few ends are open at a time and many groups under each: so ends are ordered and groups hashed.
/// Adding a row to a group that exists allocates nothing.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    seed: u64,
    ends: BTreeMap<EventTime, KeyMap<GroupKeys, Accumulators>>,
    /// Groups over all ends.
    len: usize,
    keys: Vec<Value>,
    contributions: Vec<Value>,
}

/// Why a row was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddError {
    /// A key or an argument has no value.
    Evaluation(EvaluationError),
    /// The row would open a group beyond the limit.
    Full,
}

impl Windows {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, ends: BTreeMap::new(), len: 0, keys: Vec::new(), contributions: Vec::new() }
    }

    /// How many groups are open over all windows.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a row to its group in the window that ends at `end`, wholly or not at all.
    pub(crate) fn add(
        &mut self,
        plan: &TumblePlan,
        end: EventTime,
        row: &[Value],
        limit: usize,
    ) -> Result<(), AddError> {
        self.keys.clear();
        for (key, _) in &plan.keys {
            let key = key.evaluate(row).map_err(AddError::Evaluation)?;
            self.keys.push(key.into_owned());
        }
        self.contributions.clear();
        for aggregate in &plan.aggregates {
            let contribution = aggregate.contribution(row).map_err(AddError::Evaluation)?;
            self.contributions.push(contribution);
        }
        let open = self.ends.get_mut(&end).and_then(|groups| groups.get_mut(self.keys.as_slice()));
        if let Some(accumulators) = open {
            accumulate(plan, accumulators, &self.contributions);
            return Ok(());
        }
        if self.len >= limit {
            return Err(AddError::Full);
        }
        let mut accumulators = plan.aggregates.iter().map(|a| a.start()).collect::<Accumulators>();
        accumulate(plan, &mut accumulators, &self.contributions);
        self.insert(end, GroupKeys::from(self.keys.as_slice()), accumulators);
        Ok(())
    }

    /// Opens a group; false when it was open already, and then it is replaced.
    pub(crate) fn insert(
        &mut self,
        end: EventTime,
        keys: GroupKeys,
        accumulators: Accumulators,
    ) -> bool {
        let groups = self.ends.entry(end).or_insert_with(|| key_map(self.seed));
        let is_new = groups.insert(keys, accumulators).is_none();
        self.len += usize::from(is_new);
        debug_assert_eq!(self.len, self.ends.values().map(KeyMap::len).sum::<usize>());
        is_new
    }

    /// Closes the first window whose last millisecond `watermark` has reached: its end and its
    /// groups in the order of their keys.
    pub(crate) fn pop_due(
        &mut self,
        watermark: EventTime,
    ) -> Option<(EventTime, Vec<(GroupKeys, Accumulators)>)> {
        let first = self.ends.first_entry()?;
        if !is_closed(*first.key(), watermark) {
            return None;
        }
        let (end, groups) = first.remove_entry();
        debug_assert!(self.len >= groups.len(), "the count covers every window");
        self.len -= groups.len();
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Some((end, groups))
    }

    /// Every group in the order of (end, keys).
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (EventTime, &[Value], &[Accumulator])> {
        self.ends.iter().flat_map(|(end, groups)| {
            let mut groups: Vec<_> = groups.iter().collect();
            groups.sort_unstable_by_key(|(keys, _)| *keys);
            groups.into_iter().map(|(keys, accumulators)| (*end, &**keys, &**accumulators))
        })
    }
}

/// Whether a watermark closes a window: it has reached the window's last millisecond.
///
/// # Source
/// Flink's `TimeWindow.maxTimestamp` and `TimeWindowUtil.isWindowFired`.
pub(crate) fn is_closed(end: EventTime, watermark: EventTime) -> bool {
    end.millis().saturating_sub(1) <= watermark.millis()
}

fn accumulate(plan: &TumblePlan, accumulators: &mut [Accumulator], contributions: &[Value]) {
    debug_assert_eq!(accumulators.len(), plan.aggregates.len(), "a state per aggregate");
    debug_assert_eq!(contributions.len(), plan.aggregates.len(), "a contribution per aggregate");
    for ((aggregate, accumulator), contribution) in
        plan.aggregates.iter().zip(accumulators).zip(contributions)
    {
        aggregate.add(accumulator, contribution);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::{Aggregate, AggregateFunction};
    use crate::expression::Expression;
    use crate::plan::WindowSize;
    use crate::value::DataType;

    fn plan() -> TumblePlan {
        let count = Aggregate {
            function: AggregateFunction::Count,
            argument: None,
            argument_type: DataType::BigInt,
        };
        TumblePlan {
            size: WindowSize::new(Duration::from_millis(10)).unwrap(),
            predicate: None,
            keys: vec![(Expression::Column(0), DataType::String)],
            aggregates: vec![count],
            having: None,
            projection: Vec::new(),
        }
    }

    const fn time(millis: i64) -> EventTime {
        EventTime::from_millis(millis)
    }

    #[test]
    fn a_window_closes_at_its_last_millisecond_and_not_before() {
        assert!(!is_closed(time(10), time(8)));
        assert!(is_closed(time(10), time(9)));
    }

    #[test]
    fn groups_come_out_by_end_then_key() {
        let mut windows = Windows::new(1);
        for (end, key) in [(20, "a"), (10, "b"), (10, "a"), (10, "b")] {
            windows.add(&plan(), time(end), &[Value::text(key)], 10).unwrap();
        }

        let (end, groups) = windows.pop_due(time(9)).unwrap();

        let counted: Vec<_> =
            groups.iter().map(|(keys, counts)| (keys[0].to_string(), counts[0].clone())).collect();
        assert_eq!(end, time(10));
        assert_eq!(
            counted,
            [("a".to_owned(), Accumulator::Count(1)), ("b".to_owned(), Accumulator::Count(2))]
        );
        assert_eq!((windows.len(), windows.pop_due(time(18))), (1, None));
    }

    #[test]
    fn the_last_group_below_the_limit_opens_and_the_next_does_not() {
        let mut windows = Windows::new(1);
        let mut add = |key| windows.add(&plan(), time(10), &[Value::text(key)], 2);

        assert_eq!([add("a"), add("b"), add("c")], [Ok(()), Ok(()), Err(AddError::Full)]);
        assert_eq!(add("a"), Ok(()), "an open group still takes rows");
    }
}
