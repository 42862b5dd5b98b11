//! From parsed SQL to typed trees.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, UnaryOperator, Value as Literal, ValueWithSpan,
};
use sqlparser::tokenizer::Location;

use crate::expression::function::ScalarFunction;
use crate::expression::literal;
use crate::expression::pattern::LikePattern;
use crate::expression::scope::Scope;
use crate::expression::source_text::{place, quoted};
use crate::expression::tree::{Comparison, Expression, Operator};
use crate::expression::typed::{Typed, common, type_name, widen, width};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::value::DataType;

/// Deepest tree: evaluation recurses, and an agent's threads have small stacks. AND and OR do not
/// nest by their length.
const DEPTH_LIMIT: usize = 200;

const EXPRESSIONS: &str = "columns, literals, + - * / %, comparisons, AND, OR, NOT, IS NULL, IS \
                           TRUE, IN, BETWEEN, LIKE, CASE, ||, ABS, COALESCE, UPPER, LOWER, CONCAT";

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

    /// Compiles a condition: `subject` names it in errors.
    pub(crate) fn condition(&mut self, subject: &str, sql: &Expr) -> Result<Expression, Fault> {
        self.expect(sql, DataType::Boolean, subject)
    }

    fn compile_parts(&mut self, sql: &Expr) -> Result<Typed, Fault> {
        match sql {
            Expr::Identifier(name) => self.scope.column(name),
            Expr::CompoundIdentifier(parts) => self.qualified(sql, parts),
            Expr::Nested(inner) => self.compile(inner),
            Expr::Value(literal) => literal::compile(literal, ""),
            Expr::TypedString(literal) => literal::timestamp(literal),
            Expr::UnaryOp { op, expr } => self.unary(sql, *op, expr),
            Expr::BinaryOp { left, op, right } => self.binary(sql, left, op, right),
            Expr::IsNull(inner) => self.null_test(inner).map(boolean),
            Expr::IsNotNull(inner) => self.null_test(inner).map(not),
            Expr::IsTrue(inner) => self.truth_test(inner, true).map(boolean),
            Expr::IsNotTrue(inner) => self.truth_test(inner, true).map(not),
            Expr::IsFalse(inner) => self.truth_test(inner, false).map(boolean),
            Expr::IsNotFalse(inner) => self.truth_test(inner, false).map(not),
            Expr::InList { expr, list, negated } => {
                let within = self.in_list(expr, list)?;
                Ok(if *negated { not(within) } else { boolean(within) })
            }
            Expr::Between { expr, negated, low, high } => {
                let above = self.compare(Comparison::GreaterOrEqual, ">=", expr, low)?;
                let below = self.compare(Comparison::LessOrEqual, "<=", expr, high)?;
                let within = Expression::And(vec![above, below]);
                Ok(if *negated { not(within) } else { boolean(within) })
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
                let like = self.like(expr, pattern)?;
                Ok(if *negated { not(like) } else { boolean(like) })
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Function(function) => self.function(sql, function),
            _ => Err(self.unsupported(sql)),
        }
    }

    fn qualified(&mut self, sql: &Expr, parts: &[Ident]) -> Result<Typed, Fault> {
        let [table, column] = parts else { return Err(self.unsupported(sql)) };
        if table.value != self.scope.table().value {
            let name = table.value.clone();
            let known = std::iter::once(self.scope.table().value.as_str());
            let reason = SqlErrorReason::UnknownTable { hint: Hint::new(&name, known), name };
            return Err(Fault::new(table.span.start, reason));
        }
        self.scope.column(column)
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
                let typed = self.numeric(inner, "the operand of -")?;
                let (width, data_type) = width(typed.data_type);
                let expression = Expression::Negate(width, Box::new(typed.expression));
                Ok(Typed::new(expression, data_type))
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
        let arithmetic = |operator| (operator, op.to_string());
        let (operator, name) = match op {
            BinaryOperator::And => return self.chain(sql, op).map(Expression::And).map(boolean),
            BinaryOperator::Or => return self.chain(sql, op).map(Expression::Or).map(boolean),
            BinaryOperator::StringConcat => {
                let left = self.expect(left, DataType::String, "the left side of ||")?;
                let right = self.expect(right, DataType::String, "the right side of ||")?;
                let joined = Expression::Function(ScalarFunction::Concat, vec![left, right]);
                return Ok(Typed::new(joined, DataType::String));
            }
            BinaryOperator::Plus => arithmetic(Operator::Add),
            BinaryOperator::Minus => arithmetic(Operator::Subtract),
            BinaryOperator::Multiply => arithmetic(Operator::Multiply),
            BinaryOperator::Divide => arithmetic(Operator::Divide),
            BinaryOperator::Modulo => arithmetic(Operator::Remainder),
            _ => {
                let comparison = comparison(op).ok_or_else(|| self.unsupported(sql))?;
                let compared = self.compare(comparison, &op.to_string(), left, right)?;
                return Ok(boolean(compared));
            }
        };
        let left = self.numeric(left, &format!("the left side of {name}"))?;
        let right = self.numeric(right, &format!("the right side of {name}"))?;
        let common = common(left.data_type, right.data_type).flatten();
        let (width, data_type) = width(common);
        let sides = [widen(left, data_type), widen(right, data_type)];
        Ok(Typed::new(Expression::Arithmetic(operator, width, Box::new(sides)), data_type))
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
        let Some(common) = common(left.data_type, right.data_type) else {
            let (found, expected) = (type_name(right.data_type), type_name(left.data_type));
            let reason = SqlErrorReason::mismatch(subject, found, expected);
            return Err(Fault::new(at, reason));
        };
        Ok(match common {
            Some(common) => [widen(left, common), widen(right, common)],
            None => [left.expression, right.expression],
        })
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
        let widest = items.iter().fold(needle.data_type, |widest, (_, item)| {
            common(widest, item.data_type).unwrap_or(widest)
        });
        if let Some(widest) = widest {
            needle = Typed::new(widen(needle, widest), widest);
        }
        let mut compiled = Vec::with_capacity(items.len());
        for (at, item) in items {
            let [_, item] = self.alike("an item of IN", at, needle.clone(), item)?;
            compiled.push(item);
        }
        Ok(Expression::In(Box::new(needle.expression), compiled))
    }

    fn like(&mut self, inner: &Expr, pattern: &Expr) -> Result<Expression, Fault> {
        let inner = self.expect(inner, DataType::String, "the left side of LIKE")?;
        let text = match pattern {
            Expr::Value(ValueWithSpan { value: Literal::SingleQuotedString(text), .. }) => text,
            other => {
                let reason = SqlErrorReason::mismatch(
                    "the pattern of LIKE",
                    quoted(other),
                    "'text' with % for any text and _ for one character",
                );
                return Err(Fault::new(self.at(other), reason));
            }
        };
        Ok(Expression::Like(Box::new(inner), LikePattern::new(text)))
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
        let widen = |typed: Typed| match widest {
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
        *widest = common(*widest, typed.data_type).ok_or_else(|| {
            let (found, expected) = (type_name(typed.data_type), type_name(*widest));
            let subject = format!("the value of {subject}");
            Fault::new(self.at(sql), SqlErrorReason::mismatch(subject, found, expected))
        })?;
        Ok(typed)
    }

    pub(super) fn numeric(&mut self, sql: &Expr, subject: &str) -> Result<Typed, Fault> {
        let typed = self.compile(sql)?;
        match typed.data_type {
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
        wanted: DataType,
        subject: &str,
    ) -> Result<Expression, Fault> {
        self.compile(sql)?.widen_to(wanted).map_err(|typed| {
            let found = type_name(typed.data_type);
            Fault::new(self.at(sql), SqlErrorReason::mismatch(subject, found, wanted))
        })
    }

    fn unsupported(&self, sql: &Expr) -> Fault {
        Fault::new(self.at(sql), SqlErrorReason::unsupported(quoted(sql), EXPRESSIONS))
    }

    pub(super) fn at(&self, sql: &Expr) -> Location {
        place(sql, self.fallback)
    }
}

pub(super) const fn boolean(expression: Expression) -> Typed {
    Typed::new(expression, DataType::Boolean)
}

fn not(expression: Expression) -> Typed {
    boolean(Expression::Not(Box::new(expression)))
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
