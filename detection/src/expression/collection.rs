//! Functions of arrays and maps.

use std::sync::Arc;

use crate::expression::function::Parameter::{
    Any, Array, Boolean, Element, Map, Same, Text, Whole,
};
use crate::expression::function::{Function, Outcome, function};
use crate::expression::tree::EvaluationError;
use crate::value::Value;

type Called = Result<Value, EvaluationError>;

pub(super) static FUNCTIONS: &[Function] = &[
    function("CARDINALITY", &[Any], Outcome::Int, cardinality),
    function("ELEMENT", &[Array], Outcome::Element, single),
    function("ITEM", &[Any, Any], Outcome::Element, item),
    function("ARRAY_CONTAINS", &[Array, Element], Outcome::Boolean, contains).seeing_nulls(),
    function("ARRAY_POSITION", &[Array, Element], Outcome::Int, position),
    function("ARRAY_APPEND", &[Array, Element], Outcome::First, |a| added(a, End::Back))
        .seeing_nulls(),
    function("ARRAY_PREPEND", &[Array, Element], Outcome::First, |a| added(a, End::Front))
        .seeing_nulls(),
    function("ARRAY_CONCAT", &[Array, Same], Outcome::First, concatenated).repeated().optional(1),
    function("ARRAY_REMOVE", &[Array, Element], Outcome::First, removed).seeing_nulls(),
    function("ARRAY_EXCEPT", &[Array, Same], Outcome::First, |a| {
        selected(a, |value, other| !other.contains(value))
    }),
    function("ARRAY_INTERSECT", &[Array, Same], Outcome::First, |a| {
        selected(a, |value, other| other.contains(value))
    }),
    function("ARRAY_UNION", &[Array, Same], Outcome::First, |a| {
        concatenated(a).and_then(|all| distinct(&[all]))
    }),
    function("ARRAY_SORT", &[Array, Boolean, Boolean], Outcome::First, sorted).optional(2),
    function("ARRAY_DISTINCT", &[Array], Outcome::First, distinct),
    function("ARRAY_REVERSE", &[Array], Outcome::First, reversed),
    function("ARRAY_MAX", &[Array], Outcome::Element, |a| extreme(a, Iterator::max)),
    function("ARRAY_MIN", &[Array], Outcome::Element, |a| extreme(a, Iterator::min)),
    function("ARRAY_JOIN", &[Array, Text, Text], Outcome::Text, join).optional(1),
    function("ARRAY_SLICE", &[Array, Whole, Whole], Outcome::First, slice).optional(1),
    function("MAP_FROM_ARRAYS", &[Array, Array], Outcome::TextMap, from_arrays),
    function("MAP_KEYS", &[Map], Outcome::Keys, keys),
    function("MAP_VALUES", &[Map], Outcome::Values, values),
    function("MAP_ENTRIES", &[Map], Outcome::Entries, entries),
    function("MAP_UNION", &[Map, Same], Outcome::First, united).repeated(),
];

fn array(value: Option<&Value>) -> Option<&[Value]> {
    match value {
        Some(Value::Array(values)) => Some(values),
        _ => None,
    }
}

fn map(value: Option<&Value>) -> Option<&[(Value, Value)]> {
    match value {
        Some(Value::Map(entries)) => Some(entries),
        _ => None,
    }
}

