//! Calls of scalar functions.

use sqlparser::ast::{
    BinaryOperator, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, JsonPredicateType, ObjectNamePart, TrimWhereField, Value as Literal,
};
use sqlparser::tokenizer::{Location, Span};

use crate::expression::aggregate;
use crate::expression::arithmetic::folded;
use crate::expression::compile::{Compiler, not};
use crate::expression::function::{Function as ScalarFunction, Last, Parameter};
use crate::expression::moment::Unit;
use crate::expression::numeric;
use crate::expression::regex::RegexCall;
use crate::expression::scope::Scope;
use crate::expression::source_text::quoted;
use crate::expression::tree::{Expression, Operator, Width};
use crate::expression::typed::{Typed, type_name, widen};
use crate::expression::volatile;
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::value::{Column, DataType, Value};

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
        if let Some(typed) = self.json_call(&name, function, at)? {
            return Ok(typed);
        }
        if aggregate::is_aggregate(&name) {
            return Err(Fault::new(at, SqlErrorReason::MisplacedAggregate { name }));
        }
        let given = match &function.args {
            FunctionArguments::List(list) => list.args.len(),
            FunctionArguments::None | FunctionArguments::Subquery(_) => 0,
        };
        if let Some(reason) = volatile::refusal(&name, given) {
            return Err(Fault::new(at, reason));
        }
        let mut plain = Vec::new();
        for argument in arguments(function, at)? {
            plain.push(plain_argument(argument).ok_or_else(|| {
                let subject = format!("the argument of {name}");
                let reason = SqlErrorReason::mismatch(subject, quoted(argument), "an expression");
                Fault::new(at, reason)
            })?);
        }
        self.call(&name, at, &plain)
    }

    /// A call by name over the expressions of its arguments.
    pub(super) fn call(
        &mut self,
        name: &str,
        at: Location,
        plain: &[&Expr],
    ) -> Result<Typed, Fault> {
        if let Some(typed) = self.conditional(name, plain)? {
            return Ok(typed);
        }
        if let Some(typed) = self.regular(name, at, plain)? {
            return Ok(typed);
        }
        if let Some(typed) = self.timed(name, at, plain)? {
            return Ok(typed);
        }
        match (name, plain) {
            ("MOD", [left, right]) => return self.arithmetic(numeric::MOD, "MOD", left, right),
            ("ROW", [_, ..]) => return self.row(plain),
            ("ARRAY", [_, ..]) => return self.array(plain),
            ("MAP", [_, _, ..]) if plain.len().is_multiple_of(2) => return self.map(plain),
            _ => {}
        }
        if numeric::NAMES.contains(&name) {
            let subject = format!("the argument of {name}");
            let typed = plain.iter().map(|sql| self.numeric(sql, &subject));
            let typed = typed.collect::<Result<Vec<_>, _>>()?;
            return numeric::call(name, typed)
                .ok_or_else(|| count_mismatch(name, at, plain.len(), "1"));
        }
        let placed = plain.iter().map(|sql| Ok((self.at(sql), self.compile(sql)?)));
        let placed = placed.collect::<Result<Vec<_>, Fault>>()?;
        call_placed(name, at, placed)
    }

    /// A call of a function of the tables over compiled arguments.
    pub(super) fn call_compiled(
        &self,
        name: &str,
        at: Location,
        arguments: Vec<Typed>,
    ) -> Result<Typed, Fault> {
        call_placed(name, at, arguments.into_iter().map(|typed| (at, typed)).collect())
    }

    /// COALESCE, NULLIF, IF, GREATEST and LEAST.
    fn conditional(&mut self, name: &str, plain: &[&Expr]) -> Result<Option<Typed>, Fault> {
        let mut widest = None;
        Ok(Some(match (name, plain) {
            ("COALESCE" | "IFNULL", [_, ..]) => {
                let values = self.results(name, plain, &mut widest)?;
                Typed { expression: Expression::Coalesce(values), data_type: widest }
            }
            ("NULLIF", [value, null]) => {
                let is_null = self.equal(value, null)?;
                let Typed { expression, data_type } = self.compile(value)?;
                let null = Expression::Constant(Value::Null);
                let branches = vec![(is_null, null)];
                Typed {
                    expression: Expression::Case { branches, otherwise: Box::new(expression) },
                    data_type,
                }
            }
            ("IF", [condition, rest @ ..]) if rest.len() == 2 => {
                let condition = self.condition("the condition of IF", condition)?;
                let mut values = self.results(name, rest, &mut widest)?.into_iter();
                let (Some(then), Some(otherwise)) = (values.next(), values.next()) else {
                    return Ok(None);
                };
                let branches = vec![(condition, then)];
                let case = Expression::Case { branches, otherwise: Box::new(otherwise) };
                Typed { expression: case, data_type: widest }
            }
            ("GREATEST" | "LEAST", [_, ..]) => {
                let values = self.results(name, plain, &mut widest)?;
                let list = Expression::Collect(values.clone());
                let function = if name == "GREATEST" { "ARRAY_MAX" } else { "ARRAY_MIN" };
                let Some(function) = ScalarFunction::by_name(function) else { return Ok(None) };
                // NULL among them makes the result NULL.
                let nulls = values.into_iter().map(|value| Expression::IsNull(Box::new(value)));
                let branches = nulls.map(|null| (null, Expression::Constant(Value::Null)));
                let otherwise = Box::new(Expression::Call(function, vec![list]));
                let case = Expression::Case { branches: branches.collect(), otherwise };
                Typed { expression: case, data_type: widest }
            }
            _ => return Ok(None),
        }))
    }

    /// Values of one common type.
    fn results(
        &mut self,
        name: &str,
        plain: &[&Expr],
        widest: &mut Option<DataType>,
    ) -> Result<Vec<Expression>, Fault> {
        let values = plain.iter().map(|sql| self.result(widest, name, sql));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        Ok(match widest {
            Some(widest) => values.into_iter().map(|value| widen(value, widest)).collect(),
            None => values.into_iter().map(|value| value.expression).collect(),
        })
    }

    /// Functions with a regular expression, which must be constant.
    fn regular(
        &mut self,
        name: &str,
        at: Location,
        plain: &[&Expr],
    ) -> Result<Option<Typed>, Fault> {
        let (call, data_type, most) = match name {
            "REGEXP" | "RLIKE" => (RegexCall::Found, DataType::Boolean, 2),
            "REGEXP_EXTRACT" => (RegexCall::Extract, DataType::String, 3),
            "REGEXP_REPLACE" => (RegexCall::Replace, DataType::String, 3),
            "REGEXP_COUNT" => (RegexCall::Count, DataType::Int, 2),
            _ => return Ok(None),
        };
        let [text, pattern, rest @ ..] = plain else {
            return Err(count_mismatch(name, at, plain.len(), "2 or 3"));
        };
        let is_short = call == RegexCall::Replace && rest.is_empty();
        if plain.len() > most || is_short {
            let expected = if is_short { "3".to_owned() } else { most.to_string() };
            return Err(count_mismatch(name, at, plain.len(), &expected));
        }
        let subject = format!("the argument of {name}");
        let mut arguments = vec![self.expect(text, &DataType::String, &subject)?];
        let pattern_at = self.at(pattern);
        let pattern =
            self.constant_text(pattern, &format!("the pattern of {name}"), "'pattern'")?;
        let regex = self.regex(&pattern, pattern_at)?;
        if let Some(last) = rest.first() {
            let wanted =
                if call == RegexCall::Replace { DataType::String } else { DataType::BigInt };
            arguments.push(self.expect(last, &wanted, &subject)?);
        }
        Ok(Some(Typed::new(Expression::Match(call, regex, arguments), data_type)))
    }

    /// TIMESTAMPADD and TIMESTAMPDIFF, whose first argument is a unit.
    fn timed(&mut self, name: &str, at: Location, plain: &[&Expr]) -> Result<Option<Typed>, Fault> {
        let (Some(Expr::Identifier(unit)), "TIMESTAMPADD" | "TIMESTAMPDIFF") =
            (plain.first(), name)
        else {
            return Ok(None);
        };
        let known = Unit::by_name(&unit.value).ok_or_else(|| unknown_unit(unit))?;
        let [_, second, third] = plain else {
            return Err(count_mismatch(name, at, plain.len(), "3"));
        };
        let (second, third) = (self.compile(second)?, self.compile(third)?);
        if name == "TIMESTAMPDIFF" {
            let unit = Typed::new(Expression::Constant(Value::text(&unit.value)), DataType::String);
            return self.call_compiled(name, at, vec![unit, second, third]).map(Some);
        }
        let (function, length) = match (known.millis(), known.months()) {
            (Some(millis), _) => ("ADD_MILLIS", millis),
            (None, Some(months)) => ("ADD_MONTHS", months),
            (None, None) => return Err(unknown_unit(unit)),
        };
        let length = Expression::Constant(Value::Integer(length));
        let sides = Box::new([second.expression, length]);
        let amount = Expression::Arithmetic(numeric_times(), Width::BigInt, sides);
        let amount = Typed::new(folded(amount), DataType::BigInt);
        self.call_compiled(function, at, vec![third, amount]).map(Some)
    }

    /// ROW(…): fields are called EXPR$0, EXPR$1 and so on, as in Flink.
    fn row(&mut self, plain: &[&Expr]) -> Result<Typed, Fault> {
        let (mut values, mut columns) = (Vec::new(), Vec::new());
        for (index, sql) in plain.iter().enumerate() {
            let Typed { expression, data_type } = self.compile(sql)?;
            values.push(expression);
            let data_type = data_type.unwrap_or(DataType::String);
            columns.push(Column::new(&format!("EXPR${index}"), data_type));
        }
        Ok(Typed::new(Expression::Collect(values), DataType::Row(columns.into())))
    }

    fn array(&mut self, plain: &[&Expr]) -> Result<Typed, Fault> {
        let mut widest = None;
        let values = self.results("ARRAY", plain, &mut widest)?;
        let element = widest.unwrap_or(DataType::String);
        Ok(Typed::new(Expression::Collect(values), DataType::Array(element.into())))
    }

    fn map(&mut self, plain: &[&Expr]) -> Result<Typed, Fault> {
        let [keys, values] =
            [0, 1].map(|first| plain.iter().skip(first).step_by(2).copied().collect::<Vec<_>>());
        let (mut key, mut value) = (None, None);
        let keys = self.results("MAP", &keys, &mut key)?;
        let values = self.results("MAP", &values, &mut value)?;
        let entry = (key.unwrap_or(DataType::String), value.unwrap_or(DataType::String));
        let lists = [Expression::Collect(keys), Expression::Collect(values)];
        let Some(function) = ScalarFunction::by_name("MAP_FROM_ARRAYS") else {
            return Ok(Typed::NULL);
        };
        let call = Expression::Call(function, lists.into());
        Ok(Typed::new(call, DataType::Map(entry.into())))
    }

    /// Calls that the grammar writes with words between the arguments.
    pub(super) fn special_call(&mut self, sql: &Expr) -> Result<Typed, Fault> {
        let at = self.at(sql);
        match sql {
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let one = Expr::value(Literal::Number("1".into(), false));
                let from = substring_from.as_deref().unwrap_or(&one);
                let mut plain = vec![&**expr, from];
                plain.extend(substring_for.as_deref());
                self.call("SUBSTRING", at, &plain)
            }
            Expr::Position { expr, r#in } => self.call("POSITION", at, &[expr, r#in]),
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut plain = vec![&**expr, overlay_what, overlay_from];
                plain.extend(overlay_for.as_deref());
                self.call("OVERLAY", at, &plain)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "LTRIM",
                    Some(TrimWhereField::Trailing) => "RTRIM",
                    Some(TrimWhereField::Both) | None => "TRIM",
                };
                let mut plain = vec![&**expr];
                plain.extend(trim_what.as_deref());
                self.call(name, at, &plain)
            }
            Expr::Extract { field, expr, .. } => {
                let unit = self.unit(&field.to_string(), at)?;
                let time = self.compile(expr)?;
                self.call_compiled("EXTRACT", at, vec![unit, time])
            }
            Expr::Floor { expr, field } => self.edge("FLOOR", "FLOOR_TIME", at, expr, field),
            Expr::Ceil { expr, field } => self.edge("CEIL", "CEIL_TIME", at, expr, field),
            Expr::Array(list) => {
                let plain: Vec<&Expr> = list.elem.iter().collect();
                self.array(&plain)
            }
            Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => {
                self.overlaps(left, right)
            }
            Expr::Tuple(list) => self.row(&list.iter().collect::<Vec<_>>()),
            Expr::Prefixed { prefix, value } if prefix.value == "MAP" => match &**value {
                Expr::Tuple(list) => self.call("MAP", at, &list.iter().collect::<Vec<_>>()),
                other => Err(self.unsupported(other)),
            },
            Expr::IsJson { expr, kind, unique_keys: None, negated } => {
                let name = match kind {
                    None | Some(JsonPredicateType::Value) => "IS_JSON",
                    Some(JsonPredicateType::Object) => "IS_JSON_OBJECT",
                    Some(JsonPredicateType::Array) => "IS_JSON_ARRAY",
                    Some(JsonPredicateType::Scalar) => "IS_JSON_SCALAR",
                };
                let typed = self.call(name, at, &[expr])?;
                Ok(if *negated { not(typed.expression) } else { typed })
            }
            other => Err(self.unsupported(other)),
        }
    }

    fn unit(&self, name: &str, at: Location) -> Result<Typed, Fault> {
        if Unit::by_name(name).is_none() {
            return Err(unknown_unit(&Ident::with_span(Span::new(at, at), name)));
        }
        Ok(Typed::new(Expression::Constant(Value::text(name)), DataType::String))
    }

    fn edge(
        &mut self,
        plain: &str,
        timed: &str,
        at: Location,
        sql: &Expr,
        field: &CeilFloorKind,
    ) -> Result<Typed, Fault> {
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => self.call(plain, at, &[sql]),
            CeilFloorKind::DateTimeField(unit) => {
                let unit = self.unit(&unit.to_string(), at)?;
                let time = self.compile(sql)?;
                self.call_compiled(timed, at, vec![time, unit])
            }
            CeilFloorKind::Scale(_) => Err(self.unsupported(sql)),
        }
    }
}

