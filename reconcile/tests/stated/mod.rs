//! Derived tables beside what the oracle states of them.

use serde_json::Value;

use super::oracle::Tables;

/// The first key whose record is missing, not expected, or differs in a field that is stated.
pub(crate) fn differs(found: &Tables, expected: &Tables) -> Option<String> {
    let differs = |key: &&(String, String)| {
        let (found, expected) = (found.get(*key), expected.get(*key));
        !found.zip(expected).is_some_and(|(found, expected)| is_within(expected, found))
    };
    let key = found.keys().chain(expected.keys()).find(differs)?;
    Some(format!("{key:?} is {:?}, expected {:?}", found.get(key), expected.get(key)))
}

/// Whether a record has every field that is stated; one stated as null is absent or null.
fn is_within(stated: &Value, found: &Value) -> bool {
    match stated {
        Value::Object(fields) => fields.iter().all(|(name, of)| is_within(of, &found[name])),
        _ => stated == found,
    }
}
