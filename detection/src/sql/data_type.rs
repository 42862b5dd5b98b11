//! Types as they are written.

use sqlparser::ast::{
    CharacterLength, DataType as Parsed, ExactNumberInfo, ObjectNamePart, TimezoneInfo,
};
use sqlparser::tokenizer::Location;

use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::DataType;

/// What a type may be, for error messages.
pub(crate) const TYPES: &str = "STRING, BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, \
                                DECIMAL(p, s), BYTES, DATE, TIME, TIMESTAMP(3), TIMESTAMP_LTZ(3), \
                                ARRAY<t>, MAP<k, v> or ROW<name t, …>";

/// Most digits below a second that are kept.
const PRECISION_MAX: u64 = 3;

/// The type that `sqlparser` has read; `subject` names its place in errors.
pub(crate) fn convert(parsed: &Parsed, subject: &str, at: Location) -> Result<DataType, Fault> {
    plain(parsed).ok_or_else(|| Fault::new(at, SqlErrorReason::mismatch(subject, parsed, TYPES)))
}

/// The length that a text is cut to: of `CHAR(n)` and `VARCHAR(n)`.
pub(crate) fn length(parsed: &Parsed) -> Option<i64> {
    match parsed {
        Parsed::Char(Some(CharacterLength::IntegerLength { length, .. }))
        | Parsed::Varchar(Some(CharacterLength::IntegerLength { length, .. })) => {
            i64::try_from(*length).ok()
        }
        _ => None,
    }
}

fn plain(parsed: &Parsed) -> Option<DataType> {
    Some(match parsed {
        Parsed::String(None)
        | Parsed::Varchar(_)
        | Parsed::Char(_)
        | Parsed::Character(_)
        | Parsed::CharacterVarying(_)
        | Parsed::Text => DataType::String,
        Parsed::Bytes(None) | Parsed::Varbinary(_) | Parsed::Binary(_) => DataType::Bytes,
        Parsed::TinyInt(None) => DataType::TinyInt,
        Parsed::SmallInt(None) => DataType::SmallInt,
        Parsed::Int(None) | Parsed::Integer(None) => DataType::Int,
        Parsed::BigInt(None) | Parsed::BigIntUnsigned(None) => DataType::BigInt,
        Parsed::Float(ExactNumberInfo::None) | Parsed::Real => DataType::Float,
        Parsed::Double(ExactNumberInfo::None) | Parsed::DoublePrecision => DataType::Double,
        Parsed::Decimal(digits) | Parsed::Numeric(digits) | Parsed::Dec(digits) => {
            decimal(*digits)?
        }
        Parsed::Boolean | Parsed::Bool => DataType::Boolean,
        Parsed::Date => DataType::Date,
        Parsed::Time(None | Some(0..=PRECISION_MAX), TimezoneInfo::None) => DataType::Time,
        Parsed::Timestamp(None | Some(0..=PRECISION_MAX), TimezoneInfo::None) => {
            DataType::Timestamp
        }
        Parsed::Custom(name, modifiers) => {
            let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
            let is_short = match modifiers.as_slice() {
                [] => true,
                [digits] => digits.parse().is_ok_and(|digits: u64| digits <= PRECISION_MAX),
                _ => false,
            };
            let is_ltz = name.value.eq_ignore_ascii_case("TIMESTAMP_LTZ");
            if is_ltz && is_short { DataType::TimestampLtz } else { return None }
        }
        _ => return None,
    })
}

fn decimal(digits: ExactNumberInfo) -> Option<DataType> {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            (precision, u64::try_from(scale).ok()?)
        }
    };
    let fits = (1..=38).contains(&precision) && scale <= precision;
    let digit = |number: u64| u8::try_from(number).ok();
    if fits {
        Some(DataType::Decimal { precision: digit(precision)?, scale: digit(scale)? })
    } else {
        None
    }
}
