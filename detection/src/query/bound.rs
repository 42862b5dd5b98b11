//! Relations with the names their columns have in SQL.

use std::sync::Arc;

use crate::expression::{Columns, Expression, Named, Typed};
use crate::query::conjunct;
use crate::query::rank::{self, Ranked};
use crate::relation::{Changes, Field, Join, Operator, Relation, WindowColumns};
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

/// Rows for which the predicate holds. A condition on rows is put before their windows, so that
/// fewer rows are assigned to them.
pub(super) fn filter(input: Relation, predicate: Expression) -> Relation {
    let Relation { operator, columns, event_time, window, changes, upsert_key } = input;
    match operator {
        Operator::Window { input: rows, window: windows }
            if predicate.columns().iter().all(|column| *column < rows.columns.len()) =>
        {
            let rows = Box::new(filter(*rows, predicate));
            let operator = Operator::Window { input: rows, window: windows };
            Relation { operator, columns, event_time, window, changes, upsert_key }
        }
        Operator::Join(plan) if plan.is_looked_up() => {
            let (join, rest) = below(*plan, predicate);
            let operator = Operator::Join(Box::new(join));
            let joined = Relation { operator, columns, event_time, window, changes, upsert_key };
            match rest {
                Some(rest) => above(joined, rest),
                None => joined,
            }
        }
        operator => {
            let input = Relation { operator, columns, event_time, window, changes, upsert_key };
            above(input, predicate)
        }
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

/// Puts conditions on the left side of a lookup before it, so that rows that do not match look
/// nothing up, and says which are left. A row that finds no partner is asked nothing more, so only
/// what has a value for every row is put before the lookup.
fn below(mut plan: Join, predicate: Expression) -> (Join, Option<Expression>) {
    let width = plan.left.columns.len();
    let is_left = |condition: &Expression| {
        condition.is_total() && condition.columns().iter().all(|column| *column < width)
    };
    let (left, rest): (Vec<_>, Vec<_>) = conjunct::split(predicate).into_iter().partition(is_left);
    if let Some(left) = conjunct::join(left) {
        plan.left = filter(plan.left, left);
    }
    (plan, conjunct::join(rest))
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
