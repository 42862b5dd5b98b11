//! What a rule will do, told before it runs: its plan, whether its alerts can be taken back, what
//! it keeps per key and for how long, and the settings in force.

use std::fmt;

use crate::plan::Rule;
use crate::program::Program;
use crate::relation::{Changes, WindowName};
use crate::settings::{OnLimit, RuleSettings};
use crate::table::Table;

/// Whether more rows, or rows that come later, can refute a result.
mod monotone;
/// Lengths of time as options and people write them.
mod length;
/// One line per operator.
mod plan;
/// What each operator keeps, and what lets go of it.
mod state;

pub(crate) use length::Length;
pub(crate) use monotone::Monotony;

/// What a rule will do, as text of several lines.
#[derive(Debug)]
pub(crate) struct Explanation<'a> {
    pub(crate) program: &'a Program,
    pub(crate) rule: &'a Rule,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, rule } = self;
        let relation = &rule.sink().relation;
        writeln!(
            f,
            "rule {} to topic {}, severity {}",
            rule.name(),
            rule.topic(),
            rule.severity()
        )?;
        writeln!(f, "plan")?;
        plan::write(f, program, relation, 1)?;
        results(f, rule)?;
        writeln!(f, "monotone\n  {}", Monotony::of(relation))?;
        writeln!(f, "state")?;
        let states = state::lines(relation, rule.settings());
        if states.is_empty() {
            writeln!(f, "  none")?;
        }
        for line in states {
            writeln!(f, "  {line}")?;
        }
        settings(f, rule.settings())
    }
}

/// What a source table is: where its rows come from and how its event time moves.
#[derive(Debug)]
pub(crate) struct TableExplanation<'a>(pub(crate) &'a Table);

impl fmt::Display for TableExplanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(table) = self;
        write!(f, "table {}, {}, {}", table.name(), plan::place(table), table.format())?;
        let columns = table.schema().columns();
        if let Some(key) = table.key_index().and_then(|index| columns.get(index)) {
            write!(f, ", key {}", key.name())?;
        }
        writeln!(f, ", {}", plan::event_time(table))?;
        for expectation in table.expectations() {
            writeln!(f, "  expects {expectation}")?;
        }
        Ok(())
    }
}

/// How results come, and what makes two of them the same alert.
fn results(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    let sink = rule.sink();
    let updates = match sink.relation.changes {
        Changes::Append => {
            let RuleSettings { allowed_lateness, early_results, .. } = rule.settings();
            match (allowed_lateness.is_zero(), early_results) {
                (true, None) => "added, never changed",
                (false, None) => "added, and changed by rows within the allowed lateness",
                (true, Some(_)) => "added early, and changed until their window closes",
                (false, Some(_)) => {
                    "added early, and changed until their window closes and by rows within the \
                     allowed lateness"
                }
            }
        }
        Changes::Retract => "added, changed and taken back as rows come",
    };
    writeln!(f, "results\n  {updates}")?;
    let column = |index: &usize| match sink.relation.columns.get(*index) {
        Some(field) if !field.name.is_empty() => field.name.to_string(),
        _ => "a column that is not told".to_owned(),
    };
    let window = match sink.window {
        WindowName::Column(index) => column(&index),
        WindowName::End(_) => "the window's end".to_owned(),
        WindowName::Evidence => "the row that caused it".to_owned(),
        WindowName::Whole => "nothing: results of a key are revisions of one".to_owned(),
    };
    let key = sink.key.iter().map(column).collect::<Vec<_>>().join(", ");
    let key = if key.is_empty() { "nothing".to_owned() } else { key };
    writeln!(f, "  key: {key}; window: {window}")
}

