//! What hubs write to `_members`.
//!
//! ```text
//! {"change":{"life":{"region":"us","incarnation":{…}},"standing":"excluded",
//!            "ends":[{"region":"us","incarnation":{…},"partition":0,"end":7}],
//!            "by":"ann","reason":"its disk is gone"}}
//! {"report":{"life":{…},"applied":[{…}],"stable":[{…}],
//!            "unstable":[…],
//!            "missing":[{"region":"us","incarnation":{…},"partition":0,"from":3,"until":5}],
//!            "lost":[{…}],
//!            "others":[{"topic":"inventory.escrow","ends":[{…}],"whole":[{…}]}],
//!            "begins":[{…}],"stamps":2}}
//! {"void":{"actor":{"region":"us","incarnation":{…},"partition":0},"offset":7,"id":"a/1"}}
//! ```

use std::collections::BTreeMap;

use headland_event::extent::GAPS_LIMIT;
use headland_event::limits::CLOCK_ENTRIES_LIMIT;
use headland_event::{
    Actor, Gap, Gaps, Incarnation, Offset, PartitionIndex, RegionId, TopicName, VectorClock,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{MemberChange, MemberReport, OtherLogs};
use crate::escrow::Holder;
use crate::name::{ReasonText, Reviewer};
use crate::reconciler::VoidStocktake;

/// One record of `_members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRecord {
    /// A life's part changes.
    Change(SignedChange),
    /// What a life has applied.
    Report(MemberReport),
    /// A stocktake that does not count anywhere, because the writer cannot judge it.
    Void(VoidStocktake),
}

/// A change, and who wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedChange {
    /// The change.
    #[serde(flatten)]
    pub change: MemberChange,
    /// Who wants it: an operator, or `hub/<region>` of what a hub says by itself.
    pub by: Reviewer,
    /// Why.
    pub reason: ReasonText,
}

/// Why bytes are no record of members.
#[derive(Debug, thiserror::Error)]
#[error("not a record of members: {0}")]
pub struct MemberRecordError(#[from] serde_json::Error);

impl MemberRecord {
    /// The record as JSON.
    ///
    /// # Panics
    /// Never: names and numbers always have a JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "names and numbers always have a JSON")]
        serde_json::to_vec(self).expect("names and numbers have a JSON")
    }

    /// Reads a record. O(bytes).
    ///
    /// # Errors
    /// [`MemberRecordError`] when the bytes are none.
    pub fn parse(value: &[u8]) -> Result<Self, MemberRecordError> {
        Ok(serde_json::from_slice(value)?)
    }
}

impl MemberReport {
    /// The report with as much of it as fits a batch. What was applied always does; of gaps that do
    /// not the highest are left out, which are said once the lower ones are filled: until then
    /// nobody hands them on, and what was applied ends before the first of them, so that nobody
    /// takes for seen what is not. Of the life's own logs it ends where it did: by that a receiver
    /// knows which records come before the report. What is stable ends before the first gap of it
    /// that does not fit; where even so it does not, it is left out as a whole, and nothing is
    /// forgotten then. So is, before that, where other logs end: nothing of them is handed on then.
    /// And before that, where its own begin: until it is said once, that is taken for missing.
    #[must_use]
    pub fn bounded(self) -> Self {
        let Self { life, applied, stable, unstable, missing, lost, others, begins, stamps } = self;
        let bare = Self { stamps, ..Self::new(life, applied) };
        let length = |of: &Self| MemberRecord::Report(of.clone()).to_json().len();
        let mut left = REPORT_BYTES_LIMIT.saturating_sub(length(&bare));
        let all = missing;
        let missing = within(&all, &mut left);
        // What comes before a report is told by the ends of its life's own logs.
        let is_own = |actor: &Actor| Holder::of(actor) == bare.life;
        let applied = before_left_out(&bare.applied, (&all, &missing), is_own);
        let lost = within(&lost, &mut left);
        let fits = |of: &Self| length(of) <= REPORT_BYTES_LIMIT;
        let bare = Self { applied, missing, lost, ..bare };
        let with_stable = Self { stable: stable.clone(), ..bare.clone() };
        let mut left = REPORT_BYTES_LIMIT.saturating_sub(length(&with_stable));
        let all = unstable;
        let unstable = within(&all, &mut left);
        let stable = before_left_out(&stable, (&all, &unstable), |_| false);
        let with_stable = Self { stable, unstable, ..bare.clone() };
        let whole = if fits(&with_stable) { with_stable } else { bare };
        let with_others = Self { others, ..whole.clone() };
        let whole = if fits(&with_others) { with_others } else { whole };
        let with_begins = Self { begins, ..whole.clone() };
        if fits(&with_begins) { with_begins } else { whole }
    }
}

