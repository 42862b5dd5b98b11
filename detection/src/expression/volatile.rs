//! Functions of Flink whose value is not in the rows: a clock, a dice.
//!
//! What comes out of an engine is a function of its log, so that a restart, another hub and a
//! test from a file give the same; these are refused by name, with what would fit instead.

use crate::sql::error::SqlErrorReason;

/// What stands in for a clock.
const ARRIVAL: &str = "use the event time, or the time of arrival, declared as \
                       `at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', WATERMARK FOR at AS at`";

/// What stands in for a dice.
const DIGEST: &str = "derive it from a column, for example MD5(id)";

/// Why a function in upper case cannot be called with `arguments` arguments; none when it can.
pub(super) fn refusal(name: &str, arguments: usize) -> Option<SqlErrorReason> {
    let instead = match name {
        "PROCTIME"
        | "NOW"
        | "CURRENT_TIMESTAMP"
        | "CURRENT_ROW_TIMESTAMP"
        | "LOCALTIMESTAMP"
        | "CURRENT_DATE"
        | "CURRENT_TIME"
        | "LOCALTIME"
        | "CURRENT_WATERMARK" => ARRIVAL,
        "UNIX_TIMESTAMP" if arguments == 0 => ARRIVAL,
        "RAND" | "RAND_INTEGER" | "UUID" => DIGEST,
        _ => return None,
    };
    Some(SqlErrorReason::Unrepeatable { name: name.to_owned(), instead })
}
