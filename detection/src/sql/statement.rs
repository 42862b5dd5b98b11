//! The statements of a rule file: CREATE TABLE and INSERT INTO.
//!
//! CREATE TABLE is read here token by token, because `sqlparser` has no hook where `WATERMARK FOR`
//! stands; types, expressions and queries are read by `sqlparser`. Every name keeps its place.

use std::sync::Arc;
use std::time::Duration;

use sqlparser::ast::{BinaryOperator, Expr, Ident, Query};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::sql::data_type::{self, TYPES};
use crate::sql::dialect::FlinkDialect;
use crate::sql::error::{Fault, SqlErrorReason};
use crate::sql::{interval, within};
use crate::value::{Column, DataType};

/// Longest rule file in bytes: a thousand rules fit; a mistaken path to a data file does not.
const FILE_BYTES_LIMIT: usize = 1 << 20;

/// Most tokens of a statement. `a + a + …` nests by one per operator in `sqlparser`'s tree, which
/// is dropped by recursion: this bounds the stack that takes.
const STATEMENT_TOKENS_LIMIT: usize = 4_000;

const STATEMENTS: &str =
    "CREATE TABLE, CREATE VIEW, INSERT INTO … SELECT and EXPLAIN INSERT INTO …";

/// Deepest nesting of types.
const TYPE_DEPTH_LIMIT: usize = 16;

/// One statement.
#[derive(Debug)]
pub(crate) enum Statement {
    /// A table is declared.
    CreateTable(CreateTable),
    /// A query is named.
    CreateView(CreateView),
    /// A rule is declared.
    Insert(Insert),
    /// `EXPLAIN [PLAN FOR] INSERT INTO …`: what the rule would do is told, and it does not run.
    Explain(Insert),
}

/// `CREATE TABLE name (columns, WATERMARK …, PRIMARY KEY …) WITH (options)`.
#[derive(Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<DeclaredColumn>,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) primary_key: Vec<Ident>,
    pub(crate) options: Vec<TableOption>,
    /// `AS query`: the table has the query's columns and takes its rows.
    pub(crate) query: Option<Box<Query>>,
}

/// A column of CREATE TABLE.
#[derive(Debug)]
pub(crate) struct DeclaredColumn {
    pub(crate) name: Ident,
    pub(crate) kind: ColumnKind,
}

/// Where the values of a column come from.
#[derive(Debug)]
pub(crate) enum ColumnKind {
    /// The line.
    Physical(DataType),
    /// `name AS expression`.
    Computed(Box<Expr>),
    /// `name type METADATA [FROM 'key'] [VIRTUAL]`: what is known about the line.
    Metadata(DataType, MetadataKey),
}

/// Which of the things that are known about a line.
#[derive(Debug)]
pub(crate) struct MetadataKey {
    pub(crate) name: String,
    pub(crate) at: Location,
}

/// `WATERMARK FOR column AS column - INTERVAL …`.
#[derive(Debug)]
pub(crate) struct Watermark {
    pub(crate) column: Ident,
    pub(crate) delay: Duration,
}

/// `CREATE VIEW name [(columns)] AS query`.
#[derive(Debug)]
pub(crate) struct CreateView {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
}

/// `'key' = 'value'` in WITH.
#[derive(Debug)]
pub(crate) struct TableOption {
    pub(crate) key: String,
    pub(crate) key_at: Location,
    pub(crate) value: String,
    pub(crate) value_at: Location,
}

/// `INSERT INTO target [(columns)] query`.
#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) target: Ident,
    /// Empty for all columns in their order.
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
}

/// Reads every statement of a file.
pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>, Fault> {
    parse_placed(sql, |place| place)
}

/// Reads statements that were made of something in a file, at `place` there.
pub(crate) fn parse_at(sql: &str, place: Location) -> Result<Vec<Statement>, Fault> {
    parse_placed(sql, |_| Span::new(place, place))
}

