//! Calls of aggregates.

use sqlparser::ast::{
    DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments,
};
use sqlparser::tokenizer::Location;

use crate::expression::aggregate::{self, Signature};
use crate::expression::call::{function_name, plain_argument};
use crate::expression::source_text::{place, quoted};
use crate::expression::typed::type_name;
use crate::expression::{Columns, Compiler, Expression};
use crate::relation::{AggregateCall, AggregateKind, Key};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::{DataType, Value};

/// Most values that APPROX_TOP_K gives.
const TOP_LIMIT: i64 = 1_000;

/// The aggregate that a function calls over rows; none when it is no aggregate.
pub(super) fn compile(
    function: &Function,
    rows: &Columns,
    at: Location,
) -> Result<Option<AggregateCall>, Fault> {
    let name = function_name(function);
    if !aggregate::is_aggregate(&name) {
        return Ok(None);
    }
    let mut rows = rows.clone();
    let (is_distinct, arguments) = arguments(function, &name, at)?;
    let filter = match &function.filter {
        Some(filter) => {
            Some(Compiler::new(&mut rows, at).condition("the condition of FILTER", filter)?)
        }
        None => None,
    };
    let wrong = || {
        let subject = format!("the call of {name}");
        let expected = format!("{name}(expression)");
        Fault::new(at, SqlErrorReason::mismatch(subject, quoted(function), expected))
    };
    if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = arguments
        && name == "COUNT"
        && !is_distinct
    {
        return Ok(Some(AggregateCall {
            function: AggregateKind::Count,
            arguments: Vec::new(),
            is_distinct,
            filter,
            result_type: DataType::BigInt,
        }));
    }
    let arguments = arguments.iter().map(plain_argument).collect::<Option<Vec<_>>>();
    let arguments = arguments.ok_or_else(wrong)?;
    let [first, rest @ ..] = arguments.as_slice() else { return Err(wrong()) };
    let typed = Compiler::new(&mut rows, at).compile(first)?;
    let given = typed.data_type.clone().unwrap_or(DataType::Int);
    let Some(Signature { kind, argument, result }) = aggregate::signature(&name, &given) else {
        let subject = format!("the argument of {name}");
        let found = type_name(typed.data_type.as_ref());
        let expected = if name == "LISTAGG" { "STRING" } else { "a number" };
        let reason = SqlErrorReason::mismatch(subject, found, expected);
        return Err(Fault::new(place(first, at), reason));
    };
    let expression = match &argument {
        Some(wanted) if *wanted != given => {
            Expression::cast(typed.expression, given.clone(), wanted.clone())
        }
        _ => typed.expression,
    };
    let mut keys = vec![Key { expression, data_type: argument.unwrap_or(given) }];
    let mut constants = Vec::new();
    for sql in rest {
        let typed = Compiler::new(&mut rows, at).compile(sql)?;
        let Some(value) = typed.expression.constant().cloned() else {
            let subject = format!("the second argument of {name}");
            let reason = SqlErrorReason::mismatch(subject, quoted(sql), "a constant");
            return Err(Fault::new(place(sql, at), reason));
        };
        constants.push(value);
    }
    let function = with_constants(kind, &mut keys, &constants).ok_or_else(wrong)?;
    Ok(Some(AggregateCall { function, arguments: keys, is_distinct, filter, result_type: result }))
}

/// Puts what stands behind the first argument where the aggregate wants it.
fn with_constants(
    kind: AggregateKind,
    arguments: &mut Vec<Key>,
    constants: &[Value],
) -> Option<AggregateKind> {
    match (kind, constants) {
        (AggregateKind::ListAggregate, []) => {
            let expression = Expression::Constant(Value::text(","));
            arguments.push(Key { expression, data_type: DataType::String });
            Some(kind)
        }
        (AggregateKind::ListAggregate, [separator @ Value::Text(_)]) => {
            let expression = Expression::Constant(separator.clone());
            arguments.push(Key { expression, data_type: DataType::String });
            Some(kind)
        }
        (AggregateKind::ApproximateQuantile(_), [share]) => {
            let share = match share {
                Value::Decimal(share) => share.to_f64(),
                Value::Double(share) => *share,
                Value::Integer(share) => crate::value::widened(*share),
                _ => return None,
            };
            (0.0..=1.0).contains(&share).then_some(AggregateKind::ApproximateQuantile(share))
        }
        (AggregateKind::ApproximateTop(_), [Value::Integer(count)])
            if (1..=TOP_LIMIT).contains(count) =>
        {
            u32::try_from(*count).ok().map(AggregateKind::ApproximateTop)
        }
        (AggregateKind::ApproximateQuantile(_) | AggregateKind::ApproximateTop(_), _) => None,
        (_, []) => Some(kind),
        (_, _) => None,
    }
}

/// Whether DISTINCT stands before the arguments, and they.
fn arguments<'a>(
    function: &'a Function,
    name: &str,
    at: Location,
) -> Result<(bool, &'a [FunctionArg]), Fault> {
    let refuse = |what: &str| {
        let what = format!("{what} of {name}");
        let supported = "a call with arguments, DISTINCT and FILTER (WHERE …)";
        Err(Fault::new(at, SqlErrorReason::unsupported(what, supported)))
    };
    let FunctionArguments::List(list) = &function.args else {
        return refuse("the form without parentheses or with a query");
    };
    let is_plain = list
        .clauses
        .iter()
        .all(|clause| matches!(clause, FunctionArgumentClause::IgnoreOrRespectNulls(_)));
    if !is_plain || !function.within_group.is_empty() || function.null_treatment.is_some() {
        return refuse("a clause");
    }
    let is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    Ok((is_distinct, &list.args))
}
