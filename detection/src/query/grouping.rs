//! GROUP BY and what may stand behind it.

use sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, Select, SelectItem, Value as Literal, ValueWithSpan,
};
use sqlparser::tokenizer::Location;

use crate::expression::call::function_name;
use crate::expression::source_text::place;
use crate::expression::{Columns, Compiler, Expression, Scope, Typed};
use crate::query::bound::{data_type, field, window_row_type};
use crate::query::{aggregate, window};
use crate::relation::{
    AggregateCall, Changes, Field, GroupAggregate, Key, Operator, Relation, Window,
    WindowAggregate, WindowColumns, Windowing,
};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::DataType;

const GROUPS: &str = "GROUP BY columns, and one window";

/// The columns behind GROUP BY: keys, the window's, and aggregates as they are met.
pub(super) struct GroupScope {
    rows: Columns,
    input: Relation,
    keys: Vec<(Typed, String)>,
    windowing: Option<Windowing>,
    aggregates: Vec<AggregateCall>,
    at: Location,
}

impl GroupScope {
    /// Compiles GROUP BY over rows.
    pub(super) fn compile(
        select: &Select,
        rows: Columns,
        input: Relation,
        at: Location,
    ) -> Result<Self, Fault> {
        let GroupByExpr::Expressions(expressions, modifiers) = &select.group_by else {
            return Err(Fault::new(at, SqlErrorReason::unsupported("GROUP BY ALL", GROUPS)));
        };
        if !modifiers.is_empty() {
            let what = "a modifier of GROUP BY";
            return Err(Fault::new(at, SqlErrorReason::unsupported(what, GROUPS)));
        }
        let mut scope =
            Self { rows, input, keys: Vec::new(), windowing: None, aggregates: Vec::new(), at };
        for expression in expressions {
            let expression = scope.meant(expression, select)?;
            scope.add_key(expression)?;
        }
        scope.take_window(expressions.first().map_or(at, |first| place(first, at)))?;
        Ok(scope)
    }

    /// What a number (the place of a column of SELECT) or an alias in GROUP BY stands for.
    fn meant<'b>(&self, sql: &'b Expr, select: &'b Select) -> Result<&'b Expr, Fault> {
        match sql {
            Expr::Value(ValueWithSpan { value: Literal::Number(digits, _), span }) => {
                let index = digits.parse::<usize>().ok().and_then(|index| index.checked_sub(1));
                let item = index.and_then(|index| select.projection.get(index));
                item.and_then(expression_of).ok_or_else(|| {
                    let expected = format!("1 to {}", select.projection.len());
                    let subject = "the place of a column in GROUP BY";
                    Fault::new(span.start, SqlErrorReason::mismatch(subject, digits, expected))
                })
            }
            Expr::Identifier(name) if self.rows.find(None, name).is_err() => {
                let aliased = select.projection.iter().find_map(|item| match item {
                    SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => {
                        Some(expr)
                    }
                    _ => None,
                });
                Ok(aliased.unwrap_or(sql))
            }
            sql => Ok(sql),
        }
    }

    fn add_key(&mut self, sql: &Expr) -> Result<(), Fault> {
        if let Some(found) = window::group_window(sql, &self.rows, &self.input, self.at)? {
            if self.windowing.is_some() {
                let reason = SqlErrorReason::unsupported("a second window in GROUP BY", GROUPS);
                return Err(Fault::new(place(sql, self.at), reason));
            }
            self.windowing = Some(Windowing::Assign(found));
            return Ok(());
        }
        let key = Compiler::new(&mut self.rows, self.at).compile(sql)?;
        let name = match sql {
            Expr::Identifier(name) => name.value.clone(),
            Expr::CompoundIdentifier(parts) => {
                parts.last().map(|name| name.value.clone()).unwrap_or_default()
            }
            _ => String::new(),
        };
        if !self.keys.iter().any(|(known, _)| *known == key) {
            self.keys.push((key, name));
        }
        Ok(())
    }

