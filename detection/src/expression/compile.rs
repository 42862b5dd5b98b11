//! From parsed SQL to typed trees.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType as ParsedType, Expr, Ident, Subscript,
    UnaryOperator, Value as Literal,
};
use sqlparser::tokenizer::Location;

use crate::expression::arithmetic::folded;
use crate::expression::cast::{self, Cast, OnFailure, can_cast};
use crate::expression::function::Function;
use crate::expression::literal;
use crate::expression::pattern::LikePattern;
use crate::expression::regex::{Regex, RegexCall};
use crate::expression::scope::Scope;
use crate::expression::source_text::{place, quoted};
use crate::expression::tree::{Comparison, Expression, Operator, Width};
use crate::expression::typed::{Typed, common, type_name, widen, width};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::{data_type, interval};
use crate::value::{DataType, Value};

/// Deepest tree: evaluation recurses, and an agent's threads have small stacks. AND and OR do not
/// nest by their length.
const DEPTH_LIMIT: usize = 200;

const EXPRESSIONS: &str = "columns, literals, + - * / %, comparisons, AND, OR, NOT, IS NULL, IS \
                           TRUE, IN, BETWEEN, LIKE, CASE, CAST, ||, and functions";

/// Compiles expressions within one scope.
pub(crate) struct Compiler<'a, S> {
    scope: &'a mut S,
    depth: usize,
    /// The place named for an expression that has none of its own.
    fallback: Location,
}

impl<'a, S: Scope> Compiler<'a, S> {
    pub(crate) const fn new(scope: &'a mut S, fallback: Location) -> Self {
        Self { scope, depth: 0, fallback }
    }

    /// Compiles one expression.
    pub(crate) fn compile(&mut self, expression: &Expr) -> Result<Typed, Fault> {
        if self.depth == DEPTH_LIMIT {
            let (what, limit) = ("a chain of operators", DEPTH_LIMIT);
            return Err(Fault::new(self.fallback, SqlErrorReason::TooLong { what, limit }));
        }
        self.depth += 1;
        let typed = match self.scope.whole(expression) {
            Ok(Some(typed)) => Ok(typed),
            Ok(None) => self.compile_parts(expression),
            Err(fault) => Err(fault),
        };
        self.depth -= 1;
        typed
    }

    /// Compiles an expression that must have a type: `subject` names it in errors.
    pub(crate) fn fitted(
        &mut self,
        sql: &Expr,
        wanted: &DataType,
        subject: &str,
    ) -> Result<Expression, Fault> {
        self.expect(sql, wanted, subject)
    }

    /// Compiles a condition: `subject` names it in errors.
    pub(crate) fn condition(&mut self, subject: &str, sql: &Expr) -> Result<Expression, Fault> {
        self.expect(sql, &DataType::Boolean, subject)
    }

    fn compile_parts(&mut self, sql: &Expr) -> Result<Typed, Fault> {
        match sql {
            Expr::Identifier(name) => self.scope.column(None, name),
            Expr::CompoundIdentifier(parts) => self.qualified(sql, parts),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            Expr::Nested(inner) => self.compile(inner),
            Expr::Value(literal) => literal::compile(literal, ""),
            Expr::TypedString(literal) => literal::typed_text(literal),
            Expr::Interval(_) => interval::literal(sql, self.at(sql)),
            Expr::UnaryOp { op, expr } => self.unary(sql, *op, expr),
            Expr::BinaryOp { left, op, right } => self.binary(sql, left, op, right),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Cast { kind, expr, data_type, format: None } => self.cast(kind, expr, data_type),
            Expr::Function(function) => self.function(sql, function),
            Expr::InSubquery { .. } | Expr::Exists { .. } => {
                let supported = "a query in a condition that other conditions of WHERE are joined \
                                 to by AND";
                Err(Fault::new(self.at(sql), SqlErrorReason::unsupported(quoted(sql), supported)))
            }
            _ => match self.test(sql)? {
                Some(typed) => Ok(typed),
                None => self.special_call(sql),
            },
        }
    }

