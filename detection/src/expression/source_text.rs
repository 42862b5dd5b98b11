//! Places and quotations of parsed SQL.

use std::fmt;

use sqlparser::ast::{Expr, Spanned};
use sqlparser::tokenizer::Location;

/// Longest piece of SQL that an error quotes, in characters.
const QUOTE_CHARS_LIMIT: usize = 60;

/// SQL quoted in an error, cut when it is long.
pub(crate) fn quoted(sql: &impl fmt::Display) -> String {
    let text = sql.to_string();
    let mut cut: String = text.chars().take(QUOTE_CHARS_LIMIT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("`{cut}`")
}

/// Where an expression begins, or `fallback` when the parser kept no place.
pub(crate) fn place(sql: &Expr, fallback: Location) -> Location {
    let start = sql.span().start;
    if start.line == 0 { fallback } else { start }
}
