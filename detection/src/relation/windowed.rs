//! Which relations are results of windows whose length is fixed.

use crate::relation::{JoinMethod, Operator, Relation, WindowAggregate, WindowKind, Windowing};
use crate::table::TableId;

impl Relation {
    /// Whether windows may give the results early and change them: nothing but filters and
    /// projections stands above a window that can.
    pub(crate) fn is_of_windows(&self) -> bool {
        self.window_aggregate().is_some()
    }

    /// Whether the results are of windows over single rows, so that a partial result per log of
    /// rows can be kept and merged.
    pub(crate) fn merges_parts(&self) -> bool {
        self.window_aggregate().is_some_and(|plan| plan.input.is_row_by_row())
    }

    /// The table of which the last row is looked up somewhere below, if one is.
    pub(crate) fn last_rows_of(&self) -> Option<TableId> {
        match &self.operator {
            Operator::Scan(_) => None,
            Operator::Filter { input, .. }
            | Operator::Project { input, .. }
            | Operator::Window { input, .. } => input.last_rows_of(),
            Operator::Union(inputs) => inputs.iter().find_map(Self::last_rows_of),
            Operator::WindowAggregate(plan) => plan.input.last_rows_of(),
            Operator::GroupAggregate(plan) => plan.input.last_rows_of(),
            Operator::Over(plan) => plan.input.last_rows_of(),
            Operator::Deduplicate(plan) => plan.input.last_rows_of(),
            Operator::TopN(plan) => plan.input.last_rows_of(),
            Operator::Match(plan) => plan.input.last_rows_of(),
            Operator::Unnest(plan) => plan.input.last_rows_of(),
            Operator::Join(plan) => match plan.method {
                JoinMethod::Latest { table } => Some(table),
                JoinMethod::Regular
                | JoinMethod::Interval { .. }
                | JoinMethod::Window { .. }
                | JoinMethod::Temporal { .. }
                | JoinMethod::Lookup { .. }
                | JoinMethod::File { .. } => {
                    plan.left.last_rows_of().or_else(|| plan.right.last_rows_of())
                }
            },
        }
    }

    fn window_aggregate(&self) -> Option<&WindowAggregate> {
        match &self.operator {
            Operator::Filter { input, .. } | Operator::Project { input, .. } => {
                input.window_aggregate()
            }
            Operator::WindowAggregate(plan) => {
                let has_fixed_length = match &plan.windowing {
                    Windowing::Attached(_) => true,
                    Windowing::Assign(window) => has_fixed_length(window.kind),
                };
                has_fixed_length.then_some(plan)
            }
            Operator::Scan(_)
            | Operator::Union(_)
            | Operator::Window { .. }
            | Operator::GroupAggregate(_)
            | Operator::Over(_)
            | Operator::Deduplicate(_)
            | Operator::TopN(_)
            | Operator::Join(_)
            | Operator::Match(_)
            | Operator::Unnest(_) => None,
        }
    }

    /// Whether each row is made of one row of a table.
    fn is_row_by_row(&self) -> bool {
        match &self.operator {
            Operator::Scan(_) => true,
            Operator::Filter { input, .. } | Operator::Project { input, .. } => {
                input.is_row_by_row()
            }
            Operator::Window { input, window } => {
                has_fixed_length(window.kind) && input.is_row_by_row()
            }
            Operator::Union(inputs) => inputs.iter().all(Self::is_row_by_row),
            // What a file holds is the same for all logs.
            Operator::Join(plan) if matches!(plan.method, JoinMethod::File { .. }) => {
                plan.left.is_row_by_row()
            }
            Operator::WindowAggregate(_)
            | Operator::GroupAggregate(_)
            | Operator::Over(_)
            | Operator::Deduplicate(_)
            | Operator::TopN(_)
            | Operator::Join(_)
            | Operator::Match(_)
            | Operator::Unnest(_) => false,
        }
    }
}

const fn has_fixed_length(kind: WindowKind) -> bool {
    match kind {
        WindowKind::Session { .. } => false,
        WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => true,
    }
}
