//! Scalar expressions: compiled once to a tree over column indexes, evaluated per row.

/// Places and quotations of parsed SQL.
pub(crate) mod source_text;
/// What names mean where an expression stands.
pub(crate) mod scope;
/// The types of expressions and how they meet.
pub(crate) mod typed;
/// Literals.
mod literal;
/// Names and types of aggregates.
pub(crate) mod aggregate;
/// Calls of scalar functions.
pub(crate) mod call;
/// Operators over numbers and times: which type they give.
pub(crate) mod arithmetic;
/// Periods of time.
mod period;
/// From parsed SQL to typed trees.
pub(crate) mod compile;
/// CAST and TRY_CAST.
pub(crate) mod cast;
/// LIKE patterns.
pub(crate) mod pattern;
/// Regular expressions.
pub(crate) mod regex;
/// Scalar functions: their names, what they take and what they give.
pub(crate) mod function;
/// Functions of text.
mod text;
/// Digests of text.
mod digest;
/// Text as bytes of a character set.
mod charset;
/// What kind of text a text is: letters, digits, a number, an address.
mod kind;
/// Functions of numbers.
mod number;
/// Functions of numbers whose type follows their argument's.
mod numeric;
/// Functions of time, on UTC.
pub(crate) mod moment;
/// JSON functions.
mod json;
/// JSON functions that the grammar writes with words between the arguments.
mod json_call;
/// Functions whose value is not in the rows.
mod volatile;
/// Functions of arrays and maps.
mod collection;
/// The tree and its evaluation.
pub(crate) mod tree;

pub(crate) use compile::Compiler;
pub(crate) use scope::{Columns, Named, Scope};
pub use tree::EvaluationError;
pub(crate) use tree::Expression;
pub(crate) use typed::Typed;

#[cfg(test)]
mod tests;