/// Bytes of a report: a batch of one record, with room for its key and what stands around it.
const REPORT_BYTES_LIMIT: usize = (1 << 20) - (4 << 10);

/// Bytes around a list of gaps: its name and its brackets.
const AROUND_GAPS: usize = 16;

/// The lowest gaps of each log whose JSON takes no more bytes than are left, which are taken off.
fn within(gaps: &Gaps, left: &mut usize) -> Gaps {
    *left = left.saturating_sub(AROUND_GAPS);
    gaps.lowest(|actor, gap| {
        #[expect(clippy::expect_used, reason = "names and numbers always have a JSON")]
        let length =
            serde_json::to_vec(&Missing::of(actor, gap)).expect("numbers have a JSON").len();
        // One more for the comma.
        let rest = left.checked_sub(length + 1);
        *left = rest.unwrap_or_default();
        rest.is_some()
    })
}

/// Ends before the first gap of each log that is not said, but for some logs.
fn before_left_out(
    ends: &VectorClock,
    (all, said): (&Gaps, &Gaps),
    is_exempt: impl Fn(&Actor) -> bool,
) -> VectorClock {
    let mut before = VectorClock::new();
    for (actor, end) in ends.iter() {
        let said = said.of(actor);
        let left_out = all.of(actor).iter().find(|gap| !said.contains(gap));
        let left_out = left_out.filter(|_| !is_exempt(actor));
        before.advance(actor, left_out.map_or(end, |gap| gap.from.min(end)));
    }
    before
}

/// The version of stamps that every hub reads.
pub(super) const fn first_stamps() -> u8 {
    1
}

/// Whether a report says no more of it than one of an earlier version.
pub(super) const fn are_first_stamps(stamps: &u8) -> bool {
    *stamps <= first_stamps()
}

/// One end of a clock, as JSON has it: JSON's objects have no other keys than texts.
#[derive(Serialize, Deserialize)]
struct End {
    region: RegionId,
    incarnation: Incarnation,
    partition: PartitionIndex,
    end: Offset,
}

/// A clock as a list of its ends.
pub(super) fn write_ends<S: Serializer>(clock: &VectorClock, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(clock.iter().map(|(actor, end)| {
        let Actor { region, incarnation, partition } = actor.clone();
        End { region, incarnation, partition, end }
    }))
}

/// Reads what [`write_ends`] wrote; more ends than a clock may have are refused.
pub(super) fn read_ends<'de, D: Deserializer<'de>>(from: D) -> Result<VectorClock, D::Error> {
    let ends = Vec::<End>::deserialize(from)?;
    if ends.len() > CLOCK_ENTRIES_LIMIT {
        let (found, limit) = (ends.len(), CLOCK_ENTRIES_LIMIT);
        let text = format!("a clock of {found} ends, expected at most {limit}");
        return Err(serde::de::Error::custom(text));
    }
    let mut clock = VectorClock::new();
    for End { region, incarnation, partition, end } in ends {
        clock.advance(&Actor { region, incarnation, partition }, end);
    }
    Ok(clock)
}

/// The logs of one topic.
#[derive(Serialize, Deserialize)]
struct OfTopic {
    topic: TopicName,
    #[serde(serialize_with = "write_ends", deserialize_with = "read_ends")]
    ends: VectorClock,
    /// Up to where those are whole of which something before their end may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    whole: Vec<End>,
}