fn count(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn cardinality(arguments: &[Value]) -> Called {
    let length = array(arguments.first()).map(<[_]>::len);
    let length = length.or_else(|| map(arguments.first()).map(<[_]>::len));
    Ok(length.map_or(Value::Null, count))
}

/// The only element; NULL of none.
fn single(arguments: &[Value]) -> Called {
    match array(arguments.first()) {
        Some([only]) => Ok(only.clone()),
        Some([_, _, ..]) => Err(EvaluationError::Argument),
        Some([]) | None => Ok(Value::Null),
    }
}

/// `array[index]` from 1, or `map[key]`; NULL where there is none.
fn item(arguments: &[Value]) -> Called {
    let found = match arguments {
        [Value::Array(values), Value::Integer(index)] => {
            let index = usize::try_from(index.saturating_sub(1)).ok();
            index.and_then(|index| values.get(index))
        }
        [Value::Map(entries), key] => {
            entries.iter().find(|(known, _)| known == key).map(|(_, value)| value)
        }
        _ => None,
    };
    Ok(found.cloned().unwrap_or(Value::Null))
}

fn contains(arguments: &[Value]) -> Called {
    let [list, wanted] = arguments else { return Ok(Value::Null) };
    Ok(array(Some(list)).map_or(Value::Null, |values| Value::Boolean(values.contains(wanted))))
}

fn position(arguments: &[Value]) -> Called {
    let [list, wanted] = arguments else { return Ok(Value::Null) };
    let values = array(Some(list)).unwrap_or_default();
    let index = values.iter().position(|value| value == wanted);
    Ok(index.map_or(Value::Integer(0), |index| count(index + 1)))
}

fn distinct(arguments: &[Value]) -> Called {
    let mut seen = std::collections::BTreeSet::new();
    let values = array(arguments.first()).unwrap_or_default();
    let values: Arc<[Value]> = values.iter().filter(|value| seen.insert(*value)).cloned().collect();
    Ok(Value::Array(values))
}

/// Which end of an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// The array with an element more, which may be NULL.
fn added(arguments: &[Value], end: End) -> Called {
    let [Value::Array(values), element] = arguments else { return Ok(Value::Null) };
    let one = std::iter::once(element);
    Ok(Value::Array(match end {
        End::Front => one.chain(values.iter()).cloned().collect(),
        End::Back => values.iter().chain(one).cloned().collect(),
    }))
}

fn concatenated(arguments: &[Value]) -> Called {
    let parts = arguments.iter().flat_map(|one| array(Some(one)).unwrap_or_default());
    Ok(Value::Array(parts.cloned().collect()))
}

/// The array without the elements that are equal to the second argument; NULL equals NULL.
fn removed(arguments: &[Value]) -> Called {
    let [Value::Array(values), element] = arguments else { return Ok(Value::Null) };
    Ok(Value::Array(values.iter().filter(|value| *value != element).cloned().collect()))
}

/// The distinct elements of the first array that go with the second, in their order.
fn selected(
    arguments: &[Value],
    goes: impl Fn(&Value, &std::collections::BTreeSet<&Value>) -> bool,
) -> Called {
    let [Value::Array(values), Value::Array(other)] = arguments else { return Ok(Value::Null) };
    let other: std::collections::BTreeSet<&Value> = other.iter().collect();
    let kept: Arc<[Value]> = values.iter().filter(|value| goes(value, &other)).cloned().collect();
    distinct(&[Value::Array(kept)])
}

/// `ARRAY_SORT(array[, ascending[, nulls first]])`: NULLs are first ascending and last descending.
fn sorted(arguments: &[Value]) -> Called {
    let Some(Value::Array(values)) = arguments.first() else { return Ok(Value::Null) };
    let is = |index: usize, otherwise: bool| match arguments.get(index) {
        Some(Value::Boolean(truth)) => *truth,
        _ => otherwise,
    };
    let is_ascending = is(1, true);
    let nulls_first = is(2, is_ascending);
    let (nulls, mut rest): (Vec<Value>, Vec<Value>) =
        values.iter().cloned().partition(Value::is_null);
    rest.sort_unstable();
    if !is_ascending {
        rest.reverse();
    }
    let (first, second) = if nulls_first { (nulls, rest) } else { (rest, nulls) };
    Ok(Value::Array(first.into_iter().chain(second).collect()))
}

fn entries(arguments: &[Value]) -> Called {
    let entries = map(arguments.first()).unwrap_or_default();
    let row = |(key, value): &(Value, Value)| Value::Array([key.clone(), value.clone()].into());
    Ok(Value::Array(entries.iter().map(row).collect()))
}

/// All entries; of a key in several maps the last one's value.
fn united(arguments: &[Value]) -> Called {
    let all = arguments.iter().flat_map(|one| map(Some(one)).unwrap_or_default());
    let entries: std::collections::BTreeMap<Value, Value> = all.cloned().collect();
    Ok(Value::Map(entries.into_iter().collect()))
}

fn reversed(arguments: &[Value]) -> Called {
    let values = array(arguments.first()).unwrap_or_default();
    Ok(Value::Array(values.iter().rev().cloned().collect()))
}

fn extreme<'a>(
    arguments: &'a [Value],
    pick: impl FnOnce(
        std::iter::Filter<std::slice::Iter<'a, Value>, fn(&&Value) -> bool>,
    ) -> Option<&'a Value>,
) -> Called {
    let is_there: fn(&&Value) -> bool = |value| !value.is_null();
    let values = array(arguments.first()).unwrap_or_default();
    Ok(pick(values.iter().filter(is_there)).cloned().unwrap_or(Value::Null))
}

