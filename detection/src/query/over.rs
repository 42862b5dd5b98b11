//! OVER: aggregates over rows up to the current one, and ranks.

use sqlparser::ast::{
    Expr, Function, Ident, NamedWindowDefinition, NamedWindowExpr, OrderByExpr, OrderBySort,
    Select, Value as Literal, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec,
    WindowType,
};
use sqlparser::tokenizer::Location;

use crate::expression::call::{arguments, function_name, plain_argument};
use crate::expression::source_text::{place, quoted};
use crate::expression::{Columns, Compiler, Expression, Scope, Typed};
use crate::query::aggregate;
use crate::query::bound::{data_type, field};
use crate::query::rank::needs_bound;
use crate::relation::{
    Changes, Direction, Frame, Key, Nulls, Operator, Order, Over, OverCall, RankKind, Relation,
};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::interval;
use crate::value::{DataType, Value};

const FRAMES: &str = "ROWS or RANGE BETWEEN … PRECEDING AND CURRENT ROW";

/// Most rows before the current one that a frame keeps.
const ROWS_LIMIT: u64 = 1_000_000;

/// What stands behind OVER, compiled.
#[derive(Debug, Clone, PartialEq)]
struct Specification {
    partition: Vec<Key>,
    order: Vec<Order>,
    /// None when OVER does not say.
    frame: Option<Frame>,
}

/// The columns behind OVER: the rows', and calls as they are met.
pub(super) struct OverScope<'a> {
    rows: Columns,
    input: &'a Relation,
    select: &'a Select,
    specification: Option<Specification>,
    calls: Vec<OverCall>,
    types: Vec<DataType>,
    /// The call that ranks, if one does.
    rank: Option<(RankKind, String, Location)>,
    at: Location,
}

/// What OVER made of the rows.
pub(super) enum Overed {
    /// No call of SELECT has OVER.
    Plain,
    /// Calls over frames.
    Over(Box<Relation>),
    /// One rank, which an outer WHERE may bound.
    Ranked {
        partition: Vec<Key>,
        order: Vec<Order>,
        kind: RankKind,
        /// The rank over frames; none when only a bound makes it one.
        relation: Result<Box<Relation>, Fault>,
    },
}

impl<'a> OverScope<'a> {
    pub(super) const fn new(
        rows: Columns,
        input: &'a Relation,
        select: &'a Select,
        at: Location,
    ) -> Self {
        Self {
            rows,
            input,
            select,
            specification: None,
            calls: Vec::new(),
            types: Vec::new(),
            rank: None,
            at,
        }
    }

    /// What the calls that were met make of the rows.
    pub(super) fn finish(self) -> Result<Overed, Fault> {
        let Self { rows: _, input, select: _, specification, calls, types, rank, at } = self;
        let Some(Specification { partition, order, frame }) = specification else {
            return Ok(Overed::Plain);
        };
        let time = ascending_time(&order, input);
        let rank_at = rank.as_ref().map_or(at, |(_, _, at)| *at);
        let relation = match time {
            Some(time) if input.changes == Changes::Append => {
                let frame = frame.unwrap_or(Frame::Range(None));
                let mut columns = input.columns.clone();
                columns.extend(types.into_iter().map(|data_type| field("", data_type)));
                Ok(Box::new(Relation {
                    columns,
                    event_time: input.event_time,
                    window: input.window,
                    changes: Changes::Append,
                    upsert_key: input.upsert_key.clone(),
                    operator: Operator::Over(Box::new(Over {
                        input: input.clone(),
                        partition: partition.clone(),
                        time,
                        frame,
                        calls: calls.clone(),
                    })),
                }))
            }
            Some(_) | None => Err(unordered(input, rank_at)),
        };
        match rank {
            // A rank beside other calls is computed with them.
            Some((kind, name, at)) if calls.len() == 1 => {
                let relation = relation.map_err(|_| needs_bound(&name, at));
                Ok(Overed::Ranked { partition, order, kind, relation })
            }
            Some(_) | None => relation.map(Overed::Over),
        }
    }

