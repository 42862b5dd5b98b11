//! Scalar expressions: compiled once to a tree over column indexes, evaluated per row.

/// Places and quotations of parsed SQL.
pub(crate) mod source_text;
/// What names mean where an expression stands.
pub(crate) mod scope;
/// The types of expressions and how they meet.
pub(crate) mod typed;
/// Literals.
mod literal;
/// Calls of scalar functions.
pub(crate) mod call;
/// From parsed SQL to typed trees.
pub(crate) mod compile;
/// LIKE patterns.
pub(crate) mod pattern;
/// Scalar functions.
pub(crate) mod function;
/// The tree and its evaluation.
pub(crate) mod tree;

pub(crate) use compile::Compiler;
pub(crate) use scope::{Scope, TableScope};
pub use tree::EvaluationError;
pub(crate) use tree::Expression;
pub(crate) use typed::Typed;

#[cfg(test)]
mod tests;
