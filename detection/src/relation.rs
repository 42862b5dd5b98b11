//! Relations: what a query computes, as a tree of typed relational operators.
//!
//! The front end (`sql`, `query`, `expression`) makes them and the engine runs them. Names are
//! resolved, types checked, implicit casts inserted: an expression addresses columns of its input
//! by index, so that an operator needs no schema to run.
//!
//! Every operator says which columns it gives out in the field [`Relation::columns`]; operators
//! that append columns (windows, OVER, ranks) put them behind their input's. Rows carry a
//! [`Change`](crate::output::Change): operators above a retracting one must take all four kinds.

use std::sync::Arc;

use crate::expression::Expression;
use crate::table::TableId;
use crate::value::DataType;

/// Which relations are results of windows.
mod windowed;

/// An operator over its inputs, and what comes out of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relation {
    pub(crate) operator: Operator,
    /// Names may repeat, for example behind a join; the front end tells them apart by qualifier.
    pub(crate) columns: Vec<Field>,
    /// The column of event time; none once an operator has lost the order of time. Watermarks
    /// pass every operator; those with two inputs hold the lesser one.
    pub(crate) event_time: Option<usize>,
    /// The columns of a window, behind a windowing function or an operator over one.
    pub(crate) window: Option<WindowColumns>,
    /// Whether rows are taken back.
    pub(crate) changes: Changes,
    /// Columns by which a later row replaces an earlier one; none when rows have no identity.
    pub(crate) upsert_key: Option<Vec<usize>>,
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) data_type: DataType,
}

/// Where the columns of a window stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowColumns {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Whether an operator only adds rows or also takes them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changes {
    /// `+I` only.
    Append,
    /// `+I`, `-U`, `+U`, `-D`: `-U` and `-D` carry the whole old row.
    Retract,
}

/// A relational operator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operator {
    /// Rows of a source table with computed columns filled in, and its watermark.
    Scan(TableId),
    /// Rows for which the predicate is true.
    Filter { input: Box<Relation>, predicate: Expression },
    /// One expression per column.
    Project { input: Box<Relation>, expressions: Vec<Expression> },
    /// UNION ALL: columns of all inputs agree in number and type.
    Union(Vec<Relation>),
    /// A windowing table function: each row once per window that holds it, with `window_start`,
    /// `window_end` and `window_time` (end less one millisecond) appended. Stateless for all but
    /// sessions.
    Window { input: Box<Relation>, window: Window },
    /// Aggregates per window and keys, once the watermark closes the window. Columns: keys,
    /// `window_start`, `window_end`, `window_time`, aggregates.
    WindowAggregate(Box<WindowAggregate>),
    /// Aggregates per keys over all rows so far, with updates. Columns: keys, aggregates.
    GroupAggregate(Box<GroupAggregate>),
    /// OVER: appends one column per call.
    Over(Box<Over>),
    /// Keeps the first or last row per keys.
    Deduplicate(Box<Deduplicate>),
    /// Keeps rows whose rank is within bounds.
    TopN(Box<TopN>),
    /// Two inputs: columns of the left, then of the right; of the left alone for semi and anti.
    Join(Box<Join>),
    /// MATCH_RECOGNIZE. Columns: partition columns, then measures.
    Match(Box<Match>),
    /// `CROSS JOIN UNNEST(…)`: each row once per element, whose columns are appended.
    Unnest(Box<Unnest>),
}

/// `CROSS JOIN UNNEST(collection) [WITH ORDINALITY]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unnest {
    pub(crate) input: Relation,
    /// An ARRAY or MAP over the input's row.
    pub(crate) collection: Expression,
    pub(crate) elements: Elements,
    pub(crate) ordinal: Ordinal,
    pub(crate) when_empty: WhenEmpty,
}

/// What columns an element of a collection becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    /// One: the value.
    Values,
    /// One per field of a ROW, as many as stated.
    Fields(usize),
    /// Key and value of a MAP.
    Entries,
}