    /// Conditions that have words of their own; none for another expression.
    fn test(&mut self, sql: &Expr) -> Result<Option<Typed>, Fault> {
        Ok(Some(match sql {
            Expr::IsNull(inner) => boolean(self.null_test(inner)?),
            Expr::IsNotNull(inner) => not(self.null_test(inner)?),
            Expr::IsTrue(inner) => boolean(self.truth_test(inner, true)?),
            Expr::IsNotTrue(inner) => not(self.truth_test(inner, true)?),
            Expr::IsFalse(inner) => boolean(self.truth_test(inner, false)?),
            Expr::IsNotFalse(inner) => not(self.truth_test(inner, false)?),
            Expr::IsUnknown(inner) => {
                boolean(Expression::IsNull(Box::new(self.condition("the operand of IS", inner)?)))
            }
            Expr::IsNotUnknown(inner) => {
                not(Expression::IsNull(Box::new(self.condition("the operand of IS", inner)?)))
            }
            Expr::IsDistinctFrom(left, right) => not(self.same(left, right)?),
            Expr::IsNotDistinctFrom(left, right) => boolean(self.same(left, right)?),
            Expr::InList { expr, list, negated } => negatable(self.in_list(expr, list)?, *negated),
            Expr::Between { expr, negated, low, high } => {
                let above = self.compare(Comparison::GreaterOrEqual, ">=", expr, low)?;
                let below = self.compare(Comparison::LessOrEqual, "<=", expr, high)?;
                negatable(Expression::And(vec![above, below]), *negated)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                negatable(self.like(expr, pattern, escape_char.as_deref())?, *negated)
            }
            Expr::SimilarTo { negated, expr, pattern, escape_char: None } => {
                negatable(self.similar(expr, pattern)?, *negated)
            }
            _ => return Ok(None),
        }))
    }

    /// `table.column`, `column.field`, `table.column.field` and deeper.
    fn qualified(&mut self, sql: &Expr, parts: &[Ident]) -> Result<Typed, Fault> {
        let [first, second, rest @ ..] = parts else { return Err(self.unsupported(sql)) };
        let (mut typed, fields) = match self.scope.column(Some(first), second) {
            Ok(typed) => (typed, rest),
            // Not a table's column: perhaps a column's field. What was said about the table stays
            // when it is none either.
            Err(fault) => match self.scope.column(None, first) {
                Ok(typed) if matches!(typed.data_type, Some(DataType::Row(_))) => {
                    (typed, parts.get(1..).unwrap_or_default())
                }
                Ok(_) | Err(_) => return Err(fault),
            },
        };
        for field in fields {
            typed = self.field(typed, field)?;
        }
        Ok(typed)
    }

    /// A field of a ROW.
    fn field(&self, typed: Typed, name: &Ident) -> Result<Typed, Fault> {
        let Some(DataType::Row(columns)) = &typed.data_type else {
            let found = type_name(typed.data_type.as_ref());
            let subject = format!("what stands before .{name}");
            let reason = SqlErrorReason::mismatch(subject, found, "a ROW");
            return Err(Fault::new(name.span.start, reason));
        };
        let index = columns.iter().position(|column| **column.name() == *name.value);
        let Some((index, column)) = index.and_then(|index| Some((index, columns.get(index)?)))
        else {
            let hint = Hint::new(&name.value, columns.iter().map(|column| &**column.name()));
            let table = "the ROW".to_owned();
            let reason = SqlErrorReason::UnknownColumn { name: name.value.clone(), table, hint };
            return Err(Fault::new(name.span.start, reason));
        };
        let data_type = column.data_type().clone();
        Ok(Typed::new(Expression::Field(Box::new(typed.expression), index), data_type))
    }

