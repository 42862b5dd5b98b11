//! Whether more rows can refute a result: a monotone rule may fire for good on partial data.
//!
//! # Source
//! Hellerstein, Alvaro: "Keeping CALM", 2020: what only grows with its input needs no coordination.

use std::fmt;

use crate::expression::Expression;
use crate::expression::tree::Comparison;
use crate::relation::{
    AggregateCall, AggregateKind, Changes, JoinKind, JoinMethod, Operator, Relation, Window,
    WindowKind, Windowing,
};

/// Whether more rows can refute a result of a relation, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Monotony {
    /// A result stands, whatever comes.
    Monotone(&'static str),
    /// A result may be refuted.
    Refutable(&'static str),
}

impl fmt::Display for Monotony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monotone(why) => write!(f, "yes: {why}"),
            Self::Refutable(why) => write!(f, "no: {why}"),
        }
    }
}

impl Monotony {
    /// What a relation's results are.
    pub(crate) fn of(relation: &Relation) -> Self {
        match &relation.operator {
            Operator::Scan(_) => Self::Monotone("each row gives its results for good"),
            Operator::Filter { input, predicate } => Self::of_filter(input, predicate),
            Operator::Project { input, .. } | Operator::Window { input, .. } => Self::of(input),
            Operator::Unnest(plan) => Self::of(&plan.input),
            Operator::Union(inputs) => all(inputs.iter().map(Self::of)),
            Operator::WindowAggregate(plan) if !plan.aggregates.is_empty() => {
                Self::Refutable("the aggregates change with rows that are still to come")
            }
            Operator::GroupAggregate(plan) if !plan.aggregates.is_empty() => {
                Self::Refutable("the aggregates change with rows that are still to come")
            }
            Operator::WindowAggregate(plan) => of_input(&plan.input),
            Operator::GroupAggregate(plan) => of_input(&plan.input),
            Operator::Over(_) => {
                Self::Refutable("a row still to come may stand before one that is out")
            }
            Operator::Deduplicate(_) | Operator::TopN(_) => {
                Self::Refutable("a row still to come may take a rank away")
            }
            Operator::Match(_) => {
                Self::Refutable("a row still to come may stand between the rows of a match")
            }
            Operator::Join(plan) => {
                let own = match (plan.kind, &plan.method) {
                    (_, JoinMethod::Lookup { .. } | JoinMethod::Latest { .. }) => {
                        Self::Refutable("what is found depends on when it is looked up")
                    }
                    (_, JoinMethod::File { .. }) => {
                        Self::Monotone("a file holds all its rows at once")
                    }
                    (_, JoinMethod::Temporal { .. }) => {
                        Self::Refutable("a version still to come may be the one that held")
                    }
                    (JoinKind::Inner | JoinKind::Semi, _) => {
                        Self::Monotone("a pair stays a pair whatever comes")
                    }
                    (JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::Anti, _) => {
                        Self::Refutable("a partner still to come takes back a row without one")
                    }
                };
                all([own, Self::of(&plan.left), Self::of(&plan.right)].into_iter())
            }
        }
    }

    /// A filter over aggregates that only grow, and asks for no more than that they are large.
    fn of_filter(input: &Relation, predicate: &Expression) -> Self {
        let (calls, keys, below) = match &input.operator {
            Operator::WindowAggregate(plan) => {
                if let Windowing::Assign(Window { kind: WindowKind::Session { .. }, .. }) =
                    &plan.windowing
                {
                    return Self::Refutable("a row still to come may join sessions");
                }
                (&plan.aggregates, plan.keys.len() + 3, &plan.input)
            }
            Operator::GroupAggregate(plan) => (&plan.aggregates, plan.keys.len(), &plan.input),
            _ => return Self::of(input),
        };
        if of_input(below).is_refutable() {
            return of_input(below);
        }
        if only_grows(predicate, calls, keys) {
            Self::Monotone("HAVING asks that aggregates pass bounds which more rows do not undo")
        } else {
            Self::Refutable("HAVING may turn false with rows that are still to come")
        }
    }

    const fn is_refutable(self) -> bool {
        match self {
            Self::Monotone(_) => false,
            Self::Refutable(_) => true,
        }
    }
}