    fn call(
        &mut self,
        function: &Function,
        over: &WindowType,
        at: Location,
    ) -> Result<Typed, Fault> {
        let specification = self.specification(over, at)?;
        match &self.specification {
            Some(known) if *known != specification => {
                let supported = "one window for all calls of a SELECT, as in Flink";
                let reason = SqlErrorReason::unsupported("a second window of OVER", supported);
                return Err(Fault::new(at, reason));
            }
            _ => self.specification = Some(specification),
        }
        let name = function_name(function);
        let kind = match name.as_str() {
            "ROW_NUMBER" => Some(RankKind::RowNumber),
            "RANK" => Some(RankKind::Rank),
            "DENSE_RANK" => Some(RankKind::DenseRank),
            _ => None,
        };
        let (call, result) = match (kind, name.as_str()) {
            (Some(kind), _) => {
                self.rank = Some((kind, name, at));
                let call = match kind {
                    RankKind::RowNumber => OverCall::RowNumber,
                    RankKind::Rank => OverCall::Rank,
                    RankKind::DenseRank => OverCall::DenseRank,
                };
                (call, DataType::BigInt)
            }
            (None, "LAG") => self.lag(function, at)?,
            (None, _) => {
                let Some(call) = aggregate::compile(function, &self.rows, at)? else {
                    let known = ["ROW_NUMBER", "RANK", "DENSE_RANK", "LAG"].into_iter();
                    let known = known.chain(crate::expression::aggregate::NAMES);
                    let hint = Hint::new(&name, known);
                    return Err(Fault::new(at, SqlErrorReason::UnknownFunction { name, hint }));
                };
                let result = call.result_type.clone();
                (OverCall::Aggregate(call), result)
            }
        };
        let known = self.calls.iter().position(|known| *known == call);
        let index = known.unwrap_or_else(|| {
            self.calls.push(call);
            self.types.push(result.clone());
            self.calls.len() - 1
        });
        Ok(Typed::new(Expression::Column(self.input.columns.len() + index), result))
    }

    /// `LAG(value [, offset [, default]])`.
    fn lag(&self, function: &Function, at: Location) -> Result<(OverCall, DataType), Fault> {
        let mut plain = function.clone();
        plain.over = None;
        let given = arguments(&plain, at)?.iter().map(plain_argument).collect::<Option<Vec<_>>>();
        let Some(([value, rest @ ..], 0..=2)) =
            given.as_deref().map(|given| (given, given.len().saturating_sub(1)))
        else {
            let subject = "the number of arguments of LAG";
            let reason = SqlErrorReason::mismatch(subject, quoted(function), "1 to 3");
            return Err(Fault::new(at, reason));
        };
        let mut rows = self.rows.clone();
        let value = Compiler::new(&mut rows, at).compile(value)?;
        let data_type = data_type(&value);
        let offset = match rest.first() {
            None => 1,
            Some(sql) => count(sql, "the offset of LAG", at)?,
        };
        let default = match rest.get(1) {
            None => Expression::Constant(Value::Null),
            Some(sql) => {
                Compiler::new(&mut rows, at).fitted(sql, &data_type, "the default of LAG")?
            }
        };
        let call = OverCall::Lag {
            value: value.expression,
            offset,
            default,
            data_type: data_type.clone(),
        };
        Ok((call, data_type))
    }

    fn specification(&self, over: &WindowType, at: Location) -> Result<Specification, Fault> {
        let specification = match over {
            WindowType::WindowSpec(specification) => specification,
            WindowType::NamedWindow(name) => self.named(name)?,
        };
        let WindowSpec { window_name, partition_by, order_by, window_frame } = specification;
        if let Some(name) = window_name {
            let supported = "OVER name and OVER (PARTITION BY … ORDER BY …)";
            let reason = SqlErrorReason::unsupported("a window made of another", supported);
            return Err(Fault::new(name.span.start, reason));
        }
        let mut rows = self.rows.clone();
        let partition = partition_by.iter().map(|sql| {
            let typed = Compiler::new(&mut rows, at).compile(sql)?;
            Ok(Key { data_type: data_type(&typed), expression: typed.expression })
        });
        let partition = partition.collect::<Result<Vec<_>, Fault>>()?;
        let order = order_by.iter().map(|one| order(one, &mut rows, at));
        let order = order.collect::<Result<Vec<_>, _>>()?;
        let frame = window_frame.as_ref().map(|given| frame(given, at)).transpose()?;
        Ok(Specification { partition, order, frame })
    }