/// Every setting as it would be written in WITH, with what it does where that needs saying.
fn settings(f: &mut fmt::Formatter<'_>, settings: &RuleSettings) -> fmt::Result {
    let RuleSettings {
        allowed_lateness,
        early_results,
        state_retention,
        keys_limit,
        memory_limit,
        work_limit,
        on_limit,
    } = settings;
    let by_default = RuleSettings::default();
    let mark = |is_default: bool| if is_default { ", by default" } else { "" };
    writeln!(f, "settings")?;
    let lateness = (Length::of(*allowed_lateness), mark(allowed_lateness.is_zero()));
    writeln!(f, "  'allowed-lateness' = '{}'{}", lateness.0, lateness.1)?;
    if let Some(interval) = early_results {
        writeln!(f, "  'emit.early' = '{}': of event time", Length::of(*interval))?;
    }
    match state_retention {
        Some(retention) => writeln!(f, "  'state-retention' = '{}'", Length::of(*retention))?,
        None => writeln!(f, "  'state-retention' is not set: keys stay for ever")?,
    }
    let keys = mark(*keys_limit == by_default.keys_limit);
    writeln!(f, "  'limit.keys' = '{keys_limit}'{keys}")?;
    let memory = mark(*memory_limit == by_default.memory_limit);
    writeln!(f, "  'limit.memory' = '{memory_limit}'{memory}: of the largest operator")?;
    let work = mark(*work_limit == by_default.work_limit);
    writeln!(f, "  'limit.work' = '{work_limit}'{work}: rows looked at for one row")?;
    let (name, then) = match on_limit {
        OnLimit::RefuseRow => ("refuse-row", "the row is refused and counted"),
        OnLimit::StopRule => ("stop-rule", "the rule stops and lets go of its state"),
    };
    let on = mark(*on_limit == by_default.on_limit);
    writeln!(f, "  'on-limit' = '{name}'{on}: {then}")
}

#[cfg(test)]
mod tests {
    use crate::program::Program;

    #[test]
    fn a_rule_tells_its_plan_its_state_and_whether_its_alerts_stand() {
        let sql = "CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm25 DOUBLE,\n\
                   WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) WITH ('topic' = 'air');\n\
                   CREATE TABLE high (station STRING, until TIMESTAMP(3), n BIGINT)\n\
                   WITH ('topic' = 'alerts', 'limit.keys' = '500', 'allowed-lateness' = '1h');\n\
                   INSERT INTO high SELECT station, window_end, COUNT(*)\n\
                   FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '1' HOUR))\n\
                   WHERE pm25 > 120 GROUP BY station, window_start, window_end\n\
                   HAVING COUNT(*) >= 3;";
        let program = Program::compile("rules.sql", sql).unwrap();

        let told = program.explain("high").unwrap();

        let expected = "\
rule high to topic alerts, severity warning
plan
  project station, until, n
    filter
      COUNT per tumbling window of 1h and station
        filter
          scan air, topic air, event time ts, watermark 1min behind
results
  added, and changed by rows within the allowed lateness
  key: station; window: the window's end
monotone
  yes: HAVING asks that aggregates pass bounds which more rows do not undo
state
  74 bytes per window and key: until the watermark passes the window's end by 1h
settings
  'allowed-lateness' = '1h'
  'state-retention' is not set: keys stay for ever
  'limit.keys' = '500'
  'limit.memory' = '256MiB', by default: of the largest operator
  'limit.work' = '100000', by default: rows looked at for one row
  'on-limit' = 'refuse-row', by default: the row is refused and counted
";
        assert_eq!(told, expected);
        assert_eq!(program.explain("low"), None);
    }

    #[test]
    fn each_kind_of_state_says_what_lets_go_of_it() {
        let table = "CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) \
                     WITH ('topic' = 't');\n";
        let state = |options: &str, query: &str| {
            let sql = format!("{table}CREATE TABLE n WITH ('topic' = 'n'{options}) AS {query}");
            let program = Program::compile("rules.sql", &sql).unwrap();
            let told = program.explain("n").unwrap();
            let (_, behind) = told.split_once("state\n").unwrap();
            behind.split_once("\nsettings").unwrap().0.trim().to_owned()
        };
        let unbounded = "kept for ever, up to the limits below";
        let frame = "SELECT k, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING \
                     AND CURRENT ROW) AS s FROM t";

        assert_eq!(state("", "SELECT k FROM t WHERE v > 3"), "none");
        assert_eq!(
            state("", "SELECT a.k FROM t a JOIN t b ON a.k = b.k"),
            format!("every row of both sides, with all of its columns: {unbounded}")
        );
        assert_eq!(
            state(
                "",
                "SELECT a.k FROM t a JOIN t b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + \
                       INTERVAL '90' SECOND"
            ),
            "rows of both sides, with all of its columns: until the watermark is 1min30s past them"
        );
        assert_eq!(
            state("", frame),
            format!(
                "3 rows per key, with all of its columns: {unbounded}; 'state-retention' would \
                 bound it"
            )
        );
        assert_eq!(
            state(", 'state-retention' = '7d'", frame),
            "3 rows per key, with all of its columns: until the key has had no row for 7d"
        );
    }
}
