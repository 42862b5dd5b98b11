//! Functions of text. Positions count characters from 1, as in SQL.

use crate::decode::base64;
use crate::expression::function::Parameter::{Text, Whole};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::pattern::LikePattern;
use crate::expression::tree::EvaluationError;
use crate::value::Value;

/// Longest text that REPEAT, LPAD and RPAD make: a rule must not make a record of gigabytes.
const TEXT_BYTES_LIMIT: usize = 1 << 20;

type Called = Result<Value, EvaluationError>;

pub(super) static FUNCTIONS: &[Function] = &[
    function("UPPER", &[Text], Outcome::Text, |a| map(a, str::to_uppercase)),
    function("LOWER", &[Text], Outcome::Text, |a| map(a, str::to_lowercase)),
    function("INITCAP", &[Text], Outcome::Text, |a| map(a, capitalised)),
    function("REVERSE", &[Text], Outcome::Text, |a| map(a, |text| text.chars().rev().collect())),
    function("CONCAT", &[Text], Outcome::Text, concat).repeated(),
    function("CONCAT_WS", &[Text, Text], Outcome::Text, concat_with).repeated().seeing_nulls(),
    function("CHAR_LENGTH", &[Text], Outcome::Int, length),
    function("CHARACTER_LENGTH", &[Text], Outcome::Int, length),
    function("LENGTH", &[Text], Outcome::Int, length),
    function("OCTET_LENGTH", &[Text], Outcome::Int, |a| one(a, |text| count(text.len()))),
    function("ASCII", &[Text], Outcome::Int, |a| {
        // A byte has a sign in Java.
        one(a, |text| Value::Integer(text.bytes().next().map_or(0, |b| i64::from(b.cast_signed()))))
    }),
    function("CHR", &[Whole], Outcome::Text, character),
    function("SUBSTRING", &[Text, Whole, Whole], Outcome::Text, substring).optional(1),
    function("SUBSTR", &[Text, Whole, Whole], Outcome::Text, substring).optional(1),
    function("LEFT", &[Text, Whole], Outcome::Text, left),
    function("RIGHT", &[Text, Whole], Outcome::Text, right),
    function("POSITION", &[Text, Text], Outcome::Int, |a| two(a, |part, text| at(text, part, 0))),
    function("LOCATE", &[Text, Text, Whole], Outcome::Int, locate).optional(1),
    function("INSTR", &[Text, Text], Outcome::Int, |a| two(a, |text, part| at(text, part, 0))),
    function("REPLACE", &[Text, Text, Text], Outcome::Text, replace),
    function("OVERLAY", &[Text, Text, Whole, Whole], Outcome::Text, overlay).optional(1),
    function("TRIM", &[Text, Text], Outcome::Text, |a| trim(a, true, true)).optional(1),
    function("BTRIM", &[Text, Text], Outcome::Text, |a| trim(a, true, true)).optional(1),
    function("LTRIM", &[Text, Text], Outcome::Text, |a| trim(a, true, false)).optional(1),
    function("RTRIM", &[Text, Text], Outcome::Text, |a| trim(a, false, true)).optional(1),
    function("LPAD", &[Text, Whole, Text], Outcome::Text, |a| pad(a, Side::Left)),
    function("RPAD", &[Text, Whole, Text], Outcome::Text, |a| pad(a, Side::Right)),
    function("REPEAT", &[Text, Whole], Outcome::Text, repeat),
    function("SPLIT_INDEX", &[Text, Text, Whole], Outcome::Text, split_index),
    function("SPLIT", &[Text, Text], Outcome::TextArray, |a| two(a, split)),
    function("STARTSWITH", &[Text, Text], Outcome::Boolean, |a| {
        two(a, |text, start| Value::Boolean(text.starts_with(start)))
    }),
    function("ENDSWITH", &[Text, Text], Outcome::Boolean, |a| {
        two(a, |text, end| Value::Boolean(text.ends_with(end)))
    }),
    function("TO_BASE64", &[Text], Outcome::Text, |a| {
        one(a, |text| Value::text(&to_base64(text.as_bytes())))
    }),
    function("FROM_BASE64", &[Text], Outcome::Text, |a| {
        one(a, |text| {
            base64(text).map_or(Value::Null, |bytes| Value::text(&String::from_utf8_lossy(&bytes)))
        })
    }),
    function("STR_TO_MAP", &[Text, Text, Text], Outcome::TextMap, text_to_map).optional(2),
    function("LIKE", &[Text, Text, Text], Outcome::Boolean, like).optional(1),
];

