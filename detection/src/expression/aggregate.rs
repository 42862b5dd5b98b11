//! Names and types of aggregates.

use crate::expression::typed::decimal;
use crate::relation::{AggregateKind, Spread};
use crate::value::DataType;

/// Names the compiler knows.
pub(crate) const NAMES: [&str; 19] = [
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "FIRST_VALUE",
    "LAST_VALUE",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "STDDEV",
    "VAR_POP",
    "VAR_SAMP",
    "VARIANCE",
    "LISTAGG",
    "COLLECT",
    "ARRAY_AGG",
    "APPROX_COUNT_DISTINCT",
    "APPROX_QUANTILE",
    "APPROX_TOP_K",
];

/// Whether a function in upper case is an aggregate.
pub(crate) fn is_aggregate(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What an aggregate is and what its first argument is cast to.
pub(crate) struct Signature {
    pub(crate) kind: AggregateKind,
    /// None leaves the argument as it is.
    pub(crate) argument: Option<DataType>,
    pub(crate) result: DataType,
}

/// The signature of an aggregate over an argument of `argument`; none when it does not take it.
/// Constants behind the first argument are filled in by the caller.
///
/// # Source
/// Flink's `LogicalTypeMerging.findSumAggType` and `findAvgAggType`.
pub(crate) fn signature(name: &str, argument: &DataType) -> Option<Signature> {
    let plain = |kind, result: DataType| Some(Signature { kind, argument: None, result });
    let spread = |spread| {
        let double = Some(DataType::Double);
        argument.is_numeric().then_some(Signature {
            kind: AggregateKind::Spread(spread),
            argument: double,
            // An integer's deviation is an integer in Flink.
            result: if argument.is_integer() { argument.clone() } else { DataType::Double },
        })
    };
    match name {
        "COUNT" => plain(AggregateKind::Count, DataType::BigInt),
        "SUM" if argument.is_numeric() => plain(
            AggregateKind::Sum,
            match argument {
                DataType::Decimal { scale, .. } => {
                    DataType::Decimal { precision: 38, scale: *scale }
                }
                other => other.clone(),
            },
        ),
        "AVG" if argument.is_numeric() => plain(
            AggregateKind::Average,
            match argument {
                DataType::Decimal { scale, .. } => decimal(38, i16::from(*scale).max(6)),
                other => other.clone(),
            },
        ),
        "MIN" => plain(AggregateKind::Min, argument.clone()),
        "MAX" => plain(AggregateKind::Max, argument.clone()),
        "FIRST_VALUE" => plain(AggregateKind::FirstValue, argument.clone()),
        "LAST_VALUE" => plain(AggregateKind::LastValue, argument.clone()),
        "STDDEV_POP" => spread(Spread::DeviationPopulation),
        "STDDEV_SAMP" | "STDDEV" => spread(Spread::DeviationSample),
        "VAR_POP" => spread(Spread::VariancePopulation),
        "VAR_SAMP" | "VARIANCE" => spread(Spread::VarianceSample),
        "LISTAGG" if *argument == DataType::String => {
            plain(AggregateKind::ListAggregate, DataType::String)
        }
        "COLLECT" | "ARRAY_AGG" => {
            plain(AggregateKind::Collect, DataType::Array(argument.clone().into()))
        }
        "APPROX_COUNT_DISTINCT" => plain(AggregateKind::ApproximateDistinct, DataType::BigInt),
        "APPROX_QUANTILE" if argument.is_numeric() => Some(Signature {
            kind: AggregateKind::ApproximateQuantile(0.5),
            argument: Some(DataType::Double),
            result: DataType::Double,
        }),
        "APPROX_TOP_K" => {
            plain(AggregateKind::ApproximateTop(1), DataType::Array(argument.clone().into()))
        }
        _ => None,
    }
}
