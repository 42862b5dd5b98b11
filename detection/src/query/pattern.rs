//! MATCH_RECOGNIZE: rows in the order of event time that fit a pattern.

use std::sync::Arc;

use sqlparser::ast::{
    AfterMatchSkip, Expr, Function, Ident, MatchRecognizePattern, MatchRecognizeSymbol, Measure,
    OrderByExpr, OrderBySort, RepetitionQuantifier, RowsPerMatch, SymbolDefinition,
    Value as Literal,
};
use sqlparser::tokenizer::Location;

use crate::expression::call::{arguments, function_name, plain_argument};
use crate::expression::source_text::{place, quoted};
use crate::expression::{Columns, Compiler, Expression, Scope, Typed};
use crate::query::aggregate;
use crate::query::bound::{Bound, data_type, field};
use crate::relation::{
    Changes, Greed, Key, Match, Navigation, NavigationKind, Operator, Pattern, Relation, Skip,
    Variable,
};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::{interval, within};

/// Most rows that one repetition may ask for.
const REPETITION_LIMIT: u32 = 1_000;

/// The clauses of MATCH_RECOGNIZE.
pub(super) struct Clauses<'a> {
    pub(super) partition_by: &'a [Expr],
    pub(super) order_by: &'a [OrderByExpr],
    pub(super) measures: &'a [Measure],
    pub(super) rows_per_match: Option<&'a RowsPerMatch>,
    pub(super) skip: Option<&'a AfterMatchSkip>,
    pub(super) pattern: &'a MatchRecognizePattern,
    pub(super) symbols: &'a [SymbolDefinition],
}

/// Compiles MATCH_RECOGNIZE over what stands before it.
pub(super) fn compile(input: Bound, clauses: &Clauses<'_>, at: Location) -> Result<Bound, Fault> {
    if let Some(RowsPerMatch::AllRows(_)) = clauses.rows_per_match {
        let supported = "ONE ROW PER MATCH, as in Flink";
        return Err(Fault::new(at, SqlErrorReason::unsupported("ALL ROWS PER MATCH", supported)));
    }
    if input.relation.changes == Changes::Retract {
        let supported = "rows that are never taken back";
        let what = "MATCH_RECOGNIZE over rows that are updated";
        return Err(Fault::new(at, SqlErrorReason::unsupported(what, supported)));
    }
    let time = time_of(&input, clauses.order_by, at)?;
    let rows = input.scope();
    let mut names = Vec::new();
    let pattern = pattern(clauses.pattern, &mut names, at)?;
    let variables = variables(&rows, &names, clauses.symbols, at)?;
    let within = within(clauses.symbols, at)?;
    let (mut columns, mut partition) = (Vec::new(), Vec::new());
    for sql in clauses.partition_by {
        let typed = Compiler::new(&mut rows.clone(), at).compile(sql)?;
        let name = match sql {
            Expr::Identifier(name) => name.value.as_str(),
            _ => "",
        };
        columns.push(field(name, data_type(&typed)));
        partition.push(Key { data_type: data_type(&typed), expression: typed.expression });
    }
    let mut scope = PatternScope { rows: &rows, names: &names, navigations: Vec::new(), at };
    let mut measures = Vec::new();
    for Measure { expr, alias } in clauses.measures {
        let typed = Compiler::new(&mut scope, at).compile(expr)?;
        columns.push(field(&alias.value, data_type(&typed)));
        measures.push(typed.expression);
    }
    let measure_navigations = scope.navigations;
    let skip = match clauses.skip {
        None | Some(AfterMatchSkip::PastLastRow) => Skip::PastLastRow,
        Some(AfterMatchSkip::ToNextRow) => Skip::ToNextRow,
        Some(AfterMatchSkip::ToFirst(name)) => Skip::ToFirst(variable(name, &names)?),
        Some(AfterMatchSkip::ToLast(name)) => Skip::ToLast(variable(name, &names)?),
    };
    let relation = Relation {
        columns,
        event_time: None,
        window: None,
        changes: Changes::Append,
        upsert_key: None,
        operator: Operator::Match(Box::new(Match {
            input: input.relation,
            partition,
            time,
            pattern,
            variables,
            measures,
            measure_navigations,
            skip,
            within,
        })),
    };
    Ok(Bound::named(relation, None))
}

