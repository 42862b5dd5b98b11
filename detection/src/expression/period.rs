//! Periods of time: OVERLAPS.

use sqlparser::ast::Expr;

use crate::expression::compile::{Compiler, boolean};
use crate::expression::function::Function;
use crate::expression::scope::Scope;
use crate::expression::tree::{Comparison, Expression, Operator};
use crate::expression::typed::{Typed, type_name};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::DataType;

impl<S: Scope> Compiler<'_, S> {
    /// `(start, end) OVERLAPS (start, end)`: an end may be an interval, and stand before its start.
    pub(super) fn overlaps(&mut self, left: &Expr, right: &Expr) -> Result<Typed, Fault> {
        let (left, right) = (self.period(left)?, self.period(right)?);
        let reaches = |end: Expression, start: Expression| {
            Expression::Compare(Comparison::GreaterOrEqual, Box::new([end, start]))
        };
        let [left_start, left_end] = left;
        let [right_start, right_end] = right;
        let both = vec![reaches(left_end, right_start), reaches(right_end, left_start)];
        Ok(boolean(Expression::And(both)))
    }

    /// The earlier and the later end of a period.
    fn period(&mut self, sql: &Expr) -> Result<[Expression; 2], Fault> {
        let Expr::Tuple(ends) = sql else { return Err(self.unsupported(sql)) };
        let [start_sql, end_sql] = ends.as_slice() else { return Err(self.unsupported(sql)) };
        let (start, mut end) = (self.compile(start_sql)?, self.compile(end_sql)?);
        if matches!(end.data_type, Some(DataType::DayInterval | DataType::MonthInterval)) {
            end = self.arithmetic(Operator::Add, "OVERLAPS", start_sql, end_sql)?;
        }
        let Some(DataType::Timestamp | DataType::TimestampLtz | DataType::Date) = start.data_type
        else {
            let found = type_name(start.data_type.as_ref());
            let reason = SqlErrorReason::mismatch("the start of a period", found, "a time");
            return Err(Fault::new(self.at(start_sql), reason));
        };
        if end.data_type != start.data_type {
            let found = type_name(end.data_type.as_ref());
            let expected = format!("{} or an INTERVAL", type_name(start.data_type.as_ref()));
            let reason = SqlErrorReason::mismatch("the end of a period", found, expected);
            return Err(Fault::new(self.at(end_sql), reason));
        }
        let list = vec![start.expression, end.expression];
        let edge = |name: &str, list: Vec<Expression>| {
            let function = Function::by_name(name)?;
            Some(Expression::Call(function, vec![Expression::Collect(list)]))
        };
        let ends = edge("ARRAY_MIN", list.clone()).zip(edge("ARRAY_MAX", list));
        let (least, most) = ends.ok_or_else(|| self.unsupported(sql))?;
        Ok([least, most])
    }
}
