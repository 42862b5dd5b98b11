//! JSON functions that the grammar writes with words between the arguments:
//! `JSON_OBJECT(KEY 'k' VALUE v NULL ON NULL)`, `JSON_ARRAY(a, b ABSENT ON NULL)` and
//! `JSON_VALUE(text, path RETURNING type)`.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, JsonNullClause,
};
use sqlparser::tokenizer::Location;

use crate::expression::call::{function_name, plain_argument};
use crate::expression::cast::{Cast, OnFailure};
use crate::expression::compile::Compiler;
use crate::expression::json;
use crate::expression::scope::Scope;
use crate::expression::source_text::quoted;
use crate::expression::tree::Expression;
use crate::expression::typed::Typed;
use crate::sql::data_type;
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::{DataType, Value};

impl<S: Scope> Compiler<'_, S> {
    /// A call with words between its arguments; none for any other call.
    pub(super) fn json_call(
        &mut self,
        name: &str,
        function: &Function,
        at: Location,
    ) -> Result<Option<Typed>, Fault> {
        let FunctionArguments::List(list) = &function.args else { return Ok(None) };
        match (name, list.clauses.as_slice()) {
            ("JSON_OBJECT", clauses) => {
                let nulls = nulls(clauses, JsonNullClause::NullOnNull)
                    .ok_or_else(|| Fault::new(at, wrong("JSON_OBJECT", OBJECT, function)))?;
                self.json_object(function, list, &nulls, at).map(Some)
            }
            ("JSON_ARRAY", clauses) => {
                let nulls = nulls(clauses, JsonNullClause::AbsentOnNull)
                    .ok_or_else(|| Fault::new(at, wrong("JSON_ARRAY", ARRAY, function)))?;
                self.json_array(function, list, &nulls, at).map(Some)
            }
            ("JSON_VALUE", [FunctionArgumentClause::JsonReturningClause(returning)]) => {
                let plain = list.args.iter().map(plain_argument).collect::<Option<Vec<_>>>();
                let plain = plain.ok_or_else(|| {
                    Fault::new(at, wrong("JSON_VALUE", "JSON_VALUE(text, path)", function))
                })?;
                let to = data_type::convert(&returning.data_type, "the type of RETURNING", at)?;
                let input = self.call(name, at, &plain)?.expression;
                // What is no value of the type is NULL, as without ON ERROR.
                let (from, on_failure) = (DataType::String, OnFailure::Null);
                let cast = Cast { input, from, to: to.clone(), on_failure };
                Ok(Some(Typed::new(Expression::Cast(Box::new(cast)), to)))
            }
            _ => Ok(None),
        }
    }

    fn json_object(
        &mut self,
        function: &Function,
        list: &FunctionArgumentList,
        nulls: &JsonNullClause,
        at: Location,
    ) -> Result<Typed, Fault> {
        let mut arguments = Vec::new();
        for argument in &list.args {
            let (key, value) = pair(argument)
                .ok_or_else(|| Fault::new(at, wrong("JSON_OBJECT", OBJECT, function)))?;
            arguments.push(match key {
                Key::Name(name) => Expression::Constant(Value::text(name)),
                Key::Sql(sql) => self.expect(sql, &DataType::String, "a key of JSON_OBJECT")?,
            });
            self.json_item(value, &mut arguments)?;
        }
        let body = match nulls {
            JsonNullClause::NullOnNull => &json::OBJECT,
            JsonNullClause::AbsentOnNull => &json::OBJECT_WITHOUT_NULLS,
        };
        Ok(Typed::new(Expression::Call(body, arguments), DataType::String))
    }

    fn json_array(
        &mut self,
        function: &Function,
        list: &FunctionArgumentList,
        nulls: &JsonNullClause,
        at: Location,
    ) -> Result<Typed, Fault> {
        let mut arguments = Vec::new();
        for argument in &list.args {
            let sql = plain_argument(argument)
                .ok_or_else(|| Fault::new(at, wrong("JSON_ARRAY", ARRAY, function)))?;
            self.json_item(sql, &mut arguments)?;
        }
        let body = match nulls {
            JsonNullClause::NullOnNull => &json::ARRAY,
            JsonNullClause::AbsentOnNull => &json::ARRAY_WITHOUT_NULLS,
        };
        Ok(Typed::new(Expression::Call(body, arguments), DataType::String))
    }

    /// A value, behind whether it is JSON already: what these functions make themselves.
    fn json_item(&mut self, sql: &Expr, arguments: &mut Vec<Expression>) -> Result<(), Fault> {
        let is_json = match sql {
            Expr::Function(function) => {
                matches!(function_name(function).as_str(), "JSON_OBJECT" | "JSON_ARRAY")
            }
            _ => false,
        };
        arguments.push(Expression::Constant(Value::Boolean(is_json)));
        arguments.push(self.compile(sql)?.expression);
        Ok(())
    }
}

const OBJECT: &str = "JSON_OBJECT([KEY] 'key' VALUE value, … [NULL | ABSENT ON NULL])";
const ARRAY: &str = "JSON_ARRAY(value, … [NULL | ABSENT ON NULL])";

fn wrong(name: &str, expected: &str, function: &Function) -> SqlErrorReason {
    SqlErrorReason::mismatch(format!("the call of {name}"), quoted(function), expected)
}

/// What NULL becomes; none when other clauses stand there.
fn nulls(clauses: &[FunctionArgumentClause], otherwise: JsonNullClause) -> Option<JsonNullClause> {
    match clauses {
        [] => Some(otherwise),
        [FunctionArgumentClause::JsonNullClause(given)] => Some(given.clone()),
        _ => None,
    }
}

/// The key of a pair.
enum Key<'a> {
    Name(&'a str),
    Sql(&'a Expr),
}

/// `key VALUE value`.
fn pair(argument: &FunctionArg) -> Option<(Key<'_>, &Expr)> {
    match argument {
        FunctionArg::ExprNamed {
            name,
            arg: FunctionArgExpr::Expr(value),
            operator: FunctionArgOperator::Value,
        } => Some((Key::Sql(name), value)),
        FunctionArg::Named {
            name,
            arg: FunctionArgExpr::Expr(value),
            operator: FunctionArgOperator::Value,
        } => Some((Key::Name(&name.value), value)),
        _ => None,
    }
}