/// The column of event time, by which rows must be ordered, ascending.
fn time_of(input: &Bound, order_by: &[OrderByExpr], at: Location) -> Result<usize, Fault> {
    let time = input.relation.event_time;
    if let ([first, ..], Some(time)) = (order_by, time)
        && matches!(first.options.sort, None | Some(OrderBySort::Asc))
    {
        let typed = Compiler::new(&mut input.scope(), at).compile(&first.expr)?;
        if typed.expression == Expression::Column(time) {
            return Ok(time);
        }
    }
    let name = time.and_then(|time| input.relation.columns.get(time));
    let missing = match name {
        Some(time) => format!("ORDER BY {}, the event time", time.name),
        None => "rows with an event time to ORDER BY".to_owned(),
    };
    let subject = "MATCH_RECOGNIZE".to_owned();
    Err(Fault::new(at, SqlErrorReason::Missing { subject, missing }))
}

/// What `WITHIN INTERVAL …` says, in milliseconds: the parser puts it among the variables.
fn within(symbols: &[SymbolDefinition], at: Location) -> Result<Option<i64>, Fault> {
    let Some(found) = symbols.iter().find(|one| one.symbol.value == within::VARIABLE) else {
        return Ok(None);
    };
    let at = place(&found.definition, at);
    let length = interval::duration(&found.definition, "the length of WITHIN", at)?;
    i64::try_from(length.as_millis()).ok().filter(|millis| *millis > 0).map(Some).ok_or_else(|| {
        let expected = "INTERVAL 'n' of 1 millisecond or more";
        let found = quoted(&found.definition);
        Fault::new(at, SqlErrorReason::mismatch("the length of WITHIN", found, expected))
    })
}

/// A pattern over the indexes of its variables, which are named as they are met.
fn pattern(
    sql: &MatchRecognizePattern,
    names: &mut Vec<Arc<str>>,
    at: Location,
) -> Result<Pattern, Fault> {
    let all = |parts: &[MatchRecognizePattern], names: &mut Vec<Arc<str>>| {
        parts.iter().map(|part| pattern(part, names, at)).collect::<Result<Vec<_>, _>>()
    };
    match sql {
        MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(name)) => {
            let known = names.iter().position(|known| **known == *name.value);
            Ok(Pattern::Variable(known.unwrap_or_else(|| {
                names.push(Arc::from(name.value.as_str()));
                names.len() - 1
            })))
        }
        MatchRecognizePattern::Concat(parts) => all(parts, names).map(Pattern::Sequence),
        MatchRecognizePattern::Alternation(parts) => all(parts, names).map(Pattern::Alternatives),
        MatchRecognizePattern::Group(inner) => pattern(inner, names, at),
        // `A+?`: a question mark behind a repetition makes it reluctant; `(A+)?` is in parentheses.
        MatchRecognizePattern::Repetition(inner, RepetitionQuantifier::AtMostOne)
            if matches!(&**inner, MatchRecognizePattern::Repetition(..)) =>
        {
            match pattern(inner, names, at)? {
                Pattern::Repeat { pattern, least, most, greed: Greed::Greedy } => {
                    Ok(Pattern::Repeat { pattern, least, most, greed: Greed::Reluctant })
                }
                other => Ok(other),
            }
        }
        MatchRecognizePattern::Repetition(inner, quantifier) => {
            let (least, most) = match quantifier {
                RepetitionQuantifier::ZeroOrMore => (0, None),
                RepetitionQuantifier::OneOrMore => (1, None),
                RepetitionQuantifier::AtMostOne => (0, Some(1)),
                RepetitionQuantifier::Exactly(count) => (*count, Some(*count)),
                RepetitionQuantifier::AtLeast(least) => (*least, None),
                RepetitionQuantifier::AtMost(most) => (0, Some(*most)),
                RepetitionQuantifier::Range(least, most) => (*least, Some(*most)),
            };
            if least.max(most.unwrap_or(least)) > REPETITION_LIMIT
                || most.is_some_and(|most| most < least)
            {
                let expected = format!("least to most, at most {REPETITION_LIMIT}");
                let subject = "a repetition of PATTERN";
                let reason = SqlErrorReason::mismatch(subject, quoted(sql), expected);
                return Err(Fault::new(at, reason));
            }
            let pattern = Box::new(pattern(inner, names, at)?);
            Ok(Pattern::Repeat { pattern, least, most, greed: Greed::Greedy })
        }
        MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Start | MatchRecognizeSymbol::End)
        | MatchRecognizePattern::Exclude(_)
        | MatchRecognizePattern::Permute(_) => {
            let supported = "variables, ( ), |, *, +, ? and {n,m}, as in Flink";
            Err(Fault::new(at, SqlErrorReason::unsupported(quoted(sql), supported)))
        }
    }
}

