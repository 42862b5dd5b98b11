//! What kind of text a text is: letters, digits, a number, an address.

use crate::expression::function::Parameter::{Any, Text};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::value::Value;

type Called = Result<Value, EvaluationError>;

pub(super) static FUNCTIONS: &[Function] = &[
    function("IS_ALPHA", &[Any], Outcome::Boolean, |a| {
        truth(
            matches!(a.first(), Some(Value::Text(text)) if consists_of(text, char::is_alphabetic)),
        )
    })
    .seeing_nulls(),
    function("IS_DIGIT", &[Any], Outcome::Boolean, |a| {
        truth(match a.first() {
            Some(Value::Integer(_)) => true,
            Some(Value::Text(text)) => consists_of(text, char::is_numeric),
            _ => false,
        })
    })
    .seeing_nulls(),
    function("IS_DECIMAL", &[Any], Outcome::Boolean, |a| {
        truth(match a.first() {
            Some(Value::Integer(_) | Value::Double(_) | Value::Float(_) | Value::Decimal(_)) => {
                true
            }
            // Words such as "inf" parse as a number too, and are none here.
            Some(Value::Text(text)) => {
                text.contains(|one: char| one.is_ascii_digit())
                    && text.trim().parse::<f64>().is_ok()
            }
            _ => false,
        })
    })
    .seeing_nulls(),
    function("PARSE_URL", &[Text, Text, Text], Outcome::Text, parse_url).optional(1),
];

#[expect(clippy::unnecessary_wraps, reason = "the shape of every function")]
const fn truth(is_so: bool) -> Called {
    Ok(Value::Boolean(is_so))
}

fn consists_of(text: &str, is_kind: fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is_kind)
}

/// Protocols that Java's `URL` knows: an address of another one is none.
const PROTOCOLS: [&str; 6] = ["http", "https", "ftp", "file", "jar", "mailto"];

/// An address taken apart, as Java's `URL` does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address<'a> {
    protocol: &'a str,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (protocol, rest) = text.trim().split_once(':')?;
        if !PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol)) {
            return None;
        }
        let (rest, reference) = match rest.split_once('#') {
            Some((rest, reference)) => (rest, Some(reference)),
            None => (rest, None),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Some(Self { protocol, authority, path, query, reference })
    }

    fn user(&self) -> Option<&'a str> {
        self.authority?.rsplit_once('@').map(|(user, _)| user)
    }

    /// The host without user and port; an IPv6 address stays in its brackets.
    fn host(&self) -> Option<&'a str> {
        let authority = self.authority?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let end = match host.find(']') {
            Some(bracket) => bracket + 1,
            None => host.find(':').unwrap_or(host.len()),
        };
        host.get(..end)
    }

    /// The value of `key` in the query.
    fn value_of(&self, key: &str) -> Option<&'a str> {
        let mut pairs = self.query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

/// `PARSE_URL(url, part[, key])`; NULL for what is no address or does not have the part.
fn parse_url(arguments: &[Value]) -> Called {
    let [Value::Text(url), Value::Text(part), rest @ ..] = arguments else {
        return Ok(Value::Null);
    };
    let Some(address) = Address::parse(url) else { return Ok(Value::Null) };
    if let [Value::Text(key)] = rest {
        let value = if &**part == "QUERY" { address.value_of(key) } else { None };
        return Ok(value.map_or(Value::Null, Value::text));
    }
    let found = match &**part {
        "PROTOCOL" => Some(address.protocol),
        "AUTHORITY" => address.authority,
        "USERINFO" => address.user(),
        "HOST" => address.host(),
        "PATH" => Some(address.path),
        "QUERY" => address.query,
        "REF" => address.reference,
        "FILE" => {
            let query = address.query.map(|query| format!("?{query}")).unwrap_or_default();
            return Ok(Value::text(&format!("{}{query}", address.path)));
        }
        _ => None,
    };
    Ok(found.map_or(Value::Null, Value::text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(url: &str, part: &str) -> Value {
        parse_url(&[Value::text(url), Value::text(part)]).unwrap()
    }

    #[test]
    fn an_address_is_taken_apart_and_parts_that_are_missing_are_null() {
        let url = "http://user:pw@[::1]:8080/a/b?x=1&y=2#top";

        assert_eq!(part(url, "HOST"), Value::text("[::1]"));
        assert_eq!(part(url, "USERINFO"), Value::text("user:pw"));
        assert_eq!(part(url, "FILE"), Value::text("/a/b?x=1&y=2"));
        assert_eq!(part("https://example.org", "PATH"), Value::text(""));
        assert_eq!(part("https://example.org", "QUERY"), Value::Null);
        assert_eq!(part("gopher://example.org", "HOST"), Value::Null);
        assert_eq!(part("no url", "HOST"), Value::Null);
        let key = [url, "QUERY", "y"].map(Value::text);
        assert_eq!(parse_url(&key), Ok(Value::text("2")));
    }

    #[test]
    fn kinds_of_text_are_told_and_null_is_none() {
        let call = |name: &str, value: Value| {
            let arguments = [crate::expression::Expression::Constant(value)];
            Function::by_name(name).unwrap().call(&arguments, &[]).unwrap()
        };

        assert_eq!(call("IS_ALPHA", Value::text("aä")), Value::Boolean(true));
        assert_eq!(call("IS_ALPHA", Value::Null), Value::Boolean(false));
        assert_eq!(call("IS_DIGIT", Value::text("-1")), Value::Boolean(false));
        assert_eq!(call("IS_DIGIT", Value::Integer(-1)), Value::Boolean(true));
        assert_eq!(call("IS_DECIMAL", Value::text("1e5")), Value::Boolean(true));
        assert_eq!(call("IS_DECIMAL", Value::text("")), Value::Boolean(false));
    }
}