/// Whether the place of an element, from 1, is a column behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordinal {
    Appended,
    Left,
}

/// What becomes of a row whose collection is NULL or has no element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenEmpty {
    /// CROSS JOIN: nothing.
    Dropped,
    /// LEFT JOIN: it comes out once, with NULLs.
    Kept,
}

/// How rows are assigned to windows by event time. All in milliseconds; the epoch plus `offset`
/// is the start of a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    /// The column of event time.
    pub(crate) time: usize,
    pub(crate) kind: WindowKind,
    /// Columns that sessions are apart by; for other kinds it does not matter.
    pub(crate) partition: Vec<usize>,
}

/// The shape of windows. Lengths are positive milliseconds, checked by the front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Tumble {
        size: i64,
        offset: i64,
    },
    /// `size` need not be a multiple of `slide` in the group form; in the function form it is.
    Hop {
        size: i64,
        slide: i64,
        offset: i64,
    },
    /// `size` is a multiple of `step`.
    Cumulate {
        size: i64,
        step: i64,
        offset: i64,
    },
    Session {
        gap: i64,
    },
}

/// Where a window aggregate takes its windows from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Windowing {
    /// Assigns rows itself, so that panes can stand for rows.
    Assign(Window),
    /// The input has the columns of a window, for example a window join.
    Attached(WindowColumns),
}

/// `GROUP BY window_start, window_end, keys`, or a group window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowAggregate {
    pub(crate) input: Relation,
    pub(crate) windowing: Windowing,
    pub(crate) keys: Vec<Key>,
    pub(crate) aggregates: Vec<AggregateCall>,
}

/// `GROUP BY keys`, or DISTINCT (no aggregates).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupAggregate {
    pub(crate) input: Relation,
    /// Empty for one group over everything.
    pub(crate) keys: Vec<Key>,
    pub(crate) aggregates: Vec<AggregateCall>,
}

/// A key of a group over the input's row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) expression: Expression,
    pub(crate) data_type: DataType,
}

/// A call of an aggregate function over the input's row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AggregateCall {
    pub(crate) function: AggregateKind,
    /// Cast to the type the function takes; empty for `COUNT(*)`.
    pub(crate) arguments: Vec<Key>,
    /// Whether equal arguments count once.
    pub(crate) is_distinct: bool,
    /// `FILTER (WHERE …)`: rows for which it is not true are left out.
    pub(crate) filter: Option<Expression>,
    pub(crate) result_type: DataType,
}

/// Aggregate functions. NULL arguments are left out unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AggregateKind {
    Count,
    /// `SUM`: the argument's type, wrapping; DECIMAL(38, s) for decimals, NULL when it overflows.
    Sum,
    /// `AVG`: of integers an integer cut towards zero.
    Average,
    Min,
    Max,
    FirstValue,
    LastValue,
    /// `STDDEV_POP`, `VAR_SAMP` and so on over DOUBLE.
    Spread(Spread),
    /// `LISTAGG(text, separator)`.
    ListAggregate,
    /// `COLLECT` and `ARRAY_AGG`; the latter keeps NULL.
    Collect,
    /// `APPROX_COUNT_DISTINCT`: HyperLogLog.
    ApproximateDistinct,
    /// `APPROX_QUANTILE(value, quantile)`: the second argument is constant.
    ApproximateQuantile(f64),
    /// `APPROX_TOP_K(value, k)`: the second argument is constant.
    ApproximateTop(u32),
}

/// Which spread of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    DeviationPopulation,
    DeviationSample,
    VariancePopulation,
    VarianceSample,
}

/// `call OVER (PARTITION BY … ORDER BY time frame)`, all calls with one frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Over {
    pub(crate) input: Relation,
    pub(crate) partition: Vec<Key>,
    /// The column of event time; rows are computed once the watermark reaches them.
    pub(crate) time: usize,
    pub(crate) frame: Frame,
    pub(crate) calls: Vec<OverCall>,
}