fn variable(name: &Ident, names: &[Arc<str>]) -> Result<usize, Fault> {
    names.iter().position(|known| **known == *name.value).ok_or_else(|| {
        let hint = Hint::new(&name.value, names.iter().map(|name| &**name));
        let reason = SqlErrorReason::UnknownVariable { name: name.value.clone(), hint };
        Fault::new(name.span.start, reason)
    })
}

fn variables(
    rows: &Columns,
    names: &[Arc<str>],
    symbols: &[SymbolDefinition],
    at: Location,
) -> Result<Vec<Variable>, Fault> {
    for SymbolDefinition { symbol, definition: _ } in symbols {
        if symbol.value != within::VARIABLE {
            variable(symbol, names)?;
        }
    }
    let compiled = names.iter().map(|name| {
        let symbol = symbols.iter().find(|one| *one.symbol.value == **name);
        let mut scope = PatternScope { rows, names, navigations: Vec::new(), at };
        let condition = match symbol {
            Some(SymbolDefinition { symbol, definition }) => {
                let subject = format!("the definition of {symbol}");
                Some(Compiler::new(&mut scope, at).condition(&subject, definition)?)
            }
            None => None,
        };
        let navigations = scope.navigations;
        Ok(Variable { name: Arc::clone(name), condition, navigations })
    });
    compiled.collect()
}

/// Expressions of DEFINE and MEASURES: columns are the navigations that are met.
struct PatternScope<'a> {
    rows: &'a Columns,
    names: &'a [Arc<str>],
    navigations: Vec<Navigation>,
    at: Location,
}

impl PatternScope<'_> {
    fn navigate(&mut self, navigation: Navigation) -> Expression {
        let known = self.navigations.iter().position(|known| *known == navigation);
        Expression::Column(known.unwrap_or_else(|| {
            self.navigations.push(navigation);
            self.navigations.len() - 1
        }))
    }

    /// `FIRST(x [, n])` and `LAST(x [, n])`.
    fn edge(&mut self, name: &str, function: &Function, at: Location) -> Result<Typed, Fault> {
        let given = arguments(function, at)?.iter().map(plain_argument);
        let given = given.collect::<Option<Vec<_>>>().unwrap_or_default();
        let (value, offset) = match given.as_slice() {
            [value] => (value, Some(0)),
            [value, Expr::Value(offset)] => match &offset.value {
                Literal::Number(digits, _) => (value, digits.parse().ok()),
                _ => (value, None),
            },
            _ => return Err(wrong_edge(name, function, at)),
        };
        let offset = offset.ok_or_else(|| wrong_edge(name, function, at))?;
        let mut scope = VariableScope::new(self.rows, self.names);
        let typed = Compiler::new(&mut scope, at).compile(value)?;
        let kind = if name == "FIRST" {
            NavigationKind::First(offset)
        } else {
            NavigationKind::Last(offset)
        };
        let variable = scope.variable(at)?;
        let expression = self.navigate(Navigation { variable, kind, value: typed.expression });
        Ok(Typed { expression, data_type: typed.data_type })
    }

    fn aggregate(&mut self, function: &Function, at: Location) -> Result<Option<Typed>, Fault> {
        let mut scope = VariableScope::new(self.rows, self.names);
        let renamed = scope.unqualified(function, at)?;
        let Some(call) = aggregate::compile(&renamed, self.rows, at)? else { return Ok(None) };
        let data_type = call.result_type.clone();
        let value = match call.arguments.first() {
            Some(argument) => argument.expression.clone(),
            None => Expression::Constant(crate::value::Value::Boolean(true)),
        };
        let kind = NavigationKind::Aggregate(call);
        let variable = scope.variable(at)?;
        let expression = self.navigate(Navigation { variable, kind, value });
        Ok(Some(Typed::new(expression, data_type)))
    }
}

