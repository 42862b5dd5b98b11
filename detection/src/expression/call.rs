//! Calls of scalar functions.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
};
use sqlparser::tokenizer::Location;

use crate::aggregate::AggregateFunction;
use crate::expression::compile::Compiler;
use crate::expression::function::ScalarFunction;
use crate::expression::scope::Scope;
use crate::expression::source_text::quoted;
use crate::expression::tree::{Expression, Width};
use crate::expression::typed::{Typed, widen, width};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::value::DataType;

/// The upper-case name of a function of one part.
pub(crate) fn function_name(function: &Function) -> String {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => name.value.to_uppercase(),
        _ => function.name.to_string(),
    }
}

/// The arguments of a call that has nothing but arguments.
pub(crate) fn arguments(function: &Function, at: Location) -> Result<&[FunctionArg], Fault> {
    let clause = |what: &str| {
        let what = format!("{what} of {}", function_name(function));
        let supported = "a call with arguments only";
        Err(Fault::new(at, SqlErrorReason::unsupported(what, supported)))
    };
    let FunctionArguments::List(list) = &function.args else {
        return clause("the form without parentheses or with a query");
    };
    if list.duplicate_treatment.is_some() {
        return clause("DISTINCT");
    }
    if !list.clauses.is_empty() {
        return clause("a clause among the arguments");
    }
    if function.filter.is_some() {
        return clause("FILTER");
    }
    if function.over.is_some() {
        return clause("OVER");
    }
    let plain = !function.uses_odbc_syntax
        && function.parameters == FunctionArguments::None
        && function.within_group.is_empty()
        && function.null_treatment.is_none();
    if plain { Ok(&list.args) } else { clause("a clause") }
}

/// The expression that an argument is, without a name or `*`.
pub(crate) const fn plain_argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
        _ => None,
    }
}

impl<S: Scope> Compiler<'_, S> {
    /// Compiles a call of a function that is no aggregate.
    pub(super) fn function(&mut self, sql: &Expr, function: &Function) -> Result<Typed, Fault> {
        let at = self.at(sql);
        let name = function_name(function);
        if AggregateFunction::by_name(&name).is_some() {
            return Err(Fault::new(at, SqlErrorReason::MisplacedAggregate { name }));
        }
        if !ScalarFunction::NAMES.contains(&name.as_str()) {
            let aggregates = AggregateFunction::NAMES.into_iter();
            let hint = Hint::new(&name, ScalarFunction::NAMES.into_iter().chain(aggregates));
            return Err(Fault::new(at, SqlErrorReason::UnknownFunction { name, hint }));
        }
        let mut plain = Vec::new();
        for argument in arguments(function, at)? {
            plain.push(plain_argument(argument).ok_or_else(|| {
                let subject = format!("the argument of {name}");
                let reason = SqlErrorReason::mismatch(subject, quoted(argument), "an expression");
                Fault::new(at, reason)
            })?);
        }
        self.scalar(&name, at, &plain)
    }

    fn scalar(&mut self, name: &str, at: Location, plain: &[&Expr]) -> Result<Typed, Fault> {
        let subject = format!("the argument of {name}");
        match (name, plain) {
            ("ABS", [inner]) => {
                let inner = self.numeric(inner, &subject)?;
                let (width, data_type) = width(inner.data_type);
                let function = match width {
                    Width::Int => ScalarFunction::AbsInt,
                    Width::BigInt | Width::Double => ScalarFunction::Abs,
                };
                let call = Expression::Function(function, vec![inner.expression]);
                Ok(Typed::new(call, data_type))
            }
            ("UPPER" | "LOWER", [inner]) => {
                let inner = self.expect(inner, DataType::String, &subject)?;
                let function =
                    if name == "UPPER" { ScalarFunction::Upper } else { ScalarFunction::Lower };
                Ok(Typed::new(Expression::Function(function, vec![inner]), DataType::String))
            }
            ("CONCAT", [_, ..]) => {
                let texts = plain.iter().map(|sql| self.expect(sql, DataType::String, &subject));
                let texts = texts.collect::<Result<Vec<_>, _>>()?;
                let call = Expression::Function(ScalarFunction::Concat, texts);
                Ok(Typed::new(call, DataType::String))
            }
            ("COALESCE", [_, ..]) => {
                let mut widest = None;
                let values = plain.iter().map(|sql| self.result(&mut widest, "COALESCE", sql));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                let Some(widest) = widest else { return Ok(Typed::NULL) };
                let values = values.into_iter().map(|value| widen(value, widest)).collect();
                let call = Expression::Function(ScalarFunction::Coalesce, values);
                Ok(Typed::new(call, widest))
            }
            _ => {
                let subject = format!("the number of arguments of {name}");
                let expected =
                    if name == "CONCAT" || name == "COALESCE" { "1 or more" } else { "1" };
                let reason = SqlErrorReason::mismatch(subject, plain.len(), expected);
                Err(Fault::new(at, reason))
            }
        }
    }
}