    /// When both columns of the rows' window are keys, they are the window.
    fn take_window(&mut self, at: Location) -> Result<(), Fault> {
        let Some(columns) = self.input.window else { return Ok(()) };
        let is = |column: usize| {
            move |(key, _): &(Typed, String)| key.expression == Expression::Column(column)
        };
        let has_start = self.keys.iter().any(is(columns.start));
        let has_end = self.keys.iter().any(is(columns.end));
        if self.windowing.is_some() || !has_start && !has_end {
            return Ok(());
        }
        if !(has_start && has_end) {
            let subject = "GROUP BY of a query with windows".to_owned();
            let missing = if has_start { "window_end" } else { "window_start" };
            let reason = SqlErrorReason::Missing { subject, missing: missing.to_owned() };
            return Err(Fault::new(at, reason));
        }
        let time = self.input.columns.iter().position(|field| &*field.name == window::COLUMNS[2]);
        self.keys.retain(|key| {
            !is(columns.start)(key)
                && !is(columns.end)(key)
                && time.is_none_or(|time| !is(time)(key))
        });
        let operator = &self.input.operator;
        let assigned = match operator {
            Operator::Window { input: rows, window } => {
                let width = rows.columns.len();
                let is_of_rows = |key: &(Typed, String)| {
                    key.0.expression.columns().iter().all(|column| *column < width)
                };
                self.keys.iter().all(is_of_rows).then(|| ((**rows).clone(), window.clone()))
            }
            _ => None,
        };
        self.windowing = Some(match assigned {
            Some((rows, window)) => {
                self.input = rows;
                Windowing::Assign(window)
            }
            None => Windowing::Attached(columns),
        });
        Ok(())
    }

    /// The relation of the groups, and the names of its columns' tables: none.
    pub(super) fn finish(self) -> Result<Relation, Fault> {
        let base = self.aggregates_index();
        let mut columns: Vec<Field> =
            self.keys.iter().map(|(key, name)| field(name, data_type(key))).collect();
        let keys: Vec<Key> = self
            .keys
            .into_iter()
            .map(|(key, _)| Key { data_type: data_type(&key), expression: key.expression })
            .collect();
        let Self { input, windowing, aggregates, at, .. } = Self { keys: Vec::new(), ..self };
        let results = aggregates.iter().map(|call| field("", call.result_type.clone()));
        let Some(windowing) = windowing else {
            let upsert_key = Some((0..keys.len()).collect());
            columns.extend(results);
            let operator =
                Operator::GroupAggregate(Box::new(GroupAggregate { input, keys, aggregates }));
            let changes = Changes::Retract;
            return Ok(Relation {
                operator,
                columns,
                event_time: None,
                window: None,
                changes,
                upsert_key,
            });
        };
        if input.changes == Changes::Retract {
            let supported = "windows over rows that are never taken back";
            let reason =
                SqlErrorReason::unsupported("a window over rows that are updated", supported);
            return Err(Fault::new(at, reason));
        }
        let start = keys.len();
        columns.extend(window::COLUMNS.map(|name| field(name, DataType::Timestamp)));
        columns.extend(results);
        debug_assert_eq!(columns.len(), base + aggregates.len(), "keys, window, aggregates");
        Ok(Relation {
            columns,
            event_time: Some(start + 2),
            window: Some(WindowColumns { start, end: start + 1 }),
            changes: Changes::Append,
            upsert_key: Some((0..start + 2).collect()),
            operator: Operator::WindowAggregate(Box::new(WindowAggregate {
                input,
                windowing,
                keys,
                aggregates,
            })),
        })
    }

    const fn aggregates_index(&self) -> usize {
        let window = if self.windowing.is_some() { window::COLUMNS.len() } else { 0 };
        self.keys.len() + window
    }

