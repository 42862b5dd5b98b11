//! Relations with the names their columns have in SQL.

use std::sync::Arc;

use crate::expression::{Columns, Expression, Named, Typed};
use crate::query::conjunct;
use crate::query::rank::{self, Ranked};
use crate::relation::{
    Changes, Field, Join, Operator, Relation, Window, WindowColumns, WindowKind,
};
use crate::value::DataType;

/// The name of a column that no SQL can name.
pub(super) const HIDDEN: &str = "";

/// A relation, and what its columns are called where it stands.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) relation: Relation,
    /// Per column the table's name or alias.
    pub(super) qualifiers: Vec<Option<Arc<str>>>,
    /// Whether a column is a rank, which a condition may bound.
    pub(super) ranked: Option<Box<Ranked>>,
    /// The column that is a whole window, of type ROW.
    pub(super) window_row: Option<usize>,
}

impl Bound {
    /// A relation whose columns stand under one name.
    pub(super) fn named(relation: Relation, name: Option<&str>) -> Self {
        let name: Option<Arc<str>> = name.map(Arc::from);
        let qualifiers = vec![name; relation.columns.len()];
        Self { relation, qualifiers, ranked: None, window_row: None }
    }

    /// The same relation under another name.
    pub(super) fn renamed(mut self, name: &str) -> Self {
        let name: Arc<str> = Arc::from(name);
        self.qualifiers.iter_mut().for_each(|qualifier| *qualifier = Some(Arc::clone(&name)));
        self
    }

    /// What names mean over its rows.
    pub(super) fn scope(&self) -> Columns {
        let fields = self.relation.columns.iter().zip(&self.qualifiers);
        let columns = fields.map(|(field, qualifier)| Named {
            qualifier: qualifier.clone(),
            name: Arc::clone(&field.name),
            data_type: field.data_type.clone(),
        });
        Columns(columns.collect())
    }

    /// The same names over another relation with the same columns.
    pub(super) fn over(self, relation: Relation) -> Self {
        debug_assert_eq!(relation.columns.len(), self.qualifiers.len(), "the columns stay");
        Self { relation, ranked: None, ..self }
    }
}

/// A column of a relation.
pub(super) fn field(name: &str, data_type: DataType) -> Field {
    Field { name: Arc::from(name), data_type }
}

/// The type of a value whose type nothing says: a bare NULL.
pub(super) fn data_type(typed: &Typed) -> DataType {
    typed.data_type.clone().unwrap_or(DataType::String)
}

/// Rows for which the predicate holds. A condition on rows is put before their windows and before
/// what they look up, so that fewer are assigned and looked up, where that changes no answer.
pub(super) fn filter(input: Relation, predicate: Expression) -> Relation {
    let Relation { operator, columns, event_time, window, changes, upsert_key } = input;
    let (operator, rest) = match operator {
        Operator::Window { input: rows, window: windows } => {
            let (below, rest) = before_windows(&windows, rows.columns.len(), predicate);
            let rows = Box::new(filtered(*rows, below));
            (Operator::Window { input: rows, window: windows }, rest)
        }
        Operator::Join(plan) if plan.is_looked_up() => {
            let (join, rest) = below(*plan, predicate);
            (Operator::Join(Box::new(join)), rest)
        }
        operator => (operator, Some(predicate)),
    };
    let input = Relation { operator, columns, event_time, window, changes, upsert_key };
    match rest {
        Some(rest) => above(input, rest),
        None => input,
    }
}

fn filtered(input: Relation, predicate: Option<Expression>) -> Relation {
    match predicate {
        Some(predicate) => filter(input, predicate),
        None => input,
    }
}

fn above(input: Relation, predicate: Expression) -> Relation {
    Relation {
        columns: input.columns.clone(),
        event_time: input.event_time,
        window: input.window,
        changes: input.changes,
        upsert_key: input.upsert_key.clone(),
        operator: Operator::Filter { input: Box::new(input), predicate },
    }
}