fn parse_placed(sql: &str, place: impl Fn(Span) -> Span) -> Result<Vec<Statement>, Fault> {
    if sql.len() > FILE_BYTES_LIMIT {
        let reason = SqlErrorReason::TooLong { what: "the file", limit: FILE_BYTES_LIMIT };
        return Err(Fault::new(Location::new(1, 1), reason));
    }
    let mut tokens =
        Tokenizer::new(&FlinkDialect, sql).tokenize_with_location().map_err(|error| {
            let at = place(Span::new(error.location, error.location)).start;
            Fault::new(at, SqlErrorReason::Syntax { message: lowered(&error.message) })
        })?;
    tokens.iter_mut().for_each(|token| token.span = place(token.span));
    check_lengths(&tokens)?;
    let tokens = within::moved(tokens);
    let end = tokens.last().map_or_else(|| Location::new(1, 1), |token| token.span.end);
    let parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens);
    StatementParser { parser, end, depth: 0 }.statements()
}

fn check_lengths(tokens: &[TokenWithSpan]) -> Result<(), Fault> {
    let mut length = 0;
    for token in tokens {
        match token.token {
            Token::SemiColon => length = 0,
            Token::Whitespace(_) => {}
            _ => length += 1,
        }
        if length > STATEMENT_TOKENS_LIMIT {
            let (what, limit) = ("the statement in tokens", STATEMENT_TOKENS_LIMIT);
            return Err(Fault::new(token.span.start, SqlErrorReason::TooLong { what, limit }));
        }
    }
    Ok(())
}

struct StatementParser<'a> {
    parser: Parser<'a>,
    /// Where the text ends: the place of what is missing there.
    end: Location,
    /// How deep the type nests that is being read.
    depth: usize,
}

impl<'a> StatementParser<'a> {
    fn statements(&mut self) -> Result<Vec<Statement>, Fault> {
        let mut statements = Vec::new();
        loop {
            while self.parser.consume_token(&Token::SemiColon) {}
            if self.parser.peek_token_ref().token == Token::EOF {
                return Ok(statements);
            }
            statements.push(self.statement()?);
            if !matches!(self.parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
                return Err(self.unexpected("; after the statement"));
            }
        }
    }

    fn statement(&mut self) -> Result<Statement, Fault> {
        let at = self.here();
        for table in [
            [Keyword::CREATE, Keyword::TABLE].as_slice(),
            &[Keyword::CREATE, Keyword::TEMPORARY, Keyword::TABLE],
        ] {
            if self.parser.parse_keywords(table) {
                return self.create_table().map(Statement::CreateTable);
            }
        }
        for view in [
            [Keyword::CREATE, Keyword::VIEW].as_slice(),
            &[Keyword::CREATE, Keyword::TEMPORARY, Keyword::VIEW],
        ] {
            if self.parser.parse_keywords(view) {
                return self.create_view().map(Statement::CreateView);
            }
        }
        if self.parser.parse_keywords(&[Keyword::INSERT, Keyword::INTO]) {
            return self.insert().map(Statement::Insert);
        }
        if self.parser.parse_keyword(Keyword::EXPLAIN) {
            if self.word("PLAN") && !self.parser.parse_keyword(Keyword::FOR) {
                return Err(self.unexpected("FOR after EXPLAIN PLAN"));
            }
            if !self.parser.parse_keywords(&[Keyword::INSERT, Keyword::INTO]) {
                return Err(self.unexpected("INSERT INTO … SELECT behind EXPLAIN"));
            }
            return self.insert().map(Statement::Explain);
        }
        let Token::Word(word) = &self.parser.peek_token_ref().token else {
            return Err(self.unexpected(STATEMENTS));
        };
        let what = match &self.parser.peek_nth_token_ref(1).token {
            Token::Word(next) => format!("the statement {} {}", word.value, next.value),
            _ => format!("the statement {}", word.value),
        };
        Err(Fault::new(at, SqlErrorReason::unsupported(what, STATEMENTS)))
    }

    /// Passes over words that change nothing here.
    fn skip(&mut self, words: &[Keyword]) {
        let _is_there: bool = self.parser.parse_keywords(words);
    }