/// A call of a function of the tables over compiled arguments and their places.
fn call_placed(
    name: &str,
    at: Location,
    arguments: Vec<(Location, Typed)>,
) -> Result<Typed, Fault> {
    let Some(function) = ScalarFunction::by_name(name) else {
        let known = ScalarFunction::all().map(|function| function.name);
        let known = known.chain(numeric::NAMES).chain(CONDITIONALS);
        let hint = Hint::new(name, known.chain(aggregate::NAMES));
        let reason = SqlErrorReason::UnknownFunction { name: name.to_owned(), hint };
        return Err(Fault::new(at, reason));
    };
    let most = function.parameters.len();
    let is_right = arguments.len() + function.optional >= most
        && (arguments.len() <= most || function.last == Last::Repeated);
    if !is_right {
        let least = most - function.optional;
        let expected = match (function.last, function.optional) {
            (Last::Repeated, _) => format!("{least} or more"),
            (Last::Once, 0) => most.to_string(),
            (Last::Once, _) => format!("{least} to {most}"),
        };
        return Err(count_mismatch(name, at, arguments.len(), &expected));
    }
    let first = arguments.first().and_then(|(_, typed)| typed.data_type.clone());
    let parameters =
        function.parameters.iter().chain(function.parameters.last().into_iter().cycle());
    let fitted = arguments.into_iter().zip(parameters).map(|((at, typed), parameter)| {
        fit(*parameter, typed, first.as_ref()).map_err(|typed| {
            let subject = format!("the argument of {name}");
            let found = type_name(typed.data_type.as_ref());
            let expected = expected(*parameter, first.as_ref());
            Fault::new(at, SqlErrorReason::mismatch(subject, found, expected))
        })
    });
    let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
    let data_type = function.result.data_type(first.as_ref());
    Ok(Typed { expression: Expression::Call(function, fitted), data_type })
}