/// What is asked before rows are assigned to windows, and what behind it. Each row that comes makes
/// sessions longer or joins them, whether it passes or not: only a condition on the columns by
/// which sessions are apart leaves those of the rows that pass as they are.
fn before_windows(
    windows: &Window,
    width: usize,
    predicate: Expression,
) -> (Option<Expression>, Option<Expression>) {
    let is_of = |condition: &Expression, is_there: &dyn Fn(usize) -> bool| {
        condition.columns().into_iter().all(is_there)
    };
    match windows.kind {
        WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => {
            if is_of(&predicate, &|column| column < width) {
                (Some(predicate), None)
            } else {
                (None, Some(predicate))
            }
        }
        WindowKind::Session { .. } => divided(predicate, |condition| {
            condition.is_total() && is_of(condition, &|column| windows.partition.contains(&column))
        }),
    }
}

/// Puts conditions on the left side of a lookup before it, so that rows that do not match look
/// nothing up, and says which are left. A row that finds no partner is asked nothing more, so only
/// what has a value for every row is put before the lookup.
fn below(mut plan: Join, predicate: Expression) -> (Join, Option<Expression>) {
    let width = plan.left.columns.len();
    let (left, rest) = divided(predicate, |condition| {
        condition.is_total() && condition.columns().iter().all(|column| *column < width)
    });
    plan.left = filtered(plan.left, left);
    (plan, rest)
}

/// Conditions that are put below an operator, and those that stay above it.
fn divided(
    predicate: Expression,
    is_below: impl Fn(&Expression) -> bool,
) -> (Option<Expression>, Option<Expression>) {
    let (below, above): (Vec<_>, Vec<_>) =
        conjunct::split(predicate).into_iter().partition(is_below);
    (conjunct::join(below), conjunct::join(above))
}

/// One expression per column; what still names event time, window and key is kept.
pub(super) fn project(input: Relation, items: Vec<(Field, Expression)>) -> Relation {
    let (input, items) = flattened(input, items);
    let input = rank::without_unused_rank(input, &items);
    let (columns, expressions): (Vec<_>, Vec<_>) = items.into_iter().unzip();
    let place = |column: usize| {
        expressions.iter().position(|expression| *expression == Expression::Column(column))
    };
    let event_time = input.event_time.and_then(place);
    let window = input.window.and_then(|window| {
        Some(WindowColumns { start: place(window.start)?, end: place(window.end)? })
    });
    let upsert_key = input
        .upsert_key
        .as_ref()
        .and_then(|key| key.iter().map(|column| place(*column)).collect::<Option<Vec<_>>>());
    Relation {
        event_time,
        window,
        changes: input.changes,
        upsert_key,
        columns,
        operator: Operator::Project { input: Box::new(input), expressions },
    }
}

/// A projection that only picks columns is taken over, so that what nobody uses is seen.
fn flattened(
    input: Relation,
    items: Vec<(Field, Expression)>,
) -> (Relation, Vec<(Field, Expression)>) {
    match input.operator {
        Operator::Project { input: inner, expressions }
            if expressions
                .iter()
                .all(|one| matches!(one, Expression::Column(_) | Expression::Constant(_))) =>
        {
            let items = items.into_iter().map(|(field, one)| (field, one.over(&expressions)));
            (*inner, items.collect())
        }
        operator => (Relation { operator, ..input }, items),
    }
}

/// Columns of the same types under a relation whose types are to be others.
pub(super) fn cast_all(input: Relation, wanted: &[Field]) -> Relation {
    let is_same = input
        .columns
        .iter()
        .zip(wanted)
        .all(|(own, wanted)| own.data_type == wanted.data_type && own.name == wanted.name);
    if is_same {
        return input;
    }
    let items = input.columns.iter().zip(wanted).enumerate().map(|(index, (own, wanted))| {
        let column = Expression::Column(index);
        let expression = if own.data_type == wanted.data_type {
            column
        } else {
            Expression::cast(column, own.data_type.clone(), wanted.data_type.clone())
        };
        (wanted.clone(), expression)
    });
    let items = items.collect();
    project(input, items)
}

/// The greater of two kinds of change.
pub(super) fn changes(left: &Relation, right: &Relation) -> Changes {
    left.changes.max(right.changes)
}

/// The type of a column that is a whole window.
pub(super) fn window_row_type() -> DataType {
    use crate::value::Column;
    let columns = ["start", "end"].map(|name| Column::new(name, DataType::Timestamp));
    DataType::Row(Arc::from(columns))
}
