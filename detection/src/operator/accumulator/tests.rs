//! Results, taking back and merging of every aggregate.

use proptest::prelude::*;

use super::*;
use crate::relation::{Key, Spread};

fn call(function: AggregateKind, data_type: DataType, changes: Changes) -> Call {
    let arguments =
        vec![Key { expression: Expression::Column(0), data_type: DataType::clone(&data_type) }];
    let (is_distinct, filter, result_type) = (false, None, data_type);
    Call::new(&AggregateCall { function, arguments, is_distinct, filter, result_type }, changes)
}

fn state(call: &Call, values: &[Value]) -> Accumulator {
    let mut accumulator = call.start();
    for value in values {
        let contribution = call.contribution(std::slice::from_ref(value)).unwrap();
        call.add(&mut accumulator, &contribution);
    }
    accumulator
}

fn over(function: AggregateKind, data_type: DataType, values: &[Value]) -> Value {
    let call = call(function, data_type, Changes::Append);
    call.result(&state(&call, values))
}

const INTEGERS: [Value; 4] = [Value::Integer(1), Value::Null, Value::Integer(2), Value::Integer(4)];

/// Every function that takes integers, with its type of result.
const FUNCTIONS: [AggregateKind; 10] = [
    AggregateKind::Count,
    AggregateKind::Sum,
    AggregateKind::Average,
    AggregateKind::Min,
    AggregateKind::Max,
    AggregateKind::FirstValue,
    AggregateKind::LastValue,
    AggregateKind::Spread(Spread::VariancePopulation),
    AggregateKind::ListAggregate,
    AggregateKind::ApproximateQuantile(0.5),
];

#[test]
fn an_accumulator_takes_no_more_room_than_a_value() {
    assert_eq!(size_of::<Accumulator>(), 24);
}

#[test]
fn nulls_are_ignored_by_every_aggregate_of_a_value() {
    let bigint = |function| over(function, DataType::BigInt, &INTEGERS);

    assert_eq!(bigint(AggregateKind::Count), Value::Integer(3));
    assert_eq!(bigint(AggregateKind::Sum), Value::Integer(7));
    assert_eq!(bigint(AggregateKind::Min), Value::Integer(1));
    assert_eq!(bigint(AggregateKind::Max), Value::Integer(4));
    assert_eq!(bigint(AggregateKind::FirstValue), Value::Integer(1));
    assert_eq!(bigint(AggregateKind::LastValue), Value::Integer(4));
    assert_eq!(bigint(AggregateKind::ListAggregate), Value::text("1,2,4"));
}

#[test]
fn the_average_of_integers_is_cut_towards_zero_and_of_doubles_is_not() {
    let negative = [Value::Integer(-3), Value::Integer(-4)];
    let doubles = [Value::Double(1.0), Value::Double(2.0)];
    let average = |data_type, values: &[Value]| over(AggregateKind::Average, data_type, values);

    assert_eq!(average(DataType::BigInt, &INTEGERS), Value::Integer(2));
    assert_eq!(average(DataType::BigInt, &negative), Value::Integer(-3));
    assert_eq!(average(DataType::Double, &doubles), Value::Double(1.5));
}

#[test]
fn over_no_value_a_count_is_zero_and_everything_else_is_null() {
    for function in FUNCTIONS {
        let expected = match function {
            AggregateKind::Count => Value::Integer(0),
            _ => Value::Null,
        };
        assert_eq!(over(function, DataType::Double, &[Value::Null]), expected, "{function:?}");
    }
}

#[test]
fn the_sum_of_int_wraps_at_32_bits() {
    let values = [Value::Integer(i64::from(i32::MAX)), Value::Integer(1)];

    assert_eq!(
        over(AggregateKind::Sum, DataType::Int, &values),
        Value::Integer(i64::from(i32::MIN))
    );
}

#[test]
fn the_spread_of_a_sample_divides_by_one_less() {
    let values = [1.0, 2.0, 3.0, 4.0].map(Value::Double);
    let spread = |spread| over(AggregateKind::Spread(spread), DataType::Double, &values);

    assert_eq!(spread(Spread::VariancePopulation), Value::Double(1.25));
    assert_eq!(spread(Spread::VarianceSample), Value::Double(5.0 / 3.0));
    let one = over(AggregateKind::Spread(Spread::VarianceSample), DataType::Double, &values[..1]);
    assert_eq!(one, Value::Null);
}

#[test]
fn a_distinct_aggregate_counts_each_value_once_until_its_last_copy_is_taken_back() {
    let mut distinct = call(AggregateKind::Sum, DataType::BigInt, Changes::Retract);
    distinct.call.is_distinct = true;
    let mut accumulator = state(&distinct, &[2, 2, 3].map(Value::Integer));

    distinct.retract(&mut accumulator, &Value::Integer(2));
    let with_one_left = distinct.result(&accumulator);
    distinct.retract(&mut accumulator, &Value::Integer(2));

    assert_eq!(with_one_left, Value::Integer(5));
    assert_eq!(distinct.result(&accumulator), Value::Integer(3));
}

fn integers() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec((-9_i64..9).prop_map(Value::Integer), 0..12)
}

proptest! {
    #[test]
    fn merging_panes_gives_the_state_of_all_their_rows(left in integers(), right in integers()) {
        for function in FUNCTIONS {
            for is_distinct in [false, true] {
                let mut call = call(function, DataType::BigInt, Changes::Append);
                call.call.is_distinct = is_distinct;
                let mut merged = state(&call, &left);
                call.merge(&mut merged, &state(&call, &right));

                let whole = state(&call, &[left.clone(), right.clone()].concat());
                // Values once each keep their order within a pane only.
                let is_ordered = matches!(
                    function,
                    AggregateKind::ListAggregate
                        | AggregateKind::FirstValue
                        | AggregateKind::LastValue
                );
                if !(is_distinct && is_ordered) {
                    prop_assert_eq!(call.result(&merged), call.result(&whole), "{:?}", function);
                }
            }
        }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace(kept in integers(), gone in integers()) {
        for function in FUNCTIONS {
            let call = call(function, DataType::BigInt, Changes::Retract);
            let mut accumulator = state(&call, &gone);
            for value in &kept {
                call.add(&mut accumulator, value);
            }
            for value in &gone {
                call.retract(&mut accumulator, value);
            }

            prop_assert_eq!(
                call.result(&accumulator),
                call.result(&state(&call, &kept)),
                "{:?}",
                function
            );
        }
    }

    #[test]
    fn read_of_write_is_the_same_state(values in integers()) {
        for function in FUNCTIONS {
            for changes in [Changes::Append, Changes::Retract] {
                let call = call(function, DataType::BigInt, changes);
                let accumulator = state(&call, &values);
                let mut writer = Writer::new();
                accumulator.write(&mut writer);

                let mut reader = Reader::new(writer.finish());
                prop_assert_eq!(call.read(&mut reader), Ok(accumulator));
                prop_assert_eq!(reader.end(), Ok(()));
            }
        }
    }
}