fn join(arguments: &[Value]) -> Called {
    let values = array(arguments.first()).unwrap_or_default();
    let Some(Value::Text(separator)) = arguments.get(1) else { return Ok(Value::Null) };
    let replaced = arguments.get(2);
    let texts = values.iter().filter_map(|value| match (value, replaced) {
        (Value::Null, None) => None,
        (Value::Null, Some(instead)) => Some(instead.to_string()),
        (value, _) => Some(value.to_string()),
    });
    Ok(Value::text(&texts.collect::<Vec<_>>().join(separator)))
}

/// From the first index to the last, from 1; negative ones count from the end.
fn slice(arguments: &[Value]) -> Called {
    let values = array(arguments.first()).unwrap_or_default();
    let length = i64::try_from(values.len()).unwrap_or(i64::MAX);
    let index = |value: Option<&Value>, otherwise: i64| match value {
        Some(Value::Integer(index)) if *index < 0 => length.saturating_add(*index) + 1,
        Some(Value::Integer(index)) => (*index).max(1),
        _ => otherwise,
    };
    let (first, last) = (index(arguments.get(1), 1), index(arguments.get(2), length).min(length));
    let bounds = usize::try_from(first - 1).ok().zip(usize::try_from(last).ok());
    let part = bounds.and_then(|(first, last)| values.get(first..last)).unwrap_or_default();
    Ok(Value::Array(Arc::from(part)))
}

/// The last value of a key counts.
fn from_arrays(arguments: &[Value]) -> Called {
    let [Value::Array(keys), Value::Array(values)] = arguments else { return Ok(Value::Null) };
    let pairs = keys.iter().cloned().zip(values.iter().cloned());
    let entries: std::collections::BTreeMap<Value, Value> = pairs.collect();
    Ok(Value::Map(entries.into_iter().collect()))
}

fn keys(arguments: &[Value]) -> Called {
    let entries = map(arguments.first()).unwrap_or_default();
    Ok(Value::Array(entries.iter().map(|(key, _)| key.clone()).collect()))
}

fn values(arguments: &[Value]) -> Called {
    let entries = map(arguments.first()).unwrap_or_default();
    Ok(Value::Array(entries.iter().map(|(_, value)| value.clone()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|number| Value::Integer(*number)).collect())
    }

    #[test]
    fn indexes_count_from_one_and_beyond_the_end_is_null() {
        let at = |index| item(&[list(&[5, 6]), Value::Integer(index)]).unwrap();

        assert_eq!(
            [at(1), at(2), at(3), at(0)],
            [5, 6, 0, 0].map(|n: i64| { if n == 0 { Value::Null } else { Value::Integer(n) } })
        );
    }

    #[test]
    fn sets_of_arrays_keep_the_order_of_the_first_and_each_value_once() {
        let lists = [list(&[3, 1, 1, 2]), list(&[1, 3, 3])];
        let call = |name: &str| {
            let arguments = lists.clone().map(crate::expression::Expression::Constant);
            Function::by_name(name).unwrap().call(&arguments, &[]).unwrap()
        };

        assert_eq!(call("ARRAY_INTERSECT"), list(&[3, 1]));
        assert_eq!(call("ARRAY_EXCEPT"), list(&[2]));
        assert_eq!(call("ARRAY_UNION"), list(&[3, 1, 2]));
        assert_eq!(call("ARRAY_CONCAT"), list(&[3, 1, 1, 2, 1, 3, 3]));
    }

    #[test]
    fn nulls_stand_where_the_order_puts_them() {
        let given = Value::Array([Value::Integer(2), Value::Null, Value::Integer(1)].into());
        let sort = |flags: &[bool]| {
            let flags = flags.iter().map(|flag| Value::Boolean(*flag));
            let arguments: Vec<_> = std::iter::once(given.clone()).chain(flags).collect();
            let Ok(Value::Array(values)) = sorted(&arguments) else { panic!() };
            values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };

        assert_eq!(sort(&[]), "NULL 1 2");
        assert_eq!(sort(&[false]), "2 1 NULL");
        assert_eq!(sort(&[false, true]), "NULL 2 1");
    }

    #[test]
    fn a_slice_may_count_from_the_end() {
        let part = |first, last| {
            slice(&[list(&[1, 2, 3, 4]), Value::Integer(first), Value::Integer(last)]).unwrap()
        };

        assert_eq!(part(2, 3), list(&[2, 3]));
        assert_eq!(part(-2, -1), list(&[3, 4]));
        assert_eq!(part(3, 2), list(&[]));
    }
}