/// An input whose rows are only added, and each for good.
fn of_input(input: &Relation) -> Monotony {
    match input.changes {
        Changes::Retract => Monotony::Refutable("rows of its input are taken back"),
        Changes::Append => Monotony::of(input),
    }
}

/// The first that is refutable, else the first.
fn all(mut parts: impl Iterator<Item = Monotony>) -> Monotony {
    let Some(first) = parts.next() else { return Monotony::Monotone("it has no rows") };
    if first.is_refutable() {
        return first;
    }
    parts.find(|part| part.is_refutable()).unwrap_or(first)
}

/// Whether a predicate over keys and aggregates, once true, stays true as rows are added.
fn only_grows(predicate: &Expression, calls: &[AggregateCall], keys: usize) -> bool {
    if predicate.columns().iter().all(|column| *column < keys) {
        return true;
    }
    if let Expression::And(parts) | Expression::Or(parts) = predicate {
        return parts.iter().all(|part| only_grows(part, calls, keys));
    }
    let Expression::Compare(comparison, sides) = predicate else { return false };
    let (column, comparison) = match &**sides {
        [Expression::Column(column), Expression::Constant(_)] => (column, *comparison),
        [Expression::Constant(_), Expression::Column(column)] => (column, comparison.mirrored()),
        _ => return false,
    };
    let call = column.checked_sub(keys).and_then(|place| calls.get(place));
    call.is_some_and(|call| passes(call, comparison))
}

/// Whether `aggregate comparison bound`, once true, stays true.
fn passes(call: &AggregateCall, comparison: Comparison) -> bool {
    let rises = match call.function {
        AggregateKind::Count | AggregateKind::Max | AggregateKind::ApproximateDistinct => true,
        AggregateKind::Min => false,
        // Values may be negative, so that a sum may fall again.
        AggregateKind::Sum
        | AggregateKind::Average
        | AggregateKind::FirstValue
        | AggregateKind::LastValue
        | AggregateKind::Spread(_)
        | AggregateKind::ListAggregate
        | AggregateKind::Collect
        | AggregateKind::ApproximateQuantile(_)
        | AggregateKind::ApproximateTop(_) => return false,
    };
    match comparison {
        Comparison::Greater | Comparison::GreaterOrEqual => rises,
        Comparison::Less | Comparison::LessOrEqual => !rises,
        Comparison::Equal | Comparison::NotEqual => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    const TABLE: &str = "CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) \
                         WITH ('topic' = 't');\n";

    fn of(query: &str) -> bool {
        let sql = format!("{TABLE}CREATE TABLE n WITH ('topic' = 'n') AS {query}");
        let program = Program::compile("rules.sql", &sql).unwrap();
        !Monotony::of(&program.rules()[0].sink().relation).is_refutable()
    }

    #[test]
    fn bounds_that_aggregates_pass_for_good_are_monotone_and_others_are_not() {
        let group = |having: &str| {
            format!(
                "SELECT k, COUNT(*) AS n, MAX(v) AS m, MIN(v) AS l, SUM(v) AS s FROM t \
                 GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), k HAVING {having}"
            )
        };
        let cases = [
            ("COUNT(*) > 3", true),
            ("3 <= COUNT(*)", true),
            ("COUNT(DISTINCT v) > 3", true),
            ("COUNT(*) > 3 AND k = 'a'", true),
            ("MAX(v) > 3 OR MIN(v) < 3", true),
            ("COUNT(*) < 3", false),
            ("COUNT(*) = 3", false),
            ("MIN(v) > 3", false),
            ("SUM(v) > 3", false),
            ("AVG(v) > 3", false),
            ("COUNT(*) > 3 AND AVG(v) > 3", false),
        ];
        for (having, is_monotone) in cases {
            assert_eq!(of(&group(having)), is_monotone, "{having}");
        }
    }

    #[test]
    fn rows_that_only_pass_are_monotone_and_what_waits_for_none_is_not() {
        assert!(of("SELECT k FROM t WHERE v > 3"));
        assert!(of("SELECT DISTINCT k FROM t"));
        assert!(of("SELECT a.k FROM t a JOIN t b ON a.k = b.k"));
        assert!(!of("SELECT a.k FROM t a LEFT JOIN t b ON a.k = b.k"));
        assert!(!of("SELECT k, COUNT(*) AS n FROM t GROUP BY k"));
    }
}