/// Where logs of several topics end, as a list of these; [`None`] is not written.
pub(super) fn write_logs<S: Serializer>(
    logs: &Option<OtherLogs>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let topics = logs.iter().flat_map(|logs| logs.topics().map(move |of| (logs, of)));
    let of = |(logs, (topic, ends)): (&OtherLogs, (&TopicName, &VectorClock))| {
        let whole = logs.cut().iter().filter(|((of, _), _)| of == topic);
        let whole = whole.map(|((_, actor), end)| {
            let Actor { region, incarnation, partition } = actor.clone();
            End { region, incarnation, partition, end: *end }
        });
        OfTopic { topic: topic.clone(), ends: ends.clone(), whole: whole.collect() }
    };
    to.collect_seq(topics.map(of))
}

/// Reads what [`write_logs`] wrote.
pub(super) fn read_logs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OtherLogs>, D::Error> {
    let mut logs = OtherLogs::new();
    for OfTopic { topic, ends, whole } in Vec::<OfTopic>::deserialize(from)? {
        let whole = whole.into_iter().map(|End { region, incarnation, partition, end }| {
            (Actor { region, incarnation, partition }, end)
        });
        let whole: BTreeMap<Actor, Offset> = whole.collect();
        for (actor, end) in ends.iter() {
            let whole = whole.get(actor).map_or(end, |whole| end.min(*whole));
            logs.raise_known((&topic, actor), end, whole);
        }
    }
    Ok(Some(logs))
}

/// One gap in a log.
#[derive(Serialize, Deserialize)]
struct Missing {
    region: RegionId,
    incarnation: Incarnation,
    partition: PartitionIndex,
    from: Offset,
    until: Offset,
}

impl Missing {
    fn of(actor: &Actor, Gap { from, until }: Gap) -> Self {
        let Actor { region, incarnation, partition } = actor.clone();
        Self { region, incarnation, partition, from, until }
    }
}

/// Gaps as a list.
pub(super) fn write_gaps<S: Serializer>(gaps: &Gaps, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(gaps.iter().map(|(actor, gap)| Missing::of(actor, gap)))
}