    fn aggregate(&mut self, function: &Function, at: Location) -> Result<Option<Typed>, Fault> {
        let Some(call) = aggregate::compile(function, &self.rows, at)? else { return Ok(None) };
        let data_type = call.result_type.clone();
        let columns = call.arguments.iter().flat_map(|argument| argument.expression.columns());
        let width = self.input.columns.len();
        if columns.chain(call.filter.iter().flat_map(Expression::columns)).any(|c| c >= width) {
            let supported = "aggregates over the columns of the table";
            let what = "an aggregate over the columns of its own window";
            return Err(Fault::new(at, SqlErrorReason::unsupported(what, supported)));
        }
        let index = self.aggregates.iter().position(|known| *known == call);
        let index = index.unwrap_or_else(|| {
            self.aggregates.push(call);
            self.aggregates.len() - 1
        });
        Ok(Some(Typed::new(Expression::Column(self.aggregates_index() + index), data_type)))
    }

    /// `TUMBLE_START(…)` and its kin, and a window as a whole.
    fn window_property(&self, sql: &Expr, function: &Function) -> Result<Option<Typed>, Fault> {
        let Some(Windowing::Assign(own)) = &self.windowing else { return Ok(None) };
        let name = function_name(function);
        let start = self.keys.len();
        let split = name.rsplit_once('_');
        if let Some((kind, property)) = split
            && window::NAMES.contains(&kind)
        {
            let index = match property {
                "START" => 0,
                "END" => 1,
                "ROWTIME" => 2,
                _ => return Ok(None),
            };
            let mut plain = function.clone();
            plain.name = vec![Ident::new(kind)].into();
            self.check_same(own, &Expr::Function(plain), place(sql, self.at))?;
            return Ok(Some(Typed::new(Expression::Column(start + index), DataType::Timestamp)));
        }
        if window::NAMES.contains(&name.as_str()) {
            self.check_same(own, sql, place(sql, self.at))?;
            let columns = vec![Expression::Column(start), Expression::Column(start + 1)];
            return Ok(Some(Typed::new(Expression::Collect(columns), window_row_type())));
        }
        Ok(None)
    }

    fn check_same(&self, own: &Window, sql: &Expr, at: Location) -> Result<(), Fault> {
        let named = window::group_window(sql, &self.rows, &self.input, at)?;
        if named.as_ref() == Some(own) {
            return Ok(());
        }
        let expected = "the window of GROUP BY";
        let found = crate::expression::source_text::quoted(sql);
        Err(Fault::new(at, SqlErrorReason::mismatch("the window", found, expected)))
    }

    /// Where a column of the rows' own window stands behind GROUP BY.
    fn window_column(&self, typed: &Typed) -> Option<usize> {
        let Expression::Column(column) = typed.expression else { return None };
        let name = &self.rows.0.get(column)?.name;
        self.windowing.as_ref()?;
        let index = window::COLUMNS.iter().position(|known| *known == &**name)?;
        Some(self.keys.len() + index)
    }
}

fn expression_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

impl Scope for GroupScope {
    fn whole(&mut self, sql: &Expr) -> Result<Option<Typed>, Fault> {
        if let Expr::Function(function) = sql
            && function.over.is_none()
        {
            let at = place(sql, self.at);
            if let Some(aggregate) = self.aggregate(function, at)? {
                return Ok(Some(aggregate));
            }
            if let Some(property) = self.window_property(sql, function)? {
                return Ok(Some(property));
            }
        }
        // A constant is not looked up among the keys: it is what it is everywhere.
        if self.keys.is_empty() || matches!(sql, Expr::Value(_) | Expr::TypedString(_)) {
            return Ok(None);
        }
        // What means the same as a key is that key, however it is written. What has no meaning
        // over a row, such as an expression with an aggregate in it, is taken apart further.
        let Ok(typed) = Compiler::new(&mut self.rows, self.at).compile(sql) else {
            return Ok(None);
        };
        let index = self.keys.iter().position(|(key, _)| *key == typed);
        Ok(index.map(|index| Typed { expression: Expression::Column(index), ..typed }))
    }

    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault> {
        let typed = self.rows.column(qualifier, name)?;
        if let Some(index) = self.window_column(&typed) {
            return Ok(Typed { expression: Expression::Column(index), ..typed });
        }
        let reason = SqlErrorReason::NotGrouped { name: name.value.clone() };
        Err(Fault::new(name.span.start, reason))
    }
}
