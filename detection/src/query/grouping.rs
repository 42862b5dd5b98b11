//! GROUP BY and what may stand behind it.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, Select, Value as Literal,
    ValueWithSpan,
};
use sqlparser::tokenizer::Location;

use crate::aggregate::{Aggregate, AggregateFunction};
use crate::expression::call::{arguments, function_name};
use crate::expression::source_text::{place, quoted};
use crate::expression::typed::type_name;
use crate::expression::{Compiler, Expression, Scope, TableScope, Typed};
use crate::plan::TumblePlan;
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::DataType;

const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

/// The columns behind GROUP BY: keys, window_start, window_end, and aggregates as they are met.
pub(crate) struct GroupScope<'a> {
    rows: TableScope<'a>,
    keys: Vec<Typed>,
    aggregates: Vec<Aggregate>,
    at: Location,
}

impl<'a> GroupScope<'a> {
    /// Compiles GROUP BY, which must name both columns of the window.
    pub(crate) fn compile(
        select: &Select,
        mut rows: TableScope<'a>,
        at: Location,
    ) -> Result<Self, Fault> {
        const GROUPS: &str = "GROUP BY columns, window_start, window_end";
        let GroupByExpr::Expressions(expressions, modifiers) = &select.group_by else {
            return Err(Fault::new(at, SqlErrorReason::unsupported("GROUP BY ALL", GROUPS)));
        };
        if !modifiers.is_empty() {
            let what = "a modifier of GROUP BY";
            return Err(Fault::new(at, SqlErrorReason::unsupported(what, GROUPS)));
        }
        let mut keys: Vec<Typed> = Vec::new();
        let mut is_missing = [true; WINDOW_COLUMNS.len()];
        for expression in expressions {
            if let Some(index) = window_column(expression) {
                is_missing.iter_mut().skip(index).take(1).for_each(|missing| *missing = false);
                continue;
            }
            let key_at = place(expression, at);
            if matches!(expression, Expr::Value(ValueWithSpan { value: Literal::Number(..), .. })) {
                let what = "a number in GROUP BY";
                return Err(Fault::new(key_at, SqlErrorReason::unsupported(what, GROUPS)));
            }
            let key = Compiler::new(&mut rows, at).compile(expression)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        for (name, is_missing) in WINDOW_COLUMNS.iter().zip(is_missing) {
            if is_missing {
                let subject = "GROUP BY of a query with windows".to_owned();
                let reason = SqlErrorReason::Missing { subject, missing: (*name).to_owned() };
                let at = expressions.first().map_or(at, |first| place(first, at));
                return Err(Fault::new(at, reason));
            }
        }
        Ok(Self { rows, keys, aggregates: Vec::new(), at })
    }

    /// The keys and the aggregates that SELECT and HAVING asked for.
    pub(crate) fn finish(self) -> (Vec<(Expression, DataType)>, Vec<Aggregate>) {
        let keys = self.keys.into_iter().map(|key| {
            // A key that is a bare NULL groups like any NULL; which type it has is never seen.
            (key.expression, key.data_type.unwrap_or(DataType::String))
        });
        (keys.collect(), self.aggregates)
    }

    fn aggregate(&mut self, function: &Function, at: Location) -> Result<Option<Typed>, Fault> {
        let name = function_name(function);
        let Some(kind) = AggregateFunction::by_name(&name) else { return Ok(None) };
        let aggregate = match arguments(function, at)? {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]
                if kind == AggregateFunction::Count =>
            {
                Aggregate { function: kind, argument: None, argument_type: DataType::BigInt }
            }
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => {
                self.aggregate_of(kind, &name, argument)?
            }
            _ => {
                let subject = format!("the call of {name}");
                let expected = format!("{name}(expression)");
                let reason = SqlErrorReason::mismatch(subject, quoted(function), expected);
                return Err(Fault::new(at, reason));
            }
        };
        let index = self.aggregates.iter().position(|known| *known == aggregate);
        let data_type = aggregate.data_type();
        let index = index.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        });
        let column = TumblePlan::aggregates_index(self.keys.len()) + index;
        Ok(Some(Typed::new(Expression::Column(column), data_type)))
    }

    fn aggregate_of(
        &mut self,
        function: AggregateFunction,
        name: &str,
        argument: &Expr,
    ) -> Result<Aggregate, Fault> {
        let typed = Compiler::new(&mut self.rows, self.at).compile(argument)?;
        let fits = match function {
            AggregateFunction::Count | AggregateFunction::Min | AggregateFunction::Max => true,
            AggregateFunction::Sum | AggregateFunction::Avg => {
                typed.data_type.is_none_or(DataType::is_numeric)
            }
        };
        if !fits {
            let subject = format!("the argument of {name}");
            let found = type_name(typed.data_type);
            let reason = SqlErrorReason::mismatch(subject, found, "a number");
            return Err(Fault::new(place(argument, self.at), reason));
        }
        let argument_type = typed.data_type.unwrap_or(DataType::Int);
        Ok(Aggregate { function, argument: Some(typed.expression), argument_type })
    }
}

impl Scope for GroupScope<'_> {
    fn whole(&mut self, sql: &Expr) -> Result<Option<Typed>, Fault> {
        if let Expr::Function(function) = sql
            && let Some(aggregate) = self.aggregate(function, place(sql, self.at))?
        {
            return Ok(Some(aggregate));
        }
        // A constant is not looked up among the keys: it is what it is everywhere.
        let is_constant = matches!(sql, Expr::Value(_) | Expr::TypedString(_));
        if self.keys.is_empty() || is_constant {
            return Ok(None);
        }
        // What means the same as a key is that key, however it is written. What has no meaning
        // over a row, such as an expression with an aggregate in it, is taken apart further.
        let Ok(typed) = Compiler::new(&mut self.rows, self.at).compile(sql) else {
            return Ok(None);
        };
        let index = self.keys.iter().position(|key| *key == typed);
        Ok(index.map(|index| Typed { expression: Expression::Column(index), ..typed }))
    }

    fn column(&self, name: &Ident) -> Result<Typed, Fault> {
        if let Some(index) = WINDOW_COLUMNS.iter().position(|column| *column == name.value) {
            let column = TumblePlan::window_start_index(self.keys.len()) + index;
            return Ok(Typed::new(Expression::Column(column), DataType::Timestamp));
        }
        let at = name.span.start;
        if name.value == "window_time" {
            let supported = "window_start and window_end";
            return Err(Fault::new(at, SqlErrorReason::unsupported("window_time", supported)));
        }
        self.rows.column(name)?;
        Err(Fault::new(at, SqlErrorReason::NotGrouped { name: name.value.clone() }))
    }

    fn table(&self) -> &Ident {
        self.rows.table()
    }
}

/// Which column of the window an expression of GROUP BY is.
fn window_column(sql: &Expr) -> Option<usize> {
    let name = match sql {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    WINDOW_COLUMNS.iter().position(|column| *column == name.value)
}