    fn create_table(&mut self) -> Result<CreateTable, Fault> {
        self.skip(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
        let name = self.name("a table name")?;
        let mut table = CreateTable {
            name,
            columns: Vec::new(),
            watermark: None,
            primary_key: Vec::new(),
            options: Vec::new(),
            query: None,
        };
        let has_columns = self.parser.peek_token_ref().token == Token::LParen;
        if has_columns {
            self.parser.next_token();
            loop {
                self.column_or_watermark(&mut table)?;
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.expect(&Token::RParen, ", or ) after a column")?;
        }
        if !self.parser.parse_keyword(Keyword::WITH) {
            return Err(self.unexpected("WITH ('topic' = '…') after the columns"));
        }
        self.expect(&Token::LParen, "( after WITH")?;
        loop {
            table.options.push(self.option()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen, ", or ) after an option")?;
        if !has_columns {
            if !self.parser.parse_keyword(Keyword::AS) {
                return Err(self.unexpected("AS SELECT …, since the table declares no columns"));
            }
            table.query = Some(self.run(Parser::parse_query)?);
        }
        Ok(table)
    }

    fn create_view(&mut self) -> Result<CreateView, Fault> {
        self.skip(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
        let name = self.name("the name of a view")?;
        let columns = if self.parser.peek_token_ref().token == Token::LParen {
            self.names("a column of the view")?
        } else {
            Vec::new()
        };
        if !self.parser.parse_keyword(Keyword::AS) {
            return Err(self.unexpected("AS"));
        }
        let query = self.run(Parser::parse_query)?;
        Ok(CreateView { name, columns, query })
    }

    /// `(name, …)`.
    fn names(&mut self, expected: &str) -> Result<Vec<Ident>, Fault> {
        self.expect(&Token::LParen, "(")?;
        let mut names = Vec::new();
        loop {
            names.push(self.name(expected)?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen, ", or )")?;
        Ok(names)
    }

    fn column_or_watermark(&mut self, table: &mut CreateTable) -> Result<(), Fault> {
        let at = self.here();
        if self.parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
            return self.primary_key(table, at);
        }
        let [first, second] = self.parser.peek_tokens_ref();
        let is_watermark = matches!(&first.token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("watermark"))
            && matches!(&second.token, Token::Word(word) if word.keyword == Keyword::FOR);
        if !is_watermark {
            let column = self.column()?;
            table.columns.push(column);
            return Ok(());
        }
        if let Some(first) = &table.watermark {
            let reason = SqlErrorReason::Duplicate {
                what: "WATERMARK of table",
                name: table.name.value.clone(),
                first_line: first.column.span.start.line,
            };
            return Err(Fault::new(at, reason));
        }
        self.parser.next_token();
        self.parser.next_token();
        table.watermark = Some(self.watermark()?);
        Ok(())
    }

    /// `PRIMARY KEY (columns) NOT ENFORCED`.
    fn primary_key(&mut self, table: &mut CreateTable, at: Location) -> Result<(), Fault> {
        if let Some(first) = table.primary_key.first() {
            let reason = SqlErrorReason::Duplicate {
                what: "PRIMARY KEY of table",
                name: table.name.value.clone(),
                first_line: first.span.start.line,
            };
            return Err(Fault::new(at, reason));
        }
        table.primary_key = self.names("a column of the key")?;
        if !self.parser.parse_keywords(&[Keyword::NOT, Keyword::ENFORCED]) {
            return Err(self.unexpected("NOT ENFORCED: nobody checks that keys do not repeat"));
        }
        Ok(())
    }

    fn column(&mut self) -> Result<DeclaredColumn, Fault> {
        let name = self.name("a column name, WATERMARK FOR or PRIMARY KEY")?;
        if self.parser.parse_keyword(Keyword::AS) {
            let expression = self.run(Parser::parse_expr)?;
            return Ok(DeclaredColumn { name, kind: ColumnKind::Computed(Box::new(expression)) });
        }
        let data_type = self.data_type(&format!("the type of column {name}"))?;
        self.skip(&[Keyword::NOT, Keyword::NULL]);
        self.skip(&[Keyword::NULL]);
        let kind = if self.word("METADATA") {
            ColumnKind::Metadata(data_type, self.metadata_key(&name)?)
        } else {
            ColumnKind::Physical(data_type)
        };
        if self.parser.parse_keyword(Keyword::COMMENT) {
            self.text("a comment in single quotes")?;
        }
        if !matches!(self.parser.peek_token_ref().token, Token::Comma | Token::RParen) {
            return Err(self.unexpected(", or ) after the type of a column"));
        }
        Ok(DeclaredColumn { name, kind })
    }

    /// `[FROM 'key'] [VIRTUAL]`: without a key the column's name is it.
    fn metadata_key(&mut self, column: &Ident) -> Result<MetadataKey, Fault> {
        let key = if self.parser.parse_keyword(Keyword::FROM) {
            let (name, at) =
                self.text("a key of metadata in single quotes, such as 'timestamp'")?;
            MetadataKey { name, at }
        } else {
            MetadataKey { name: column.value.clone(), at: column.span.start }
        };
        // A column of metadata is never written back.
        let _is_there: bool = self.word("VIRTUAL");
        Ok(key)
    }

    /// Takes a word that is no keyword of `sqlparser`; whether it stood there.
    fn word(&mut self, wanted: &str) -> bool {
        let is_there = matches!(&self.parser.peek_token_ref().token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted));
        if is_there {
            self.parser.next_token();
        }
        is_there
    }

    fn watermark(&mut self) -> Result<Watermark, Fault> {
        let column = self.name("the event-time column")?;
        if !self.parser.parse_keyword(Keyword::AS) {
            return Err(self.unexpected("AS"));
        }
        let at = self.here();
        let expression = self.run(Parser::parse_expr)?;
        let is_column =
            |side: &Expr| matches!(side, Expr::Identifier(name) if name.value == column.value);
        let delay = match &expression {
            side if is_column(side) => Duration::ZERO,
            Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
                interval::duration(right, "the delay of a watermark", at)?
            }
            other => {
                let expected = format!("{column} - INTERVAL 'n' SECOND, MINUTE, HOUR or DAY");
                let found = format!("`{other}`");
                let reason = SqlErrorReason::mismatch("the watermark", found, expected);
                return Err(Fault::new(at, reason));
            }
        };
        Ok(Watermark { column, delay })
    }

    fn data_type(&mut self, subject: &str) -> Result<DataType, Fault> {
        let mut open = 0;
        let data_type = self.nested_type(subject, &mut open)?;
        if open == 0 { Ok(data_type) } else { Err(self.unexpected("a type")) }
    }

    /// A type whose parts `sqlparser` does not read. `closed` counts a `>` that `>>` held too many.
    fn nested_type(&mut self, subject: &str, closed: &mut usize) -> Result<DataType, Fault> {
        let at = self.here();
        let [first, second] = self.parser.peek_tokens_ref();
        let word = match (&first.token, &second.token) {
            (Token::Word(word), Token::Lt) => word.value.to_ascii_uppercase(),
            _ => {
                let parsed = self.run(Parser::parse_data_type)?;
                return data_type::convert(&parsed, subject, at);
            }
        };
        self.depth += 1;
        if self.depth > TYPE_DEPTH_LIMIT {
            let (what, limit) = ("the nesting of a type", TYPE_DEPTH_LIMIT);
            return Err(Fault::new(at, SqlErrorReason::TooLong { what, limit }));
        }
        self.parser.next_token();
        self.parser.next_token();
        let data_type = match word.as_str() {
            "ARRAY" => DataType::Array(Arc::new(self.nested_type(subject, closed)?)),
            "MAP" => {
                let key = self.nested_type(subject, closed)?;
                self.expect(&Token::Comma, ", after the type of a key")?;
                DataType::Map(Arc::new((key, self.nested_type(subject, closed)?)))
            }
            "ROW" => {
                let mut columns = Vec::new();
                loop {
                    let name = self.name("the name of a field")?;
                    columns.push(Column::new(&name.value, self.nested_type(subject, closed)?));
                    if *closed > 0 || !self.parser.consume_token(&Token::Comma) {
                        break;
                    }
                }
                DataType::Row(Arc::from(columns))
            }
            _ => return Err(Fault::new(at, SqlErrorReason::mismatch(subject, word, TYPES))),
        };
        self.depth -= 1;
        if *closed > 0 {
            *closed -= 1;
        } else if self.parser.consume_token(&Token::ShiftRight) {
            *closed += 1;
        } else {
            self.expect(&Token::Gt, "> after the type")?;
        }
        Ok(data_type)
    }

    fn option(&mut self) -> Result<TableOption, Fault> {
        let (key, key_at) = self.text("an option such as 'topic'")?;
        self.expect(&Token::Eq, "= after the option")?;
        let (value, value_at) = self.text("the option's value in single quotes")?;
        Ok(TableOption { key, key_at, value, value_at })
    }

    fn insert(&mut self) -> Result<Insert, Fault> {
        let target = self.name("the table to insert into")?;
        let [first, second] = self.parser.peek_tokens_ref();
        // `INSERT INTO t (SELECT …)` is a query in parentheses.
        let is_list = first.token == Token::LParen
            && !matches!(&second.token, Token::Word(word)
                if matches!(word.keyword, Keyword::SELECT | Keyword::WITH));
        let columns = if is_list { self.names("a column of the table")? } else { Vec::new() };
        let query = self.run(Parser::parse_query)?;
        Ok(Insert { target, columns, query })
    }

    fn name(&mut self, expected: &str) -> Result<Ident, Fault> {
        if !matches!(self.parser.peek_token_ref().token, Token::Word(_)) {
            return Err(self.unexpected(expected));
        }
        let name = self.run(Parser::parse_identifier)?;
        if self.parser.peek_token_ref().token == Token::Period {
            let reason = SqlErrorReason::unsupported("a name with dots", "a name of one part");
            return Err(Fault::new(name.span.start, reason));
        }
        Ok(name)
    }

    fn text(&mut self, expected: &str) -> Result<(String, Location), Fault> {
        let at = self.here();
        match self.parser.peek_token_ref().token.clone() {
            Token::SingleQuotedString(text) => {
                self.parser.next_token();
                Ok((text, at))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn expect(&mut self, token: &Token, expected: &str) -> Result<(), Fault> {
        if self.parser.consume_token(token) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn here(&self) -> Location {
        let start = self.parser.peek_token_ref().span.start;
        if start.line == 0 { self.end } else { start }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let found = match &self.parser.peek_token_ref().token {
            Token::EOF => "the end of the file".to_owned(),
            token => token.to_string(),
        };
        let message = format!("expected {expected}, found {found}");
        Fault::new(self.here(), SqlErrorReason::Syntax { message })
    }

    /// Lets `sqlparser` read a part and gives its error a place.
    fn run<T>(
        &mut self,
        part: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>,
    ) -> Result<T, Fault> {
        part(&mut self.parser).map_err(|error| {
            let (message, at) = match error {
                ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                    located(&text)
                }
                ParserError::RecursionLimitExceeded => {
                    ("the expression is nested too deeply".to_owned(), Some(self.here()))
                }
            };
            Fault::new(
                at.unwrap_or(self.end),
                SqlErrorReason::Syntax { message: lowered(&message) },
            )
        })
    }
}

/// Splits `sqlparser`'s ` at Line: 1, Column: 2` off a message.
fn located(text: &str) -> (String, Option<Location>) {
    let parsed = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((message, Location::new(line.parse().ok()?, column.parse().ok()?)))
    });
    match parsed {
        Some((message, location)) => (message.to_owned(), Some(location)),
        None => (text.to_owned(), None),
    }
}

/// `Expected: X, found: Y` in the words of our own messages.
fn lowered(message: &str) -> String {
    let message = message.replacen("Expected: ", "expected ", 1).replacen("found: ", "found ", 1);
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| {
        first
            .to_lowercase()
            .chain(letters)
            .collect::<String>()
            .replace("EOF", "the end of the file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sql: &str) -> String {
        parse(sql).unwrap_err().within("rules.sql").to_string()
    }

    fn table(sql: &str) -> CreateTable {
        match parse(sql).unwrap().pop() {
            Some(Statement::CreateTable(table)) => table,
            other => panic!("{other:?}"),
        }
    }

    fn physical(column: &DeclaredColumn) -> (&str, DataType) {
        match &column.kind {
            ColumnKind::Physical(data_type) => (&*column.name.value, data_type.clone()),
            ColumnKind::Computed(_) | ColumnKind::Metadata(..) => panic!("{column:?}"),
        }
    }

    #[test]
    fn nested_types_are_read_and_close_one_by_one() {
        let table = table(
            "CREATE TABLE t (a ARRAY<ARRAY<INT>>, m MAP<STRING, ROW<x DECIMAL(5, 2), y BYTES>>) \
             WITH ('topic' = 't')",
        );

        let types: Vec<_> = table.columns.iter().map(|c| physical(c).1.to_string()).collect();
        assert_eq!(types, ["ARRAY<ARRAY<INT>>", "MAP<STRING, ROW<x DECIMAL(5, 2), y BYTES>>"]);
    }

    #[test]
    fn computed_columns_and_a_primary_key_are_kept() {
        let table = table(
            "CREATE TABLE t (a BIGINT NOT NULL, b AS a + 1, PRIMARY KEY (a) NOT ENFORCED) WITH \
             ('topic' = 't')",
        );

        assert!(matches!(table.columns[1].kind, ColumnKind::Computed(_)));
        assert_eq!(table.primary_key[0].value, "a");
    }

    #[test]
    fn a_table_keeps_its_columns_watermark_and_options() {
        let table = table(
            "-- readings\nCREATE TABLE air (`time` TIMESTAMP(3), pm25 DOUBLE,\n\
             WATERMARK FOR `time` AS `time` - INTERVAL '1' HOURS) WITH ('topic' = 'air');",
        );

        let columns: Vec<_> = table.columns.iter().map(physical).collect();
        assert_eq!(columns, [("time", DataType::Timestamp), ("pm25", DataType::Double)]);
        assert_eq!(table.watermark.unwrap().delay, Duration::from_secs(3_600));
        let option = table.options.first().unwrap();
        assert_eq!((&*option.key, &*option.value), ("topic", "air"));
        assert_eq!((option.key_at, option.value_at), (Location::new(3, 60), Location::new(3, 70)));
    }

    #[test]
    fn a_column_may_be_called_watermark() {
        let table = table("CREATE TABLE t (watermark BIGINT) WITH ('topic' = 't')");

        assert_eq!(table.columns.len(), 1);
        assert!(table.watermark.is_none());
    }

    #[test]
    fn what_is_missing_is_placed_where_it_should_stand() {
        assert_eq!(
            refusal("CREATE TABLE t (a BIGINT)"),
            "rules.sql:1:26: expected WITH ('topic' = '…') after the columns, found the end of \
             the file"
        );
        assert_eq!(
            refusal("CREATE TABLE t (\n  a BIGINT UNIQUE\n) WITH ('topic' = 't')"),
            "rules.sql:2:12: expected , or ) after the type of a column, found UNIQUE"
        );
        assert_eq!(
            refusal("INSERT INTO x SELECT a\nFROM t WHERE"),
            "rules.sql:2:13: expected an expression, found the end of the file"
        );
    }

    #[test]
    fn a_type_that_is_not_known_says_which_are() {
        assert_eq!(
            refusal("CREATE TABLE t (a TIMESTAMP(6)) WITH ('topic' = 't')"),
            format!("rules.sql:1:19: the type of column a is TIMESTAMP(6), expected {TYPES}")
        );
    }

    #[test]
    fn another_statement_is_named_with_what_is_supported() {
        assert_eq!(
            refusal("DROP VIEW v"),
            "rules.sql:1:1: the statement DROP VIEW is not supported yet; supported: CREATE TABLE, \
             CREATE VIEW, INSERT INTO … SELECT and EXPLAIN INSERT INTO …"
        );
    }

    #[test]
    fn a_text_without_its_closing_quote_is_placed_at_its_start() {
        assert_eq!(
            refusal("CREATE TABLE t (a BIGINT)\n  WITH ('topic = 1)"),
            "rules.sql:2:9: unterminated string literal"
        );
    }

    #[test]
    fn the_longest_statement_parses_and_one_token_more_is_refused() {
        let sum = |terms: usize| format!("INSERT INTO x SELECT a{} FROM t", " + a".repeat(terms));
        let fixed = 7;
        let terms_max = (STATEMENT_TOKENS_LIMIT - fixed) / 2;

        assert_eq!(parse(&sum(terms_max)).unwrap().len(), 1);
        assert!(refusal(&sum(terms_max + 1)).ends_with("longer than its limit of 4000"));
    }

    #[test]
    fn deep_parentheses_are_refused_and_do_not_overflow_the_stack() {
        let sql = format!("INSERT INTO x SELECT {}1{} FROM t", "(".repeat(900), ")".repeat(900));

        assert!(refusal(&sql).ends_with("the expression is nested too deeply"));
    }
}