/// Conditional functions and others with rules of their own, for hints.
const CONDITIONALS: [&str; 14] = [
    "COALESCE",
    "IFNULL",
    "NULLIF",
    "IF",
    "GREATEST",
    "LEAST",
    "REGEXP",
    "REGEXP_EXTRACT",
    "REGEXP_REPLACE",
    "REGEXP_COUNT",
    "TIMESTAMPADD",
    "ROW",
    "ARRAY",
    "MAP",
];

const fn numeric_times() -> Operator {
    Operator::Multiply
}

fn unknown_unit(unit: &Ident) -> Fault {
    let expected = Unit::NAMES.join(", ");
    let reason = SqlErrorReason::mismatch("the unit of time", format!("{unit}"), expected);
    Fault::new(unit.span.start, reason)
}

fn count_mismatch(name: &str, at: Location, found: usize, expected: &str) -> Fault {
    let subject = format!("the number of arguments of {name}");
    Fault::new(at, SqlErrorReason::mismatch(subject, found, expected))
}

/// The type that a parameter takes of the type of the first argument.
fn model(parameter: Parameter, first: Option<&DataType>) -> Option<&DataType> {
    match (parameter, first?) {
        (Parameter::Element, DataType::Array(element)) => Some(element),
        (Parameter::Same, same) => Some(same),
        _ => None,
    }
}

