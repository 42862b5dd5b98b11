//! What a rule keeps: per operator what for one key, and what lets go of it.

use crate::explain::length::Length;
use crate::explain::plan::inputs;
use crate::operator::accumulator::Call;
use crate::operator::group_state::Accumulators;
use crate::operator::keyed::entry_bytes;
use crate::relation::{
    AggregateCall, Changes, Frame, Join, JoinMethod, Operator, OverCall, Relation, WindowAggregate,
    WindowKind, Windowing,
};
use crate::settings::RuleSettings;

/// What lets go of state that nothing but the limits of the rule bounds.
const FOR_EVER: &str = "kept for ever, up to the limits below";

/// One line per operator that keeps something.
pub(super) fn lines(relation: &Relation, settings: &RuleSettings) -> Vec<String> {
    let mut lines = Vec::new();
    collect(relation, settings, &mut lines);
    lines
}

fn collect(relation: &Relation, settings: &RuleSettings, lines: &mut Vec<String>) {
    if let Some((what, until)) = kept(&relation.operator, settings) {
        lines.push(format!("{what}: {until}"));
    }
    inputs(&relation.operator).into_iter().for_each(|input| collect(input, settings, lines));
}

/// What an operator keeps, and what lets go of it; none when it keeps nothing.
fn kept(operator: &Operator, settings: &RuleSettings) -> Option<(String, String)> {
    let for_ever = || FOR_EVER.to_owned();
    Some(match operator {
        Operator::Scan(_)
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Unnest(_)
        | Operator::Union(_) => return None,
        Operator::Window { window, .. } => match window.kind {
            WindowKind::Session { .. } => {
                (rows("each row"), "until the watermark passes its session's end".to_owned())
            }
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => {
                return None;
            }
        },
        Operator::WindowAggregate(plan) => of_windows(plan, settings),
        Operator::GroupAggregate(plan) => {
            let key = if plan.keys.is_empty() { "for all rows" } else { "per key" };
            (of_group(key, &plan.aggregates, plan.input.changes), for_ever())
        }
        Operator::Over(plan) => {
            (of_frame(plan.frame, &plan.calls), frame_end(plan.frame, settings))
        }
        Operator::Deduplicate(plan) => {
            let until = if plan.window.is_some() { until_window() } else { for_ever() };
            (rows("one row per key"), until)
        }
        Operator::TopN(plan) => {
            let what = match plan.input.changes {
                Changes::Append => rows(&format!("{} rows per key", plan.range.1)),
                Changes::Retract => rows("every row per key, since rows are taken back"),
            };
            (what, if plan.window.is_some() { until_window() } else { for_ever() })
        }
        Operator::Join(plan) => of_join(plan, settings),
        Operator::Match(plan) => {
            let what = rows("rows from the first that may begin a match, per key");
            let until = match plan.within {
                Some(within) => format!("until the watermark is {} past it", Length(within)),
                None => retained(settings),
            };
            (what, until)
        }
    })
}

fn rows(what: &str) -> String {
    format!("{what}, with all of its columns")
}

fn until_window() -> String {
    "until the watermark passes the window's end".to_owned()
}

/// How long a key stays that no window bounds.
fn retained(settings: &RuleSettings) -> String {
    match settings.state_retention {
        Some(retention) => {
            format!("until the key has had no row for {}", Length::of(retention))
        }
        None => format!("{FOR_EVER}; 'state-retention' would bound it"),
    }
}

fn of_frame(frame: Frame, calls: &[OverCall]) -> String {
    match frame {
        Frame::Rows(Some(before)) => rows(&format!("{} rows per key", before.saturating_add(1))),
        Frame::Range(Some(reach)) => rows(&format!("the rows of {} per key", Length(reach))),
        Frame::Rows(None) | Frame::Range(None) => {
            let aggregates = calls.iter().filter_map(|call| match call {
                OverCall::Aggregate(call) => Some(call.clone()),
                OverCall::RowNumber
                | OverCall::Rank
                | OverCall::DenseRank
                | OverCall::Lag { .. } => None,
            });
            of_group("per key", &aggregates.collect::<Vec<_>>(), Changes::Append)
        }
    }
}

fn frame_end(frame: Frame, settings: &RuleSettings) -> String {
    match frame {
        Frame::Range(Some(reach)) => format!("until the watermark is {} past them", Length(reach)),
        Frame::Rows(_) | Frame::Range(None) => retained(settings),
    }
}

fn of_join(plan: &Join, settings: &RuleSettings) -> (String, String) {
    match &plan.method {
        JoinMethod::Regular => (rows("every row of both sides"), FOR_EVER.to_owned()),
        JoinMethod::Interval { lower, upper, .. } => {
            let span = Length(upper.saturating_sub(*lower));
            (rows("rows of both sides"), format!("until the watermark is {span} past them"))
        }
        JoinMethod::Window { .. } => (rows("rows of both sides"), until_window()),
        JoinMethod::Temporal { .. } => {
            let until = format!("rows until the watermark, versions {}", retained(settings));
            (rows("rows, and the versions of each key"), until)
        }
        JoinMethod::Lookup { .. } => (rows("rows"), "until they are answered".to_owned()),
        JoinMethod::Latest { .. } => (rows("the last row of each key"), FOR_EVER.to_owned()),
        JoinMethod::File { .. } => {
            (rows("every row of the file"), "as long as the file holds it".to_owned())
        }
    }
}

fn of_windows(plan: &WindowAggregate, settings: &RuleSettings) -> (String, String) {
    let (panes, is_session) = match &plan.windowing {
        Windowing::Attached(_) => ("per window and key", false),
        Windowing::Assign(window) => match window.kind {
            WindowKind::Session { .. } => ("per session", true),
            WindowKind::Tumble { .. } => ("per window and key", false),
            WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => ("per pane and key", false),
        },
    };
    let until = match (is_session, settings.allowed_lateness) {
        (true, _) => "until the watermark passes the session's end".to_owned(),
        (false, lateness) if lateness.is_zero() => until_window(),
        (false, lateness) => format!("{} by {}", until_window(), Length::of(lateness)),
    };
    (of_group(panes, &plan.aggregates, plan.input.changes), until)
}

/// What a group takes: its entry, and its aggregates over no row.
fn of_group(what: &str, calls: &[AggregateCall], changes: Changes) -> String {
    let calls: Vec<Call> = calls.iter().map(|call| Call::new(call, changes)).collect();
    let empty = Accumulators::start(&calls);
    let entry = entry_bytes(&empty);
    let growing = calls.iter().filter(|call| call.may_grow()).count();
    debug_assert!(entry >= size_of::<Accumulators>(), "a group has its aggregates");
    match growing {
        0 => format!("{entry} bytes {what}"),
        _ => {
            format!("{entry} bytes {what}, and what {growing} of {} aggregates gather", calls.len())
        }
    }
}
