//! Settings of a rule in the WITH of the table it inserts into.
//!
//! ```sql
//! CREATE TABLE high (…) WITH ('topic' = 'alerts', 'allowed-lateness' = '10 min',
//!   'emit.early' = '5 s', 'state-retention' = '7d', 'limit.keys' = '10000',
//!   'limit.memory' = '64MiB',
//!   'limit.work' = '5000', 'on-limit' = 'stop-rule');
//! ```

use std::time::Duration;

use headland_event::ByteCount;

use crate::settings::{OnLimit, RuleSettings};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::sql::statement::TableOption;

/// Keys that say how a rule runs.
pub(crate) const RULE_OPTIONS: [&str; 7] = [
    ALLOWED_LATENESS,
    EARLY_RESULTS,
    "state-retention",
    "limit.keys",
    "limit.memory",
    "limit.work",
    "on-limit",
];

pub(crate) const ALLOWED_LATENESS: &str = "allowed-lateness";
pub(crate) const EARLY_RESULTS: &str = "emit.early";

/// Units of time with their milliseconds.
const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size with their bytes.
const SIZE_UNITS: [(&str, u64); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// The settings that options give, the default for those they leave out. Keys of anything else are
/// passed over.
pub(crate) fn settings(options: &[TableOption]) -> Result<RuleSettings, Fault> {
    let mut settings = RuleSettings::default();
    for option in options {
        match option.key.as_str() {
            ALLOWED_LATENESS => settings.allowed_lateness = duration(option)?,
            EARLY_RESULTS => settings.early_results = Some(duration(option)?),
            "state-retention" => settings.state_retention = Some(duration(option)?),
            "limit.keys" => settings.keys_limit = count(option)?,
            "limit.memory" => settings.memory_limit = size(option)?,
            "limit.work" => settings.work_limit = count(option)?,
            "on-limit" => settings.on_limit = on_limit(option)?,
            _ => {}
        }
    }
    Ok(settings)
}

/// Refuses settings of a rule on a table that no rule inserts into.
pub(crate) fn refuse(options: &[TableOption]) -> Result<(), Fault> {
    let given = options.iter().find(|option| RULE_OPTIONS.contains(&option.key.as_str()));
    let Some(option) = given else { return Ok(()) };
    let subject = format!("option '{}'", option.key);
    let (found, fits) = ("on a table that is read", "it on a table that a rule inserts into");
    Err(Fault::new(option.key_at, SqlErrorReason::mismatch(subject, found, fits)))
}

/// A length of time in an option.
pub(crate) fn duration(option: &TableOption) -> Result<Duration, Fault> {
    let millis = measure(&option.value, &TIME_UNITS);
    // Half of what 64 bits hold, so that a time and a duration always add up.
    let millis = millis.filter(|millis| (1..=u64::MAX >> 2).contains(millis));
    let expected = "a length of time such as 500ms, 10s, 5min, 1h or 7d";
    millis.map(Duration::from_millis).ok_or_else(|| mismatch(option, expected))
}

/// A size in an option.
pub(crate) fn size(option: &TableOption) -> Result<ByteCount, Fault> {
    let bytes = measure(&option.value, &SIZE_UNITS).filter(|bytes| *bytes > 0);
    let expected = "a size such as 512KiB, 64MiB or 1GiB";
    bytes.map(ByteCount::new).ok_or_else(|| mismatch(option, expected))
}

/// A whole number in an option.
pub(crate) fn count(option: &TableOption) -> Result<usize, Fault> {
    let number = option.value.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| mismatch(option, "a whole number from 1, such as 10000"))
}

fn on_limit(option: &TableOption) -> Result<OnLimit, Fault> {
    match option.value.as_str() {
        "refuse-row" => Ok(OnLimit::RefuseRow),
        "stop-rule" => Ok(OnLimit::StopRule),
        _ => Err(mismatch(option, "refuse-row or stop-rule")),
    }
}

/// A whole number and its unit, with or without a space between, in the least unit.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, each) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*each)
}