/// The argument as a parameter takes it, given the type of the first one; unchanged when it does
/// not.
fn fit(parameter: Parameter, typed: Typed, first: Option<&DataType>) -> Result<Expression, Typed> {
    let Some(data_type) = &typed.data_type else { return Ok(typed.expression) };
    match parameter {
        Parameter::Any => Ok(typed.expression),
        Parameter::Text => typed.widen_to(&DataType::String),
        Parameter::Bytes => typed.widen_to(&DataType::Bytes),
        Parameter::Whole if data_type.is_integer() => Ok(typed.expression),
        Parameter::Double if data_type.is_numeric() => typed.widen_to(&DataType::Double),
        Parameter::Moment if data_type.is_timestamp() => Ok(typed.expression),
        Parameter::Moment if *data_type == DataType::Date => typed.widen_to(&DataType::Timestamp),
        Parameter::Moment if *data_type == DataType::Time => Ok(typed.expression),
        Parameter::Array if matches!(data_type, DataType::Array(_)) => Ok(typed.expression),
        Parameter::Map if matches!(data_type, DataType::Map(_)) => Ok(typed.expression),
        Parameter::Boolean if *data_type == DataType::Boolean => Ok(typed.expression),
        Parameter::Element | Parameter::Same => match model(parameter, first) {
            // Whole numbers are one kind of value, however wide they are declared.
            Some(wanted) if wanted.is_integer() && data_type.is_integer() => Ok(typed.expression),
            Some(wanted) => typed.widen_to(wanted),
            None => Ok(typed.expression),
        },
        Parameter::Whole
        | Parameter::Double
        | Parameter::Moment
        | Parameter::Array
        | Parameter::Map
        | Parameter::Boolean => Err(typed),
    }
}

fn expected(parameter: Parameter, first: Option<&DataType>) -> String {
    let plain = match parameter {
        Parameter::Element | Parameter::Same => return type_name(model(parameter, first)),
        Parameter::Boolean => "BOOLEAN",
        Parameter::Text => "STRING",
        Parameter::Whole => "a whole number",
        Parameter::Double => "a number",
        Parameter::Moment => "TIMESTAMP(3) or DATE",
        Parameter::Bytes => "BYTES",
        Parameter::Array => "an ARRAY",
        Parameter::Map => "a MAP",
        Parameter::Any => "any value",
    };
    plain.to_owned()
}