/// Reads what [`write_gaps`] wrote; more gaps than a hub keeps are refused.
pub(super) fn read_gaps<'de, D: Deserializer<'de>>(from: D) -> Result<Gaps, D::Error> {
    let list = Vec::<Missing>::deserialize(from)?;
    let (found, mut gaps) = (list.len(), Gaps::new());
    for Missing { region, incarnation, partition, from, until } in list {
        let actor = Actor { region, incarnation, partition };
        let _given_up = gaps.note(&actor, Gap { from, until });
    }
    if gaps.len() != found {
        let kept = gaps.len();
        let text = format!(
            "{found} gaps of which {kept} can be kept, expected at most {GAPS_LIMIT} in order"
        );
        return Err(serde::de::Error::custom(text));
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use headland_event::{Batch, EventTime, Record};

    use super::*;
    use crate::membership::MemberStanding;
    use crate::position::tests::actor;

    fn life() -> Holder {
        let Actor { region, incarnation, .. } = actor("us", 0);
        Holder { region, incarnation }
    }

    #[test]
    fn a_change_has_this_json_and_reads_back() {
        let mut ends = VectorClock::new();
        ends.advance(&actor("us", 0), Offset::new(7));
        let record = MemberRecord::Change(SignedChange {
            change: MemberChange { life: life(), standing: MemberStanding::Excluded, ends },
            by: Reviewer::new("ann").unwrap(),
            reason: ReasonText::new("its disk is gone").unwrap(),
        });

        let json = String::from_utf8(record.to_json()).unwrap();

        let incarnation = r#"{"counter":1,"nonce":9}"#;
        let expected =
            format!(r#"{{"change":{{"life":{{"region":"us","incarnation":{incarnation}}},"#)
                + r#""standing":"excluded","ends":[{"region":"us","#
                + &format!(r#""incarnation":{incarnation},"partition":0,"end":7}}],"#)
                + r#""by":"ann","reason":"its disk is gone"}}"#;
        assert_eq!(json, expected);
        assert_eq!(MemberRecord::parse(json.as_bytes()).unwrap(), record);
    }

    #[test]
    fn a_report_of_as_much_as_is_kept_fits_a_batch_and_says_nothing_that_is_not_so() {
        let log = |at: usize| Actor {
            region: RegionId::new(&format!("{at:0>64}")).unwrap(),
            incarnation: Incarnation::new(u32::MAX, u64::MAX),
            partition: PartitionIndex::new(1_023),
        };
        let far = |less: u64| Offset::new(u64::MAX - less);
        let (mut applied, mut missing) = (VectorClock::new(), Gaps::new());
        for at in 0..CLOCK_ENTRIES_LIMIT {
            applied.advance(&log(at), far(0));
            assert_eq!(missing.note(&log(at), Gap { from: far(2), until: far(1) }), None);
        }
        let (stable, lost) = (applied.clone(), missing.clone());
        let of_log = |at| MemberReport {
            stable: stable.clone(),
            missing: if at == 0 { missing.clone() } else { Gaps::new() },
            lost: if at == 1 { lost.clone() } else { Gaps::new() },
            ..MemberReport::new(life(), applied.clone())
        };
        for at in 0..3 {
            let bounded = of_log(at).bounded();
            let record = MemberRecord::Report(bounded.clone());
            let key = format!("{0}/{0}/applied", life());
            let record = Record::new(EventTime::default(), key, record.to_json());

            let batch = Batch::encode(&[record]);

            assert!(batch.is_ok(), "{batch:?}");
            assert_eq!(bounded.stable.len(), 0);
            let is_cut = |log: &Actor| at == 0 && bounded.missing.of(log).is_empty();
            for (log, end) in applied.iter() {
                // What is left out was seen as far as the first gap that is.
                let end = if is_cut(log) { far(2) } else { end };
                assert_eq!(bounded.applied.end(log), end);
            }
            let said = if at == 1 { &bounded.lost } else { &bounded.missing };
            assert!(said.len() > 100 || at == 2, "{}", said.len());
            assert!(said.iter().all(|(actor, gap)| missing.spans(actor, gap.from, gap.until)));
        }
        let mut others = OtherLogs::new();
        others.merge_topic(&TopicName::new("inventory.escrow").unwrap(), &applied);
        let with_others = MemberReport { others: Some(others.clone()), ..of_log(2) }.bounded();
        assert_eq!((&with_others.applied, with_others.others), (&applied, None));
        let bare = MemberReport { applied: VectorClock::new(), ..of_log(0) };
        let with_others = MemberReport { others: Some(others.clone()), ..bare }.bounded();
        assert_eq!(with_others.others, None, "gaps go first");
        let bare = MemberReport { applied: VectorClock::new(), ..of_log(2) };
        let with_others = MemberReport { others: Some(others), ..bare }.bounded();
        assert_eq!((with_others.stable, with_others.others), (applied.clone(), None));
        let small = MemberReport { applied: VectorClock::new(), ..of_log(2) };
        assert_eq!(small.clone().bounded(), small, "what fits is left as it is");
    }

    #[test]
    fn a_report_that_is_cut_ends_before_what_it_leaves_out_but_in_its_own_logs() {
        let log = |region: &str| actor(region, 0);
        let gap = |from: u64| Gap { from: Offset::new(from), until: Offset::new(from + 1) };
        let (mut applied, mut all, mut said) = (VectorClock::new(), Gaps::new(), Gaps::new());
        for region in ["ap", "eu", "us"] {
            applied.advance(&log(region), Offset::new(9));
            for from in [2, 5] {
                assert_eq!(all.note(&log(region), gap(from)), None);
            }
        }
        assert_eq!(said.note(&log("ap"), gap(2)), None);

        let is_own = |actor: &Actor| Holder::of(actor) == life();
        let before = before_left_out(&applied, (&all, &said), is_own);

        assert_eq!(["ap", "eu", "us"].map(|of| before.end(&log(of)).get()), [5, 2, 9]);
        assert_eq!(before_left_out(&applied, (&all, &all), |_| false), applied);
    }

    #[test]
    fn of_a_log_with_a_gap_more_than_is_kept_the_lowest_are_said_and_it_ends_before_the_last() {
        let (log, mut missing) = (actor("eu", 0), Gaps::new());
        let limit = u64::try_from(headland_event::extent::GAPS_OF_LOG_LIMIT).unwrap();
        for at in 0..limit {
            let gap = Gap { from: Offset::new(10 * at), until: Offset::new(10 * at + 5) };
            assert_eq!(missing.note(&log, gap), None);
        }
        // The middle of one comes, which leaves two.
        assert!(missing.fill(&log, Offset::new(2), Offset::new(3)));
        let mut applied = VectorClock::new();
        applied.advance(&log, Offset::new(10_000));
        let (stable, unstable) = (applied.clone(), missing.clone());
        let bare = MemberReport::new(life(), applied);
        let whole = MemberReport { stable, unstable, missing, ..bare };

        let said = whole.bounded();

        assert_eq!(said.missing.len(), headland_event::extent::GAPS_OF_LOG_LIMIT);
        assert_eq!(said.applied.end(&log).get(), 10 * (limit - 1));
        assert_eq!((&said.stable, &said.unstable), (&said.applied, &said.missing));
        let record = MemberRecord::Report(said);
        assert_eq!(MemberRecord::parse(&record.to_json()).unwrap(), record);
    }

    #[test]
    fn a_report_reads_back_and_what_is_none_is_refused() {
        let mut applied = VectorClock::new();
        applied.advance(&actor("eu", 1), Offset::new(3));
        let mut missing = Gaps::new();
        let stable = applied.clone();
        let whole = MemberReport { stable, ..MemberReport::new(life(), applied) };
        let gap = Gap { from: Offset::new(1), until: Offset::new(2) };
        assert_eq!(missing.note(&actor("eu", 1), gap), None);
        let with_a_gap = MemberReport { missing: missing.clone(), ..whole.clone() };
        let that_lost = MemberReport { lost: missing.clone(), ..whole.clone() };
        let unstable = MemberReport { unstable: missing, ..whole.clone() };
        let mut others = OtherLogs::new();
        others.advance(&TopicName::new("_groups").unwrap(), &actor("eu", 1), Offset::new(3));
        let mut cut = others.clone();
        let log = (&TopicName::new("_groups").unwrap(), &actor("eu", 1));
        cut.raise(log, Offset::new(9), Offset::new(4));
        let with_cut = MemberReport { others: Some(cut), ..whole.clone() };
        let with_others = MemberReport { others: Some(others), ..whole.clone() };
        let with_none = MemberReport { others: Some(OtherLogs::new()), ..whole.clone() };
        let mut begins = VectorClock::new();
        begins.advance(&actor("us", 2), Offset::new(4));
        let with_begins = MemberReport { begins, ..whole.clone() };
        let that_reads_more = MemberReport { stamps: 2, ..whole.clone() };
        let plain = String::from_utf8(MemberRecord::Report(whole.clone()).to_json()).unwrap();
        assert!(!plain.contains("stamps"), "as an earlier version says it");
        let MemberRecord::Report(read) = MemberRecord::parse(plain.as_bytes()).unwrap() else {
            panic!("{plain}")
        };
        assert_eq!(read.stamps, 1);
        assert_eq!(that_reads_more.clone().bounded(), that_reads_more);
        let json = MemberRecord::Report(with_others.clone()).to_json();
        let of = r#""others":[{"topic":"_groups","ends":[{"region":"eu","incarnation""#;
        assert!(String::from_utf8(json).unwrap().contains(of));

        let all = [
            (whole, false),
            (with_a_gap, true),
            (that_lost, true),
            (unstable, true),
            (with_others, false),
            (with_cut, false),
            (with_none, false),
            (with_begins, false),
            (that_reads_more, false),
        ];
        for (report, is_said) in all {
            let record = MemberRecord::Report(report);
            let json = String::from_utf8(record.to_json()).unwrap();
            assert_eq!(json.contains(r#""partition":1,"from":1,"until":2}]"#), is_said, "{json}");
            assert_eq!(MemberRecord::parse(json.as_bytes()).unwrap(), record);
        }
        for bytes in ["", "{}", r#"{"report":{}}"#, r#"{"change":{"standing":"gone"}}"#] {
            assert!(MemberRecord::parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }
}