fn mismatch(option: &TableOption, expected: &str) -> Fault {
    let subject = format!("option '{}'", option.key);
    let found = format!("{:?}", option.value);
    Fault::new(option.value_at, SqlErrorReason::mismatch(subject, found, expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    fn compile(options: &str) -> Result<RuleSettings, String> {
        let sql = format!(
            "CREATE TABLE t (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) \
             WITH ('topic' = 't');\n\
             CREATE TABLE n (k STRING, n BIGINT) WITH ('topic' = 'n', {options});\n\
             INSERT INTO n SELECT k, COUNT(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), k;"
        );
        let program = Program::compile("rules.sql", &sql).map_err(|error| error.to_string())?;
        Ok(*program.rules()[0].settings())
    }

    #[test]
    fn options_of_a_target_are_the_settings_of_its_rule() {
        let settings = compile(
            "'allowed-lateness' = '10 min', 'emit.early' = '5 s', 'state-retention' = '7d', \
             'limit.keys' = '100', \
             'limit.memory' = '64MiB', 'limit.work' = '5000', 'on-limit' = 'stop-rule'",
        );

        let expected = RuleSettings {
            allowed_lateness: Duration::from_secs(600),
            early_results: Some(Duration::from_secs(5)),
            state_retention: Some(Duration::from_secs(7 * 86_400)),
            keys_limit: 100,
            memory_limit: ByteCount::mebibytes(64),
            work_limit: 5_000,
            on_limit: OnLimit::StopRule,
        };
        assert_eq!(settings, Ok(expected));
    }

    #[test]
    fn values_that_do_not_fit_are_refused_with_what_would() {
        let cases = [
            (
                "'allowed-lateness' = '10'",
                "rules.sql:2:79: option 'allowed-lateness' is \"10\", expected a length of time \
                 such as 500ms, 10s, 5min, 1h or 7d",
            ),
            (
                "'limit.memory' = '64 mb'",
                "rules.sql:2:75: option 'limit.memory' is \"64 mb\", expected a size such as \
                 512KiB, 64MiB or 1GiB",
            ),
            (
                "'limit.keys' = '0'",
                "rules.sql:2:73: option 'limit.keys' is \"0\", expected a whole number from 1, \
                 such as 10000",
            ),
            (
                "'on-limit' = 'ignore'",
                "rules.sql:2:71: option 'on-limit' is \"ignore\", expected refuse-row or stop-rule",
            ),
        ];
        for (option, error) in cases {
            assert_eq!(compile(option).unwrap_err(), error);
        }
    }

    #[test]
    fn settings_on_a_table_that_is_read_are_refused() {
        let sql = "CREATE TABLE t (k STRING) WITH ('topic' = 't', 'limit.keys' = '9');\n\
                   CREATE TABLE n (k STRING) WITH ('topic' = 'n');\n\
                   INSERT INTO n SELECT k FROM t;";

        let error = Program::compile("rules.sql", sql).unwrap_err();

        assert_eq!(
            error.to_string(),
            "rules.sql:1:48: option 'limit.keys' is on a table that is read, expected it on a \
             table that a rule inserts into"
        );
    }

    #[test]
    fn changes_are_refused_where_no_fixed_window_gives_the_results() {
        for option in [ALLOWED_LATENESS, EARLY_RESULTS] {
            let sql = format!(
                "CREATE TABLE t (k STRING) WITH ('topic' = 't');\n\
                 CREATE TABLE n (k STRING) WITH ('topic' = 'n', '{option}' = '1h');\n\
                 INSERT INTO n SELECT k FROM t;"
            );

            let error = Program::compile("rules.sql", &sql).unwrap_err();

            assert_eq!(
                error.to_string(),
                format!(
                    "rules.sql:2:48: option '{option}' is on a rule whose results may not change, \
                     expected a rule whose results are those of a TUMBLE, HOP or CUMULATE aggregate"
                )
            );
        }
    }

    #[test]
    fn a_number_and_its_unit_may_stand_apart_and_must_fit_64_bits() {
        assert_eq!(measure(" 5 min ", &TIME_UNITS), Some(300_000));
        assert_eq!(measure("5min", &TIME_UNITS), Some(300_000));
        assert_eq!(measure("min", &TIME_UNITS), None);
        assert_eq!(measure("-5s", &TIME_UNITS), None);
        assert_eq!(measure("18446744073709551615s", &TIME_UNITS), None);
    }
}
