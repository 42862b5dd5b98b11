//! Flink's syntax as far as `sqlparser` lets a dialect reach.
//!
//! `sqlparser` has no Flink dialect. Its hooks reach names, keywords and the prefix of an
//! expression, which is enough for `TABLE t` inside a table function. `WATERMARK FOR` stands where
//! there is no hook; [`crate::sql::statement`] reads CREATE TABLE itself instead.

use sqlparser::ast::{AccessExpr, Expr, Ident, Subscript};
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

    /// `JSON_OBJECT('key' VALUE value)`.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        true
    }

    /// Reads `TABLE name [PARTITION BY column, …]`, the first argument of a windowing function, and
    /// `MAP[key, value, …]`.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_ref();
        let Token::Word(word) = &first.token else { return None };
        if word.value.eq_ignore_ascii_case("MAP") && second.token == Token::LBracket {
            let prefix = Ident::with_span(first.span, "MAP");
            parser.next_token();
            parser.next_token();
            return Some(map_literal(parser, prefix));
        }
        if word.value.eq_ignore_ascii_case("KEY")
            && matches!(second.token, Token::SingleQuotedString(_))
        {
            // `KEY 'name' VALUE value`: the word changes nothing.
            parser.next_token();
            return Some(parser.parse_prefix());
        }
        if word.keyword != Keyword::TABLE || !matches!(second.token, Token::Word(_)) {
            return None;
        }
        let prefix = Ident::with_span(first.span, "TABLE");
        parser.next_token();
        Some(table_argument(parser, prefix))
    }
}

/// `MAP[key, value, …]` becomes `Prefixed(MAP, (key, value, …))`, with what is taken out of it by
/// `[key]` behind.
fn map_literal(parser: &mut Parser<'_>, prefix: Ident) -> Result<Expr, ParserError> {
    let parts = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RBracket)?;
    let root = Expr::Prefixed { prefix, value: Box::new(Expr::Tuple(parts)) };
    let mut access_chain = Vec::new();
    while parser.consume_token(&Token::LBracket) {
        let index = parser.parse_expr()?;
        parser.expect_token(&Token::RBracket)?;
        access_chain.push(AccessExpr::Subscript(Subscript::Index { index }));
    }
    if access_chain.is_empty() {
        return Ok(root);
    }
    Ok(Expr::CompoundFieldAccess { root: Box::new(root), access_chain })
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