    fn named(&self, name: &Ident) -> Result<&'a WindowSpec, Fault> {
        let windows = &self.select.named_window;
        let found =
            windows.iter().find(|NamedWindowDefinition(known, _)| known.value == name.value);
        match found {
            Some(NamedWindowDefinition(_, NamedWindowExpr::WindowSpec(specification))) => {
                Ok(specification)
            }
            Some(_) => {
                let supported = "WINDOW name AS (PARTITION BY … ORDER BY …)";
                let reason = SqlErrorReason::unsupported("a window made of another", supported);
                Err(Fault::new(name.span.start, reason))
            }
            None => {
                let known = windows.iter().map(|NamedWindowDefinition(name, _)| &*name.value);
                let hint = Hint::new(&name.value, known);
                let reason = SqlErrorReason::UnknownWindow { name: name.value.clone(), hint };
                Err(Fault::new(name.span.start, reason))
            }
        }
    }
}

impl Scope for OverScope<'_> {
    fn whole(&mut self, sql: &Expr) -> Result<Option<Typed>, Fault> {
        match sql {
            Expr::Function(function) => match &function.over {
                Some(over) => self.call(function, over, place(sql, self.at)).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault> {
        self.rows.column(qualifier, name)
    }
}

fn unordered(input: &Relation, at: Location) -> Fault {
    if input.changes == Changes::Retract {
        let supported = "OVER rows that are never taken back";
        let reason = SqlErrorReason::unsupported("OVER rows that are updated", supported);
        return Fault::new(at, reason);
    }
    let time = input.event_time.and_then(|index| input.columns.get(index));
    let subject = "OVER".to_owned();
    let missing = match time {
        Some(time) => format!("ORDER BY {}, the event time", time.name),
        None => "rows with an event time to ORDER BY".to_owned(),
    };
    Fault::new(at, SqlErrorReason::Missing { subject, missing })
}

/// The column of event time when it alone orders, ascending.
fn ascending_time(order: &[Order], input: &Relation) -> Option<usize> {
    match order {
        [
            Order {
                expression: Expression::Column(column), direction: Direction::Ascending, ..
            },
        ] if input.event_time == Some(*column) => Some(*column),
        _ => None,
    }
}

fn order(sql: &OrderByExpr, rows: &mut Columns, at: Location) -> Result<Order, Fault> {
    let expression = Compiler::new(rows, at).compile(&sql.expr)?.expression;
    let direction = match sql.options.sort {
        None | Some(OrderBySort::Asc) => Direction::Ascending,
        Some(OrderBySort::Desc) => Direction::Descending,
        Some(OrderBySort::Using(_)) => {
            let reason = SqlErrorReason::unsupported(quoted(sql), "ASC and DESC");
            return Err(Fault::new(place(&sql.expr, at), reason));
        }
    };
    let nulls = match (sql.options.nulls_first, direction) {
        (Some(true), _) | (None, Direction::Ascending) => Nulls::First,
        (Some(false), _) | (None, Direction::Descending) => Nulls::Last,
    };
    Ok(Order { expression, direction, nulls })
}

fn frame(frame: &WindowFrame, at: Location) -> Result<Frame, Fault> {
    let refused = || Fault::new(at, SqlErrorReason::unsupported("this frame", FRAMES));
    if !matches!(frame.end_bound, None | Some(WindowFrameBound::CurrentRow)) {
        return Err(refused());
    }
    match (frame.units, &frame.start_bound) {
        (WindowFrameUnits::Rows, WindowFrameBound::CurrentRow) => Ok(Frame::Rows(Some(0))),
        (WindowFrameUnits::Range, WindowFrameBound::CurrentRow) => Ok(Frame::Range(Some(0))),
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(None)) => Ok(Frame::Rows(None)),
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(None)) => Ok(Frame::Range(None)),
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(Some(rows))) => {
            count(rows, "the number of rows of a frame", at).map(|rows| Frame::Rows(Some(rows)))
        }
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(Some(length))) => {
            let length_at = place(length, at);
            let duration = interval::duration(length, "the length of a frame", length_at)?;
            i64::try_from(duration.as_millis())
                .map(|millis| Frame::Range(Some(millis)))
                .map_err(|_| refused())
        }
        (WindowFrameUnits::Groups, _) | (_, WindowFrameBound::Following(_)) => Err(refused()),
    }
}

fn count(sql: &Expr, subject: &str, at: Location) -> Result<u64, Fault> {
    let number = match sql {
        Expr::Value(value) => match &value.value {
            Literal::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    number.filter(|number| *number <= ROWS_LIMIT).ok_or_else(|| {
        let expected = format!("a whole number up to {ROWS_LIMIT}");
        Fault::new(place(sql, at), SqlErrorReason::mismatch(subject, quoted(sql), expected))
    })
}
