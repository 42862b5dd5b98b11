//! Columns that say when a row arrived: what Flink calls processing time, but the same when a log
//! is read again.

use crate::expression::Expression;
use crate::program::Catalog;
use crate::relation::{Operator, Relation};
use crate::table::metadata::Metadata;

/// Whether a column of a relation is that of a table's `METADATA FROM 'timestamp'`, unchanged.
pub(super) fn is_of(relation: &Relation, column: usize, catalog: &Catalog) -> bool {
    match &relation.operator {
        Operator::Scan(table) => catalog
            .table(*table)
            .is_some_and(|table| table.metadata().contains(&(column, Metadata::Timestamp))),
        Operator::Filter { input, .. } => is_of(input, column, catalog),
        Operator::Window { input, .. } => is_of(input, column, catalog),
        Operator::Project { input, expressions } => match expressions.get(column) {
            Some(Expression::Column(column)) => is_of(input, *column, catalog),
            _ => false,
        },
        Operator::Union(inputs) => inputs.iter().all(|input| is_of(input, column, catalog)),
        Operator::Join(plan) => {
            column < plan.left.columns.len() && is_of(&plan.left, column, catalog)
        }
        Operator::WindowAggregate(_)
        | Operator::GroupAggregate(_)
        | Operator::Over(_)
        | Operator::Deduplicate(_)
        | Operator::TopN(_)
        | Operator::Match(_)
        | Operator::Unnest(_) => false,
    }
}
