//! Flink's syntax as far as `sqlparser` lets a dialect reach.
//!
//! `sqlparser` has no Flink dialect. Its hooks reach names, keywords and the prefix of an
//! expression, which is enough for `TABLE t` inside a table function. `WATERMARK FOR` stands where
//! there is no hook; [`crate::sql::statement`] reads CREATE TABLE itself instead.

use sqlparser::ast::{Expr, Ident};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// The subset of Flink SQL that rules are written in.
#[derive(Debug)]
pub(crate) struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    /// Read so that the compiler can refuse it by name.
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    /// Read so that the compiler can refuse it by name.
    fn supports_match_recognize(&self) -> bool {
        true
    }

    /// `FOR SYSTEM_TIME AS OF`.
    fn supports_table_versioning(&self) -> bool {
        true
    }

    /// Reads `TABLE name [PARTITION BY column, …]`, the first argument of a windowing function.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_ref();
        let Token::Word(word) = &first.token else { return None };
        if word.keyword != Keyword::TABLE || !matches!(second.token, Token::Word(_)) {
            return None;
        }
        let prefix = Ident::with_span(first.span, "TABLE");
        parser.next_token();
        Some(table_argument(parser, prefix))
    }
}

/// The table becomes `Prefixed(TABLE, name)`, with PARTITION BY `Prefixed(TABLE, (name, columns))`.
fn table_argument(parser: &mut Parser<'_>, prefix: Ident) -> Result<Expr, ParserError> {
    let name = Expr::Identifier(parser.parse_identifier()?);
    let value = if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        let mut parts = vec![name, Expr::Identifier(parser.parse_identifier()?)];
        while is_column_next(parser) {
            parser.next_token();
            parts.push(Expr::Identifier(parser.parse_identifier()?));
        }
        Expr::Tuple(parts)
    } else {
        name
    };
    Ok(Expr::Prefixed { prefix, value: Box::new(value) })
}

/// Whether a comma and a column follow, and not the next argument, which is a call.
fn is_column_next(parser: &Parser<'_>) -> bool {
    let [comma, word, behind] = parser.peek_tokens_ref();
    comma.token == Token::Comma
        && matches!(word.token, Token::Word(_))
        && behind.token != Token::LParen
}