    /// `array[index]`, `map['key']` and `row.field` behind an expression.
    fn access(&mut self, root: &Expr, chain: &[AccessExpr]) -> Result<Typed, Fault> {
        let mut typed = self.compile(root)?;
        for access in chain {
            typed = match access {
                AccessExpr::Dot(Expr::Identifier(name)) => self.field(typed, name)?,
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    let key = self.compile(index)?;
                    let at = self.at(root);
                    self.call_compiled("ITEM", at, vec![typed, key])?
                }
                other => {
                    let supported = "[index], ['key'] and .field";
                    let reason = SqlErrorReason::unsupported(quoted(other), supported);
                    return Err(Fault::new(self.at(root), reason));
                }
            };
        }
        Ok(typed)
    }

    fn cast(&mut self, kind: &CastKind, sql: &Expr, to: &ParsedType) -> Result<Typed, Fault> {
        let at = self.at(sql);
        let Typed { expression, data_type } = self.compile(sql)?;
        let length = data_type::length(to);
        let to = data_type::convert(to, "the type of CAST", at)?;
        let Some(from) = data_type else { return Ok(Typed::new(expression, to)) };
        if !can_cast(&from, &to) {
            let expected = format!("a type that can be cast to {to}");
            return Err(Fault::new(
                at,
                SqlErrorReason::mismatch("the value of CAST", from, expected),
            ));
        }
        let on_failure = match kind {
            CastKind::Cast | CastKind::DoubleColon => OnFailure::Refuse,
            CastKind::TryCast | CastKind::SafeCast => OnFailure::Null,
        };
        let mut cast = Expression::Cast(Box::new(Cast {
            input: expression,
            from,
            to: to.clone(),
            on_failure,
        }));
        if let Some(length) = length
            && let Some(left) = Function::by_name("LEFT")
        {
            let length = Expression::Constant(Value::Integer(length));
            cast = Expression::Call(left, vec![cast, length]);
        }
        Ok(Typed::new(folded(cast), to))
    }

    fn unary(&mut self, sql: &Expr, op: UnaryOperator, inner: &Expr) -> Result<Typed, Fault> {
        match (op, inner) {
            (UnaryOperator::Not, inner) => self.condition("the operand of NOT", inner).map(not),
            (UnaryOperator::Minus, Expr::Value(literal))
                if matches!(literal.value, Literal::Number(..)) =>
            {
                literal::compile(literal, "-")
            }
            (UnaryOperator::Minus, inner) => {
                let typed = self.compile(inner)?;
                if let Some(interval @ (DataType::DayInterval | DataType::MonthInterval)) =
                    typed.data_type
                {
                    let negated = Expression::Negate(Width::BigInt, Box::new(typed.expression));
                    return Ok(Typed::new(folded(negated), interval));
                }
                let typed = self.numeric(inner, "the operand of -")?;
                let width = width(typed.data_type.as_ref());
                let expression = Expression::Negate(width, Box::new(typed.expression));
                Ok(Typed::new(expression, width.data_type()))
            }
            (UnaryOperator::Plus, inner) => self.numeric(inner, "the operand of +"),
            _ => Err(self.unsupported(sql)),
        }
    }

    fn binary(
        &mut self,
        sql: &Expr,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
    ) -> Result<Typed, Fault> {
        let operator = match op {
            BinaryOperator::Overlaps => return self.special_call(sql),
            BinaryOperator::And => return self.chain(sql, op).map(Expression::And).map(boolean),
            BinaryOperator::Or => return self.chain(sql, op).map(Expression::Or).map(boolean),
            BinaryOperator::StringConcat => {
                let left = self.text(left, "the left side of ||")?;
                let right = self.text(right, "the right side of ||")?;
                return self.call_compiled("CONCAT", self.at(sql), vec![left, right]);
            }
            BinaryOperator::Plus => Operator::Add,
            BinaryOperator::Minus => Operator::Subtract,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Remainder,
            _ => {
                let comparison = comparison(op).ok_or_else(|| self.unsupported(sql))?;
                let compared = self.compare(comparison, &op.to_string(), left, right)?;
                return Ok(boolean(compared));
            }
        };
        self.arithmetic(operator, &op.to_string(), left, right)
    }

    fn text(&mut self, sql: &Expr, subject: &str) -> Result<Typed, Fault> {
        let expression = self.expect(sql, &DataType::String, subject)?;
        Ok(Typed::new(expression, DataType::String))
    }

    /// The operands of `a AND b AND …`, which the parser nests to the left.
    fn chain(&mut self, sql: &Expr, wanted: &BinaryOperator) -> Result<Vec<Expression>, Fault> {
        let mut operands = Vec::new();
        let mut rest = sql;
        while let Expr::BinaryOp { left, op, right } = rest
            && op == wanted
        {
            operands.push(&**right);
            rest = left;
        }
        operands.push(rest);
        let subject = format!("the operand of {wanted}");
        operands.into_iter().rev().map(|operand| self.condition(&subject, operand)).collect()
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        name: &str,
        left: &Expr,
        right: &Expr,
    ) -> Result<Expression, Fault> {
        let right_at = self.at(right);
        let (left, right) = (self.compile(left)?, self.compile(right)?);
        let sides = self.alike(&format!("the right side of {name}"), right_at, left, right)?;
        Ok(Expression::Compare(comparison, Box::new(sides)))
    }

    /// Both sides widened to their common type.
    fn alike(
        &self,
        subject: &str,
        at: Location,
        left: Typed,
        right: Typed,
    ) -> Result<[Expression; 2], Fault> {
        let Some(common) = common(left.data_type.as_ref(), right.data_type.as_ref()) else {
            if let Some(sides) = moments(&left, &right) {
                return Ok(sides);
            }
            let found = type_name(right.data_type.as_ref());
            let expected = type_name(left.data_type.as_ref());
            let reason = SqlErrorReason::mismatch(subject, found, expected);
            return Err(Fault::new(at, reason));
        };
        Ok(match common {
            Some(common) => [widen(left, &common), widen(right, &common)],
            None => [left.expression, right.expression],
        })
    }

    /// `left = right`.
    pub(super) fn equal(&mut self, left: &Expr, right: &Expr) -> Result<Expression, Fault> {
        self.compare(Comparison::Equal, "=", left, right)
    }

    /// `left IS NOT DISTINCT FROM right`.
    fn same(&mut self, left: &Expr, right: &Expr) -> Result<Expression, Fault> {
        let at = self.at(right);
        let (left, right) = (self.compile(left)?, self.compile(right)?);
        let sides = self.alike("the right side of IS DISTINCT FROM", at, left, right)?;
        Ok(Expression::Same(Box::new(sides)))
    }

    fn null_test(&mut self, inner: &Expr) -> Result<Expression, Fault> {
        Ok(Expression::IsNull(Box::new(self.compile(inner)?.expression)))
    }

    fn truth_test(&mut self, inner: &Expr, wanted: bool) -> Result<Expression, Fault> {
        let inner = self.condition("the operand of IS", inner)?;
        Ok(Expression::Is(Box::new(inner), wanted))
    }

    fn in_list(&mut self, needle: &Expr, list: &[Expr]) -> Result<Expression, Fault> {
        let mut needle = self.compile(needle)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push((self.at(item), self.compile(item)?));
        }
        // The needle is widened first, so that one common type serves all items.
        let widest = items.iter().fold(needle.data_type.clone(), |widest, (_, item)| {
            common(widest.as_ref(), item.data_type.as_ref()).unwrap_or(widest)
        });
        if let Some(widest) = widest {
            needle = Typed::new(widen(needle, &widest), widest);
        }
        let mut compiled = Vec::with_capacity(items.len());
        for (at, item) in items {
            let [_, item] = self.alike("an item of IN", at, needle.clone(), item)?;
            compiled.push(item);
        }
        Ok(Expression::In(Box::new(needle.expression), compiled))
    }

    fn like(
        &mut self,
        inner: &Expr,
        pattern_sql: &Expr,
        escape: Option<&Expr>,
    ) -> Result<Expression, Fault> {
        let inner = self.expect(inner, &DataType::String, "the left side of LIKE")?;
        let pattern = self.expect(pattern_sql, &DataType::String, "the pattern of LIKE")?;
        let escape = match escape {
            Some(sql) => {
                let text = self.constant_text(sql, "the character behind ESCAPE", "'c'")?;
                text.chars().next()
            }
            None => None,
        };
        if let Some(Value::Text(text)) = pattern.constant() {
            return Ok(Expression::Like(Box::new(inner), LikePattern::with_escape(text, escape)));
        }
        let mut arguments = vec![inner, pattern];
        arguments.extend(escape.map(|one| Expression::Constant(Value::text(&one.to_string()))));
        Function::by_name("LIKE")
            .map(|function| Expression::Call(function, arguments))
            .ok_or_else(|| self.unsupported(pattern_sql))
    }

    /// `SIMILAR TO`: a regular expression for the whole text, with % and _ as in LIKE.
    fn similar(&mut self, inner: &Expr, pattern: &Expr) -> Result<Expression, Fault> {
        let at = self.at(pattern);
        let inner = self.expect(inner, &DataType::String, "the left side of SIMILAR TO")?;
        let text = self.constant_text(pattern, "the pattern of SIMILAR TO", "'pattern'")?;
        let pattern = text.replace('%', "(?s:.*)").replace('_', "(?s:.)");
        let regex = self.regex(&format!("^(?:{pattern})$"), at)?;
        Ok(Expression::Match(RegexCall::Found, regex, vec![inner]))
    }

    pub(super) fn regex(&self, pattern: &str, at: Location) -> Result<Regex, Fault> {
        Regex::new(pattern).map_err(|found| {
            let expected = "a regular expression without look-around and back references";
            Fault::new(at, SqlErrorReason::mismatch("the pattern", found, expected))
        })
    }

    /// The text of a literal.
    pub(super) fn constant_text(
        &mut self,
        sql: &Expr,
        subject: &str,
        expected: &str,
    ) -> Result<String, Fault> {
        match self.compile(sql)?.expression.constant() {
            Some(Value::Text(text)) => Ok(text.to_string()),
            _ => {
                let reason = SqlErrorReason::mismatch(subject, quoted(sql), expected);
                Err(Fault::new(self.at(sql), reason))
            }
        }
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Typed, Fault> {
        let mut branches = Vec::with_capacity(conditions.len());
        let mut widest = None;
        for CaseWhen { condition, result } in conditions {
            let condition = match operand {
                Some(operand) => self.compare(Comparison::Equal, "WHEN", operand, condition)?,
                None => self.condition("the condition of WHEN", condition)?,
            };
            branches.push((condition, self.result(&mut widest, "THEN", result)?));
        }
        let otherwise = match otherwise {
            Some(otherwise) => self.result(&mut widest, "ELSE", otherwise)?,
            None => Typed::NULL,
        };
        let widen = |typed: Typed| match &widest {
            Some(widest) => widen(typed, widest),
            None => typed.expression,
        };
        let expression = Expression::Case {
            branches: branches.into_iter().map(|(when, then)| (when, widen(then))).collect(),
            otherwise: Box::new(widen(otherwise)),
        };
        Ok(Typed { expression, data_type: widest })
    }

    /// Compiles one of several results that must share a type, and widens that type.
    pub(super) fn result(
        &mut self,
        widest: &mut Option<DataType>,
        subject: &str,
        sql: &Expr,
    ) -> Result<Typed, Fault> {
        let typed = self.compile(sql)?;
        *widest = common(widest.as_ref(), typed.data_type.as_ref()).ok_or_else(|| {
            let found = type_name(typed.data_type.as_ref());
            let expected = type_name(widest.as_ref());
            let subject = format!("the value of {subject}");
            Fault::new(self.at(sql), SqlErrorReason::mismatch(subject, found, expected))
        })?;
        Ok(typed)
    }

    pub(super) fn numeric(&mut self, sql: &Expr, subject: &str) -> Result<Typed, Fault> {
        let typed = self.compile(sql)?;
        match &typed.data_type {
            Some(other) if !other.is_numeric() => {
                let reason = SqlErrorReason::mismatch(subject, other, "a number");
                Err(Fault::new(self.at(sql), reason))
            }
            Some(_) | None => Ok(typed),
        }
    }

    pub(super) fn expect(
        &mut self,
        sql: &Expr,
        wanted: &DataType,
        subject: &str,
    ) -> Result<Expression, Fault> {
        self.compile(sql)?.widen_to(wanted).map_err(|typed| {
            let found = type_name(typed.data_type.as_ref());
            Fault::new(self.at(sql), SqlErrorReason::mismatch(subject, found, wanted))
        })
    }

    pub(super) fn unsupported(&self, sql: &Expr) -> Fault {
        Fault::new(self.at(sql), SqlErrorReason::unsupported(quoted(sql), EXPRESSIONS))
    }

    pub(super) fn at(&self, sql: &Expr) -> Location {
        place(sql, self.fallback)
    }
}

pub(super) const fn boolean(expression: Expression) -> Typed {
    Typed::new(expression, DataType::Boolean)
}

pub(super) fn not(expression: Expression) -> Typed {
    boolean(Expression::Not(Box::new(expression)))
}

fn negatable(expression: Expression, is_negated: bool) -> Typed {
    if is_negated { not(expression) } else { boolean(expression) }
}

/// A time and a text that is a literal: Flink reads the text as the time's type.
fn moments(left: &Typed, right: &Typed) -> Option<[Expression; 2]> {
    let is_moment = |typed: &Typed| {
        let data_type = typed.data_type.as_ref();
        data_type
            .is_some_and(|one| one.is_timestamp() || matches!(one, DataType::Date | DataType::Time))
    };
    let read = |text: &Typed, model: &Typed| {
        let (value, to) = (text.expression.constant()?, model.data_type.as_ref()?);
        let is_text = text.data_type.as_ref() == Some(&DataType::String);
        let value = is_text.then(|| cast::cast(value, &DataType::String, to))??;
        Some(Expression::Constant(value))
    };
    if is_moment(left) {
        return Some([left.expression.clone(), read(right, left)?]);
    }
    is_moment(right).then(|| Some([read(left, right)?, right.expression.clone()]))?
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}
