//! The statements of a rule file: CREATE TABLE and INSERT INTO.
//!
//! CREATE TABLE is read here token by token, because `sqlparser` has no hook where `WATERMARK FOR`
//! stands; types, expressions and queries are read by `sqlparser`. Every name keeps its place.

use std::time::Duration;

use sqlparser::ast::{BinaryOperator, ExactNumberInfo, Expr, Ident, Query, TimezoneInfo};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::sql::dialect::FlinkDialect;
use crate::sql::error::{Fault, SqlErrorReason};
use crate::sql::interval;
use crate::value::DataType;

/// Longest rule file in bytes: a thousand rules fit; a mistaken path to a data file does not.
const FILE_BYTES_LIMIT: usize = 1 << 20;

/// Most tokens of a statement. `a + a + …` nests by one per operator in `sqlparser`'s tree, which
/// is dropped by recursion: this bounds the stack that takes.
const STATEMENT_TOKENS_LIMIT: usize = 4_000;

const STATEMENTS: &str = "CREATE TABLE and INSERT INTO … SELECT";
const TYPES: &str = "STRING, VARCHAR, BIGINT, INT, DOUBLE, BOOLEAN or TIMESTAMP(3)";

/// One statement.
#[derive(Debug)]
pub(crate) enum Statement {
    /// A table is declared.
    CreateTable(CreateTable),
    /// A rule is declared.
    Insert(Insert),
}

/// `CREATE TABLE name (columns, WATERMARK …) WITH (options)`.
#[derive(Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<(Ident, DataType)>,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) options: Vec<TableOption>,
}

/// `WATERMARK FOR column AS column - INTERVAL …`.
#[derive(Debug)]
pub(crate) struct Watermark {
    pub(crate) column: Ident,
    pub(crate) delay: Duration,
}

/// `'key' = 'value'` in WITH.
#[derive(Debug)]
pub(crate) struct TableOption {
    pub(crate) key: String,
    pub(crate) key_at: Location,
    pub(crate) value: String,
    pub(crate) value_at: Location,
}

/// `INSERT INTO target query`.
#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) target: Ident,
    pub(crate) query: Box<Query>,
}

/// Reads every statement of a file.
pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>, Fault> {
    if sql.len() > FILE_BYTES_LIMIT {
        let reason = SqlErrorReason::TooLong { what: "the file", limit: FILE_BYTES_LIMIT };
        return Err(Fault::new(Location::new(1, 1), reason));
    }
    let tokens = Tokenizer::new(&FlinkDialect, sql).tokenize_with_location().map_err(|error| {
        Fault::new(error.location, SqlErrorReason::Syntax { message: lowered(&error.message) })
    })?;
    check_lengths(&tokens)?;
    let end = tokens.last().map_or_else(|| Location::new(1, 1), |token| token.span.end);
    let parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens);
    StatementParser { parser, end }.statements()
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
        if self.parser.parse_keywords(&[Keyword::CREATE, Keyword::TABLE]) {
            return self.create_table().map(Statement::CreateTable);
        }
        if self.parser.parse_keywords(&[Keyword::INSERT, Keyword::INTO]) {
            return self.insert().map(Statement::Insert);
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

    fn create_table(&mut self) -> Result<CreateTable, Fault> {
        let name = self.name("a table name")?;
        let mut table =
            CreateTable { name, columns: Vec::new(), watermark: None, options: Vec::new() };
        self.expect(&Token::LParen, "( before the columns")?;
        loop {
            self.column_or_watermark(&mut table)?;
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen, ", or ) after a column")?;
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
        Ok(table)
    }

    fn column_or_watermark(&mut self, table: &mut CreateTable) -> Result<(), Fault> {
        let at = self.here();
        let [first, second] = self.parser.peek_tokens_ref();
        let is_watermark = matches!(&first.token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("watermark"))
            && matches!(&second.token, Token::Word(word) if word.keyword == Keyword::FOR);
        if !is_watermark {
            let name = self.name("a column name or WATERMARK FOR")?;
            let data_type = self.data_type(&name)?;
            table.columns.push((name, data_type));
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

    fn data_type(&mut self, column: &Ident) -> Result<DataType, Fault> {
        use sqlparser::ast::DataType as Parsed;
        let at = self.here();
        if let Token::Word(word) = &self.parser.peek_token_ref().token
            && word.keyword == Keyword::AS
        {
            return Err(Fault::new(at, SqlErrorReason::unsupported("a computed column", TYPES)));
        }
        let data_type = match self.run(Parser::parse_data_type)? {
            Parsed::String(None) | Parsed::Varchar(None) => DataType::String,
            Parsed::BigInt(None) => DataType::BigInt,
            Parsed::Int(None) | Parsed::Integer(None) => DataType::Int,
            Parsed::Double(ExactNumberInfo::None) | Parsed::DoublePrecision => DataType::Double,
            Parsed::Boolean => DataType::Boolean,
            Parsed::Timestamp(Some(3), TimezoneInfo::None) => DataType::Timestamp,
            other => {
                let subject = format!("the type of column {column}");
                return Err(Fault::new(at, SqlErrorReason::mismatch(subject, other, TYPES)));
            }
        };
        if !matches!(self.parser.peek_token_ref().token, Token::Comma | Token::RParen) {
            return Err(self.unexpected(", or ) after the type of a column"));
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
        if self.parser.peek_token_ref().token == Token::LParen {
            let what = "a list of columns after INSERT INTO";
            let supported = "SELECT with a value for every column of the table, in its order";
            return Err(Fault::new(self.here(), SqlErrorReason::unsupported(what, supported)));
        }
        let query = self.run(Parser::parse_query)?;
        Ok(Insert { target, query })
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

    #[test]
    fn a_table_keeps_its_columns_watermark_and_options() {
        let table = table(
            "-- readings\nCREATE TABLE air (`time` TIMESTAMP(3), pm25 DOUBLE,\n\
             WATERMARK FOR `time` AS `time` - INTERVAL '1' HOURS) WITH ('topic' = 'air');",
        );

        let columns: Vec<_> = table.columns.iter().map(|(name, t)| (&*name.value, *t)).collect();
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
            refusal("CREATE TABLE t (\n  a BIGINT NOT NULL\n) WITH ('topic' = 't')"),
            "rules.sql:2:12: expected , or ) after the type of a column, found NOT"
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
            "rules.sql:1:19: the type of column a is TIMESTAMP(6), expected STRING, VARCHAR, \
             BIGINT, INT, DOUBLE, BOOLEAN or TIMESTAMP(3)"
        );
    }

    #[test]
    fn another_statement_is_named_with_what_is_supported() {
        assert_eq!(
            refusal("CREATE VIEW v AS SELECT 1"),
            "rules.sql:1:1: the statement CREATE VIEW is not supported yet; supported: CREATE \
             TABLE and INSERT INTO … SELECT"
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
