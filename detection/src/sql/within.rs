//! `WITHIN INTERVAL …` behind PATTERN, which `sqlparser` does not read.
//!
//! Its tokens move behind DEFINE, as the definition of a variable that no SQL can name:
//! `PATTERN (A B) WITHIN INTERVAL '1' HOUR DEFINE A AS …` becomes
//! `PATTERN (A B) DEFINE <name> AS INTERVAL '1' HOUR, A AS …`. Every token keeps its place.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

/// The variable whose definition is the interval.
pub(crate) const VARIABLE: &str = "WITHIN INTERVAL";

/// The tokens with each `WITHIN INTERVAL …` where `sqlparser` reads it.
pub(super) fn moved(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_word(&token.token, "WITHIN")) {
        return tokens;
    }
    let mut moved: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    // The tokens of an interval that waits for its DEFINE.
    let mut interval: Option<(Span, Vec<TokenWithSpan>)> = None;
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_begun = interval.is_none()
            && is_word(&token.token, "WITHIN")
            && moved.iter().rev().find(|one| !is_space(one)).is_some_and(is_closed);
        if is_begun {
            interval = Some((token.span, Vec::new()));
            continue;
        }
        let Some((span, mut taken)) = interval.take() else {
            moved.push(token);
            continue;
        };
        if matches!(&token.token, Token::Word(word) if word.keyword == Keyword::DEFINE) {
            moved.push(token);
            moved.extend(definition(span, taken));
        } else if matches!(token.token, Token::SemiColon | Token::EOF) || rest.peek().is_none() {
            // No DEFINE: the parser is to say what is missing where the words stood.
            moved.push(TokenWithSpan::new(Token::make_keyword("WITHIN"), span));
            moved.append(&mut taken);
            moved.push(token);
        } else {
            taken.push(token);
            interval = Some((span, taken));
        }
    }
    moved
}

/// `<name> AS INTERVAL …,` where DEFINE lists variables.
fn definition(span: Span, interval: Vec<TokenWithSpan>) -> impl Iterator<Item = TokenWithSpan> {
    let word = |value: &str, quote_style, keyword| {
        Token::Word(Word { value: value.to_owned(), quote_style, keyword })
    };
    let head = [word(VARIABLE, Some('`'), Keyword::NoKeyword), Token::make_keyword("AS")];
    let head = head.into_iter().map(move |token| TokenWithSpan::new(token, span));
    head.chain(interval).chain([TokenWithSpan::new(Token::Comma, span)])
}

fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

const fn is_space(token: &&TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

const fn is_closed(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::RParen)
}

#[cfg(test)]
mod tests {
    use sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::sql::dialect::FlinkDialect;

    fn text(sql: &str) -> String {
        let tokens = Tokenizer::new(&FlinkDialect, sql).tokenize_with_location().unwrap();
        let words = moved(tokens).into_iter().filter(|token| !is_space(&token));
        let words: Vec<String> = words.map(|token| token.token.to_string()).collect();
        words.join(" ")
    }

    #[test]
    fn an_interval_moves_behind_define_and_nothing_else_moves() {
        assert_eq!(
            text("PATTERN (A B) WITHIN INTERVAL '1' HOUR DEFINE A AS x > 1)"),
            "PATTERN ( A B ) DEFINE `WITHIN INTERVAL` AS INTERVAL '1' HOUR , A AS x > 1 )"
        );
        assert_eq!(text("SELECT within FROM t"), "SELECT within FROM t");
        assert_eq!(text("COUNT(a) WITHIN GROUP (b);"), "COUNT ( a ) WITHIN GROUP ( b ) ;");
    }
}