fn wrong_edge(name: &str, function: &Function, at: Location) -> Fault {
    let subject = format!("the call of {name}");
    let expected = format!("{name}(variable.column [, number])");
    Fault::new(at, SqlErrorReason::mismatch(subject, quoted(function), expected))
}

impl Scope for PatternScope<'_> {
    fn whole(&mut self, sql: &Expr) -> Result<Option<Typed>, Fault> {
        let Expr::Function(function) = sql else { return Ok(None) };
        let at = place(sql, self.at);
        match function_name(function).as_str() {
            name @ ("FIRST" | "LAST") => self.edge(name, function, at).map(Some),
            name if crate::expression::aggregate::is_aggregate(name) => {
                self.aggregate(function, at)
            }
            _ => Ok(None),
        }
    }

    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault> {
        let mut scope = VariableScope::new(self.rows, self.names);
        let typed = scope.column(qualifier, name)?;
        let variable = scope.variable(name.span.start)?;
        let kind = NavigationKind::Last(0);
        let expression = self.navigate(Navigation { variable, kind, value: typed.expression });
        Ok(Typed { expression, data_type: typed.data_type })
    }
}

/// An expression over the rows of one variable.
struct VariableScope<'a> {
    rows: &'a Columns,
    names: &'a [Arc<str>],
    /// What qualified the columns so far.
    met: Vec<Option<usize>>,
}

impl<'a> VariableScope<'a> {
    const fn new(rows: &'a Columns, names: &'a [Arc<str>]) -> Self {
        Self { rows, names, met: Vec::new() }
    }

    /// The one variable whose rows were named; none for all rows.
    fn variable(&self, at: Location) -> Result<Option<usize>, Fault> {
        match self.met.as_slice() {
            [] => Ok(None),
            [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(*first),
            _ => {
                let supported = "columns of one variable in FIRST, LAST or an aggregate";
                let what = "columns of several variables";
                Err(Fault::new(at, SqlErrorReason::unsupported(what, supported)))
            }
        }
    }

    /// A call whose argument is a column of a variable, without the variable.
    fn unqualified(&mut self, function: &Function, at: Location) -> Result<Function, Fault> {
        use sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArguments};
        let mut function = function.clone();
        if let FunctionArguments::List(list) = &mut function.args {
            for argument in &mut list.args {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(sql)) = argument else { continue };
                match sql {
                    Expr::CompoundIdentifier(parts) => {
                        let [variable_name, column] = parts.as_slice() else { continue };
                        self.met.push(Some(variable(variable_name, self.names)?));
                        *sql = Expr::Identifier(column.clone());
                    }
                    Expr::Identifier(_) => self.met.push(None),
                    Expr::Value(_) => {}
                    other => {
                        let supported = "an aggregate of variable.column";
                        let reason = SqlErrorReason::unsupported(quoted(other), supported);
                        return Err(Fault::new(place(other, at), reason));
                    }
                }
            }
        }
        Ok(function)
    }
}

impl Scope for VariableScope<'_> {
    fn whole(&mut self, _expression: &Expr) -> Result<Option<Typed>, Fault> {
        Ok(None)
    }

    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault> {
        let variable = qualifier.map(|name| variable(name, self.names)).transpose()?;
        self.met.push(variable);
        let index = self.rows.find(None, name)?;
        let data_type = self.rows.0.get(index).map(|column| column.data_type.clone());
        Ok(Typed { expression: Expression::Column(index), data_type })
    }
}