fn text(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn whole(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn one(arguments: &[Value], body: impl FnOnce(&str) -> Value) -> Called {
    Ok(text(arguments.first()).map_or(Value::Null, body))
}

fn two(arguments: &[Value], body: impl FnOnce(&str, &str) -> Value) -> Called {
    let pair = text(arguments.first()).zip(text(arguments.get(1)));
    Ok(pair.map_or(Value::Null, |(first, second)| body(first, second)))
}

fn map(arguments: &[Value], body: impl FnOnce(&str) -> String) -> Called {
    one(arguments, |text| Value::text(&body(text)))
}

fn count(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn capitalised(text: &str) -> String {
    let mut is_start = true;
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_start {
            result.extend(letter.to_uppercase());
        } else {
            result.extend(letter.to_lowercase());
        }
        is_start = !letter.is_alphanumeric();
    }
    result
}

fn concat(arguments: &[Value]) -> Called {
    Ok(Value::text(&arguments.iter().filter_map(|one| text(Some(one))).collect::<String>()))
}

/// NULL only when the separator is; NULL among the others is left out.
fn concat_with(arguments: &[Value]) -> Called {
    let [Value::Text(separator), rest @ ..] = arguments else { return Ok(Value::Null) };
    let parts: Vec<&str> = rest.iter().filter_map(|one| text(Some(one))).collect();
    Ok(Value::text(&parts.join(separator)))
}

fn length(arguments: &[Value]) -> Called {
    one(arguments, |text| count(text.chars().count()))
}

fn character(arguments: &[Value]) -> Called {
    let code = whole(arguments.first()).filter(|code| *code >= 0);
    let letter = code.and_then(|code| u8::try_from(code & 0xFF).ok()).map(char::from);
    Ok(letter
        .map_or_else(|| Value::text(""), |letter| Value::text(letter.encode_utf8(&mut [0; 4]))))
}

/// # Source
/// Flink's `BinaryStringDataUtil.substringSQL`.
fn substring(arguments: &[Value]) -> Called {
    let (Some(text), Some(position)) = (text(arguments.first()), whole(arguments.get(1))) else {
        return Ok(Value::Null);
    };
    let length = whole(arguments.get(2)).unwrap_or(i64::MAX);
    if length < 0 {
        return Ok(Value::Null);
    }
    let letters = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let start = match position {
        1.. => position - 1,
        0 => 0,
        _ => letters.saturating_add(position),
    };
    if start < 0 || start >= letters {
        return Ok(Value::text(""));
    }
    let index = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Value::text(&text.chars().skip(index(start)).take(index(length)).collect::<String>()))
}

fn left(arguments: &[Value]) -> Called {
    let (Some(text), Some(count)) = (text(arguments.first()), whole(arguments.get(1))) else {
        return Ok(Value::Null);
    };
    let count = usize::try_from(count).unwrap_or_default();
    Ok(Value::text(&text.chars().take(count).collect::<String>()))
}

fn right(arguments: &[Value]) -> Called {
    let (Some(text), Some(count)) = (text(arguments.first()), whole(arguments.get(1))) else {
        return Ok(Value::Null);
    };
    let count = usize::try_from(count).unwrap_or_default();
    let skipped = text.chars().count().saturating_sub(count);
    Ok(Value::text(&text.chars().skip(skipped).collect::<String>()))
}

/// Where `part` begins in `text` behind the first `skipped` characters, from 1; 0 when nowhere.
fn at(text: &str, part: &str, skipped: usize) -> Value {
    let start = text.char_indices().nth(skipped).map(|(index, _)| index);
    let start = start.or_else(|| (skipped == text.chars().count()).then_some(text.len()));
    let found = start.and_then(|start| Some(start + text.get(start..)?.find(part)?));
    let before = found.and_then(|found| text.get(..found));
    before.map_or(Value::Integer(0), |before| count(before.chars().count() + 1))
}

fn locate(arguments: &[Value]) -> Called {
    let start = whole(arguments.get(2)).unwrap_or(1);
    let skipped = usize::try_from(start.saturating_sub(1)).unwrap_or_default();
    two(arguments, |part, text| at(text, part, skipped))
}

fn replace(arguments: &[Value]) -> Called {
    let new = text(arguments.get(2)).unwrap_or_default();
    two(arguments, |text, old| {
        let is_bounded = new.len() <= old.len();
        if is_bounded || text.matches(old).count() * new.len() <= TEXT_BYTES_LIMIT {
            Value::text(&text.replace(old, new))
        } else {
            Value::Null
        }
    })
}

fn overlay(arguments: &[Value]) -> Called {
    let (Some(text), Some(new)) = (text(arguments.first()), text(arguments.get(1))) else {
        return Ok(Value::Null);
    };
    let start = whole(arguments.get(2)).unwrap_or(1);
    let letters = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if start <= 0 || start > letters {
        return Ok(Value::text(text));
    }
    let new_letters = i64::try_from(new.chars().count()).unwrap_or(i64::MAX);
    let length = whole(arguments.get(3)).unwrap_or(new_letters).max(0);
    let index = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let head = text.chars().take(index(start - 1));
    let tail = text.chars().skip(index((start - 1).saturating_add(length)));
    Ok(Value::text(&head.chain(new.chars()).chain(tail).collect::<String>()))
}

fn trim(arguments: &[Value], is_left: bool, is_right: bool) -> Called {
    let letters = text(arguments.get(1)).unwrap_or(" ");
    one(arguments, |text| {
        let is_cut = |letter: char| letters.contains(letter);
        let text = if is_left { text.trim_start_matches(is_cut) } else { text };
        Value::text(if is_right { text.trim_end_matches(is_cut) } else { text })
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn pad(arguments: &[Value], side: Side) -> Called {
    let (Some(text), Some(length), Some(fill)) =
        (text(arguments.first()), whole(arguments.get(1)), text(arguments.get(2)))
    else {
        return Ok(Value::Null);
    };
    let Ok(length) = usize::try_from(length) else { return Ok(Value::Null) };
    if length > TEXT_BYTES_LIMIT {
        return Err(EvaluationError::Argument);
    }
    let letters = text.chars().count();
    if length <= letters {
        return Ok(Value::text(&text.chars().take(length).collect::<String>()));
    }
    if fill.is_empty() {
        return Ok(Value::Null);
    }
    let fill: String = fill.chars().cycle().take(length - letters).collect();
    Ok(Value::text(&match side {
        Side::Left => fill + text,
        Side::Right => text.to_owned() + &fill,
    }))
}

fn repeat(arguments: &[Value]) -> Called {
    let (Some(text), Some(count)) = (text(arguments.first()), whole(arguments.get(1))) else {
        return Ok(Value::Null);
    };
    let count = usize::try_from(count).unwrap_or_default();
    if text.len().saturating_mul(count) > TEXT_BYTES_LIMIT {
        return Err(EvaluationError::Argument);
    }
    Ok(Value::text(&text.repeat(count)))
}

fn split_index(arguments: &[Value]) -> Called {
    let index = whole(arguments.get(2)).and_then(|index| usize::try_from(index).ok());
    two(arguments, |text, separator| {
        let part = match index {
            Some(_) if separator.is_empty() => None,
            Some(index) => text.split(separator).nth(index),
            None => None,
        };
        part.map_or(Value::Null, Value::text)
    })
}

fn split(text: &str, separator: &str) -> Value {
    let parts = if separator.is_empty() {
        text.chars().map(|letter| Value::text(letter.encode_utf8(&mut [0; 4]))).collect()
    } else {
        text.split(separator).map(Value::text).collect()
    };
    Value::Array(parts)
}

fn text_to_map(arguments: &[Value]) -> Called {
    let (between, within) =
        (text(arguments.get(1)).unwrap_or(","), text(arguments.get(2)).unwrap_or("="));
    one(arguments, |text| {
        if text.is_empty() || between.is_empty() || within.is_empty() {
            return Value::Null;
        }
        let mut entries = std::collections::BTreeMap::new();
        for entry in text.split(between) {
            let (key, value) = match entry.split_once(within) {
                Some((key, value)) => (key, Value::text(value)),
                None => (entry, Value::Null),
            };
            entries.insert(Value::text(key), value);
        }
        Value::Map(entries.into_iter().collect())
    })
}

fn to_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = [0, 1, 2].map(|index| u32::from(chunk.get(index).copied().unwrap_or(0)));
        let [first, second, third] = group;
        let bits = (first << 16) | (second << 8) | third;
        for place in 0..4_usize {
            let digit = usize::try_from((bits >> (18 - 6 * place)) & 63).unwrap_or_default();
            let digit = DIGITS.get(digit).copied().unwrap_or(b'=');
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// LIKE with a pattern that is not the same for all rows.
fn like(arguments: &[Value]) -> Called {
    let escape = text(arguments.get(2)).and_then(|escape| escape.chars().next());
    two(arguments, |text, pattern| {
        Value::Boolean(LikePattern::with_escape(pattern, escape).matches(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: &[Value]) -> Value {
        let arguments: Vec<_> =
            arguments.iter().cloned().map(crate::expression::Expression::Constant).collect();
        Function::by_name(name).unwrap().call(&arguments, &[]).unwrap()
    }

    fn texts<const N: usize>(texts: [&str; N]) -> [Value; N] {
        texts.map(Value::text)
    }

    #[test]
    fn concat_with_a_null_is_null_and_with_a_separator_leaves_it_out() {
        let with_null = [Value::text("a"), Value::Null, Value::text("b")];

        assert_eq!(call("CONCAT", &texts(["a", "b"])), Value::text("ab"));
        assert_eq!(call("CONCAT", &with_null), Value::Null);
        assert_eq!(call("CONCAT_WS", &with_null), Value::text("b"));
    }

    #[test]
    fn substring_counts_characters_from_one_and_from_the_end() {
        let part = |start, length| {
            let numbers = [Value::Integer(start), Value::Integer(length)];
            call("SUBSTRING", &[[Value::text("Dängi")].as_slice(), &numbers].concat())
        };

        assert_eq!(part(2, 2), Value::text("än"));
        assert_eq!(part(0, 2), Value::text("Dä"));
        assert_eq!(part(-2, 5), Value::text("gi"));
        assert_eq!(part(9, 1), Value::text(""));
        assert_eq!(part(1, -1), Value::Null);
    }

    #[test]
    fn positions_count_characters_and_zero_means_nowhere() {
        assert_eq!(call("POSITION", &texts(["n", "Dän"])), Value::Integer(3));
        assert_eq!(call("POSITION", &texts(["x", "Dän"])), Value::Integer(0));
        let from = [Value::text("a"), Value::text("abca"), Value::Integer(2)];
        assert_eq!(call("LOCATE", &from), Value::Integer(4));
    }

    #[test]
    fn padding_cuts_what_is_too_long_and_refuses_what_would_fill_memory() {
        let padded = |length| [Value::text("7"), Value::Integer(length), Value::text("0")];

        assert_eq!(call("LPAD", &padded(3)), Value::text("007"));
        assert_eq!(call("RPAD", &padded(3)), Value::text("700"));
        assert_eq!(call("LPAD", &padded(0)), Value::text(""));
        let huge = padded(i64::MAX).map(crate::expression::Expression::Constant);
        let refused = Function::by_name("LPAD").unwrap().call(&huge, &[]);
        assert_eq!(refused, Err(EvaluationError::Argument));
    }

    #[test]
    fn base64_comes_back() {
        for text in ["", "a", "ab", "abc", "Dängi"] {
            let coded = call("TO_BASE64", &[Value::text(text)]);
            assert_eq!(call("FROM_BASE64", &[coded]), Value::text(text));
        }
        assert_eq!(call("TO_BASE64", &[Value::text("ab")]), Value::text("YWI="));
    }
}