/// Which rows up to the current one a call sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// `ROWS BETWEEN n PRECEDING AND CURRENT ROW`; none is UNBOUNDED.
    Rows(Option<u64>),
    /// `RANGE BETWEEN INTERVAL … PRECEDING AND CURRENT ROW` in milliseconds; none is UNBOUNDED.
    /// Rows of equal time see each other.
    Range(Option<i64>),
}

/// A function over a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OverCall {
    Aggregate(AggregateCall),
    RowNumber,
    Rank,
    DenseRank,
    /// `LAG(value, offset, default)`: looks back over the partition whatever the frame.
    Lag {
        value: Expression,
        offset: u64,
        default: Expression,
        data_type: DataType,
    },
}

/// `ROW_NUMBER() … = 1` by time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Deduplicate {
    pub(crate) input: Relation,
    pub(crate) keys: Vec<Key>,
    pub(crate) time: usize,
    pub(crate) keep: Keep,
    /// Whether the windows' columns are among the keys: then rows come out when windows close.
    pub(crate) window: Option<WindowColumns>,
}

/// Which row of a key stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// `ORDER BY time ASC`: an earlier row that comes later replaces it.
    First,
    /// `ORDER BY time DESC`.
    Last,
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) … <= n`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopN {
    pub(crate) input: Relation,
    pub(crate) partition: Vec<Key>,
    pub(crate) order: Vec<Order>,
    pub(crate) rank: RankKind,
    /// The first and last rank that stay, from 1.
    pub(crate) range: (u64, u64),
    /// Whether the rank is appended as a BIGINT column.
    pub(crate) rank_column: RankColumn,
    /// Whether the windows' columns are among the partition: then rows come out when windows
    /// close, and only then.
    pub(crate) window: Option<WindowColumns>,
}

/// How rows of equal order are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RankKind {
    RowNumber,
    Rank,
    DenseRank,
}

/// Whether the rank is a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RankColumn {
    Appended,
    Left,
}

/// A key of an order. Flink's default: NULL is first ascending and last descending.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) expression: Expression,
    pub(crate) direction: Direction,
    pub(crate) nulls: Nulls,
}

/// Which end of an order comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// Where NULLs stand in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    First,
    Last,
}

/// A join.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Join {
    pub(crate) left: Relation,
    pub(crate) right: Relation,
    pub(crate) kind: JoinKind,
    /// Pairs of equal keys: over the left row, over the right row, of one type; NULL equals
    /// nothing.
    pub(crate) keys: Vec<(Expression, Expression)>,
    /// What else must hold, over left columns then right columns.
    pub(crate) condition: Option<Expression>,
    pub(crate) method: JoinMethod,
}

impl Join {
    /// Whether each left row looks for its partners when it comes, and only left rows come out
    /// without one.
    pub(crate) const fn is_looked_up(&self) -> bool {
        match self.method {
            JoinMethod::Lookup { .. } | JoinMethod::File { .. } | JoinMethod::Latest { .. } => true,
            JoinMethod::Regular
            | JoinMethod::Interval { .. }
            | JoinMethod::Window { .. }
            | JoinMethod::Temporal { .. } => false,
        }
    }
}

impl Join {
    /// The columns that tell the rows apart that one row finds in a file: none when it finds one at
    /// most, because the file's primary key is among the keys.
    pub(crate) fn among_matches(&self) -> Vec<usize> {
        if !matches!(self.method, JoinMethod::File { .. }) {
            return Vec::new();
        }
        let (left, right) = (self.left.columns.len(), self.right.columns.len());
        let is_key = |column: &usize| {
            let wanted = Expression::Column(*column);
            self.keys.iter().any(|(_, key)| *key == wanted)
        };
        match &self.right.upsert_key {
            Some(primary) if primary.iter().all(is_key) => Vec::new(),
            Some(primary) => primary.iter().map(|column| left + column).collect(),
            None => (left..left + right).collect(),
        }
    }
}

/// Which rows without a partner come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Semi,
    Anti,
}

/// What bounds the state of a join.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JoinMethod {
    /// Nothing but the limit of the rule.
    Regular,
    /// `right.time` within `left.time + [lower, upper]` milliseconds.
    Interval { left_time: usize, right_time: usize, lower: i64, upper: i64 },
    /// Windows of both sides are equal.
    Window { left: WindowColumns, right: WindowColumns },
    /// `FOR SYSTEM_TIME AS OF left.time`: the right side's last version at that time, by its
    /// upsert key.
    Temporal { left_time: usize, right_time: usize },
    /// `FOR SYSTEM_TIME AS OF` arrival: an output asks for the key, an input brings the rows. The
    /// right side is a scan of the table.
    Lookup { table: TableId },
    /// As a lookup, in a file that the engine has: the right side is a scan of the table and its
    /// keys are columns.
    File { table: TableId },
    /// The right side's row of the key that came last, in the order in which rows of both sides
    /// come. The right side is a scan of a topic, and its keys are those of its primary key.
    Latest { table: TableId },
}

/// MATCH_RECOGNIZE over rows in the order of event time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    pub(crate) input: Relation,
    pub(crate) partition: Vec<Key>,
    pub(crate) time: usize,
    pub(crate) pattern: Pattern,
    /// Per variable: its condition over the row of its `navigations`, true when it has none.
    pub(crate) variables: Vec<Variable>,
    /// Over the row of `measure_navigations`.
    pub(crate) measures: Vec<Expression>,
    pub(crate) measure_navigations: Vec<Navigation>,
    pub(crate) skip: Skip,
    /// `WITHIN INTERVAL` in milliseconds: last less first must be below it.
    pub(crate) within: Option<i64>,
}

/// A variable of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variable {
    pub(crate) name: Arc<str>,
    pub(crate) condition: Option<Expression>,
    /// The columns of the row that `condition` sees, while the current row counts as this
    /// variable's.
    pub(crate) navigations: Vec<Navigation>,
}

/// A value taken from the rows matched so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Navigation {
    /// Whose rows; none for all rows of the match.
    pub(crate) variable: Option<usize>,
    pub(crate) kind: NavigationKind,
    /// Over the input's row.
    pub(crate) value: Expression,
}

/// Which of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NavigationKind {
    /// `FIRST(x, n)`: the n-th from the first, from 0.
    First(u64),
    /// `LAST(x, n)` and plain `A.x` (n = 0).
    Last(u64),
    /// An aggregate over them; its argument is `value`.
    Aggregate(AggregateCall),
}

/// A pattern of variables.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pattern {
    /// An index into the variables.
    Variable(usize),
    Sequence(Vec<Self>),
    Alternatives(Vec<Self>),
    Repeat {
        pattern: Box<Self>,
        least: u32,
        /// None is unbounded.
        most: Option<u32>,
        greed: Greed,
    },
}

/// Whether a repetition takes as many rows as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greed {
    Greedy,
    Reluctant,
}

/// Where the search goes on behind a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    PastLastRow,
    ToNextRow,
    /// To the first row of a variable.
    ToFirst(usize),
    /// To the last row of a variable.
    ToLast(usize),
}

/// What a rule does with the rows of its relation.
///
/// The relation's first `width` columns are the target table's; behind them stand columns that
/// only the fields below name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sink {
    pub(crate) relation: Relation,
    pub(crate) width: usize,
    /// The columns whose values, joined, are the key of a result; empty when nothing names it.
    pub(crate) key: Vec<usize>,
    pub(crate) window: WindowName,
    /// The column that is the event time of a result; none is its arrival.
    pub(crate) event_time: Option<usize>,
}

/// What names the window of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowName {
    /// A column, as it is shown.
    Column(usize),
    /// The column of a window's end, in milliseconds.
    End(usize),
    /// The offset of the evidence: every result stands alone.
    Evidence,
    /// Nothing, the empty text: all results of a key are revisions of one.
    Whole,
}
