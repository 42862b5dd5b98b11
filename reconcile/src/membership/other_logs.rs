//! What hubs hold of logs beside inventory, and which of it is handed on.
//!
//! Inventory says in its own clock how far a hub has applied it. Other logs that hubs have to hold
//! alike, such as rights to sell, have no clock: a hub says where each of them ends for it. What
//! counts of an excluded life's inventory ends somewhere, its other logs do not: all that somebody
//! has of them goes to everybody.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::limits::CLOCK_ENTRIES_LIMIT;
use headland_event::{Actor, Offset, RegionId, TopicName, VectorClock};
use serde::{Deserialize, Serialize};

use super::Membership;
use crate::escrow::Holder;

/// For each topic, by its name where it is born, the end of what is there of each log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OtherLogs {
    by_topic: BTreeMap<TopicName, VectorClock>,
    /// Up to where those logs are whole of which something before the end may be missing, since
    /// compaction left it out where it came from; snapshots keep it apart.
    #[serde(skip)]
    whole: BTreeMap<(TopicName, Actor), Offset>,
}

impl OtherLogs {
    /// Nothing of any log.
    #[must_use]
    pub const fn new() -> Self {
        Self { by_topic: BTreeMap::new(), whole: BTreeMap::new() }
    }

    /// Raises the end of a log that is whole up to there; a lower one changes nothing.
    pub fn advance(&mut self, topic: &TopicName, actor: &Actor, end: Offset) {
        self.raise((topic, actor), end, end);
    }

    /// Raises the end of a log, and up to where it is whole, which is not behind that; lower ones
    /// change nothing.
    pub fn raise(&mut self, (topic, actor): (&TopicName, &Actor), end: Offset, whole: Offset) {
        let whole = self.whole(topic, actor).max(whole);
        let ends = self.by_topic.entry(topic.clone()).or_default();
        ends.advance(actor, end);
        let log = (topic.clone(), actor.clone());
        if whole < ends.end(actor) {
            self.whole.insert(log, whole);
        } else {
            self.whole.remove(&log);
        }
    }

    /// Raises the ends of a topic's logs to those of a clock. Of as many logs as a clock may have
    /// something is known; more are left out.
    pub fn merge_topic(&mut self, topic: &TopicName, ends: &VectorClock) {
        ends.iter().for_each(|(actor, end)| self.raise_known((topic, actor), end, end));
    }

    pub(super) fn raise_known(
        &mut self,
        (topic, actor): (&TopicName, &Actor),
        end: Offset,
        whole: Offset,
    ) {
        let known = self.by_topic.get(topic);
        let has_room = |known: &VectorClock| {
            known.len() < CLOCK_ENTRIES_LIMIT || known.end(actor) > Offset::new(0)
        };
        if known.is_none_or(has_room) {
            self.raise((topic, actor), end, whole);
        }
    }

    /// What is said of some logs only.
    #[must_use]
    pub fn of(&self, is_meant: impl Fn(&TopicName, &Actor) -> bool) -> Self {
        let mut meant = Self::new();
        for (topic, actor, end) in self.iter().filter(|(topic, actor, _)| is_meant(topic, actor)) {
            meant.raise((topic, actor), end, self.whole(topic, actor));
        }
        meant
    }

    /// Raises every end to that of the other, and up to where its log is whole likewise.
    pub fn merge(&mut self, other: &Self) {
        for (topic, actor, end) in other.iter() {
            self.raise_known((topic, actor), end, other.whole(topic, actor));
        }
    }

    /// Up to where nothing of a log is missing, not behind its end.
    #[must_use]
    pub fn whole(&self, topic: &TopicName, actor: &Actor) -> Offset {
        // Hardly any log is cut.
        let has_some = !self.whole.is_empty();
        let whole = has_some.then(|| self.whole.get(&(topic.clone(), actor.clone()))).flatten();
        whole.copied().unwrap_or_else(|| self.end(topic, actor))
    }

    /// Logs of which something before the end may be missing, with up to where they are whole.
    #[must_use]
    pub const fn cut(&self) -> &BTreeMap<(TopicName, Actor), Offset> {
        &self.whole
    }

    /// Takes up what [`Self::cut`] said of logs of which the ends are known.
    pub fn restore_cut(&mut self, cut: BTreeMap<(TopicName, Actor), Offset>) {
        self.whole = cut;
    }

    /// Whether a log goes on behind what another one has of it, or has what that lacks.
    fn has_more(&self, than: &Self, topic: &TopicName, actor: &Actor) -> bool {
        than.end(topic, actor) < self.end(topic, actor)
            || than.whole(topic, actor) < self.whole(topic, actor)
    }

    /// The end of what is there of a log; 0 of an unknown one.
    #[must_use]
    pub fn end(&self, topic: &TopicName, actor: &Actor) -> Offset {
        self.by_topic.get(topic).map_or(Offset::new(0), |ends| ends.end(actor))
    }

    /// Topics with the ends of their logs, ordered by name.
    pub fn topics(&self) -> impl Iterator<Item = (&TopicName, &VectorClock)> {
        self.by_topic.iter()
    }

    /// Every log with its end, ordered by topic and log.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &Actor, Offset)> {
        let topics = self.by_topic.iter();
        topics.flat_map(|(topic, ends)| ends.iter().map(move |(actor, end)| (topic, actor, end)))
    }
}

impl Membership {
    /// Of logs of lives that write no more, those of which `here` has what a life has not said that
    /// it has, by region and topic. Nothing of one that has said nothing of such logs: a hub of
    /// before does not. O(logs × log lives).
    #[must_use]
    pub fn lacking_others(
        &self,
        life: &Holder,
        here: &OtherLogs,
        is_over: impl Fn(&Holder) -> bool,
    ) -> BTreeSet<(RegionId, TopicName)> {
        let said = self.members.get(life).and_then(|member| member.others.as_ref());
        let Some(said) = said else { return BTreeSet::new() };
        let lacking = here.iter().filter(|(topic, actor, _)| {
            here.has_more(said, topic, actor) && self.writes_no_more(&Holder::of(actor), &is_over)
        });
        lacking.map(|(topic, actor, _)| (actor.region.clone(), topic.clone())).collect()
    }

    /// Logs of lives that write no more, of which somebody who can send them has said that it has
    /// more than is here, each with the end that was said. What only lives said that are over
    /// nobody sends, and nobody waits for, nor what an excluded one said that is not linked.
    /// O(lives × logs × log lives).
    #[must_use]
    pub fn lacked_others(
        &self,
        here: &OtherLogs,
        is_over: impl Fn(&Holder) -> bool,
        is_linked: impl Fn(&Holder) -> bool,
    ) -> OtherLogs {
        let mut lacked = OtherLogs::new();
        let sends = self
            .members
            .iter()
            .filter(|(life, member)| !is_over(life) && member.may_send(life, &is_linked));
        for said in sends.filter_map(|(_, member)| member.others.as_ref()) {
            let more = said.iter().filter(|(topic, actor, _)| {
                said.has_more(here, topic, actor)
                    && self.writes_no_more(&Holder::of(actor), &is_over)
            });
            more.for_each(|(topic, actor, end)| lacked.advance(topic, actor, end));
        }
        lacked
    }

    /// Whether a life says how far it has such logs; one of before does not.
    #[must_use]
    pub fn says_of_others(&self, life: &Holder) -> bool {
        self.members.get(life).is_some_and(|member| member.others.is_some())
    }

    /// Lives that can send and have said that they have a log whole up to behind an offset: one
    /// that lacks what lies there itself cannot bring it. O(lives × log logs).
    #[must_use]
    pub fn holders(
        &self,
        (topic, actor): (&TopicName, &Actor),
        behind: Offset,
        is_over: impl Fn(&Holder) -> bool,
        is_linked: impl Fn(&Holder) -> bool,
    ) -> Vec<&Holder> {
        let sends = self
            .members
            .iter()
            .filter(|(life, member)| !is_over(life) && member.may_send(life, &is_linked));
        let said = sends.filter_map(|(life, member)| Some((life, member.others.as_ref()?)));
        said.filter(|(_, said)| said.whole(topic, actor) > behind).map(|(life, _)| life).collect()
    }

    /// Where a log ends for a life, by its own word; `None` when it says nothing of such logs.
    #[must_use]
    pub fn end_of_other(
        &self,
        life: &Holder,
        (topic, actor): (&TopicName, &Actor),
    ) -> Option<Offset> {
        let said = self.members.get(life)?.others.as_ref()?;
        Some(said.end(topic, actor))
    }

    /// Up to where nothing of a log is missing to a life, by its own word; `None` when it says
    /// nothing of such logs.
    #[must_use]
    pub fn whole_of_other(
        &self,
        life: &Holder,
        (topic, actor): (&TopicName, &Actor),
    ) -> Option<Offset> {
        let said = self.members.get(life)?.others.as_ref()?;
        Some(said.whole(topic, actor))
    }

    fn writes_no_more(&self, life: &Holder, is_over: impl Fn(&Holder) -> bool) -> bool {
        self.members.get(life).is_some_and(super::Member::has_ended) || is_over(life)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemberChange, MemberReport, MemberStanding};
    use super::*;
    use crate::position::tests::actor;

    fn life(region: &str) -> Holder {
        Holder::of(&actor(region, 0))
    }

    fn rights() -> TopicName {
        TopicName::new("inventory.escrow").unwrap()
    }

    /// So much of the rights of each region.
    fn logs(ends: &[(&str, u64)]) -> OtherLogs {
        let mut logs = OtherLogs::new();
        for (region, end) in ends {
            logs.advance(&rights(), &actor(region, 0), Offset::new(*end));
        }
        logs
    }

    fn said(membership: &mut Membership, region: &str, others: Option<OtherLogs>) {
        let bare = MemberReport::new(life(region), VectorClock::new());
        let report = MemberReport { others, ..bare };
        membership.on_report(report, &VectorClock::new());
    }

    #[test]
    fn what_a_life_has_not_said_that_it_has_of_one_that_is_over_is_lacking_to_it() {
        let mut membership = Membership::new();
        let here = logs(&[("eu", 9), ("us", 7)]);
        let of_us = BTreeSet::from([(life("us").region, rights())]);
        let is_over = |life: &Holder| life.region.as_str() == "us";
        let lacks = |of: &Membership, is_over: &dyn Fn(&Holder) -> bool| {
            of.lacking_others(&life("ap"), &here, is_over)
        };
        said(&mut membership, "ap", None);
        assert_eq!(lacks(&membership, &is_over), BTreeSet::new(), "it says nothing of such logs");

        said(&mut membership, "ap", Some(logs(&[("us", 6)])));

        assert_eq!(lacks(&membership, &|_| false), BTreeSet::new(), "its own hub sends it");
        assert_eq!(lacks(&membership, &is_over), of_us);
        said(&mut membership, "ap", Some(logs(&[("us", 7)])));
        said(&mut membership, "ap", Some(logs(&[("us", 2)])));
        assert_eq!(lacks(&membership, &is_over), BTreeSet::new(), "a late word takes nothing back");
    }

    #[test]
    fn what_lies_in_a_part_that_compaction_left_out_is_lacking_until_it_is_whole() {
        let mut membership = Membership::new();
        let is_over = |life: &Holder| life.region.as_str() == "us";
        let of_us = BTreeSet::from([(life("us").region, rights())]);
        let log = (rights(), actor("us", 0));
        let part = |end, whole| {
            let mut logs = OtherLogs::new();
            logs.raise((&log.0, &log.1), Offset::new(end), Offset::new(whole));
            logs
        };
        said(&mut membership, "ap", Some(part(6, 2)));
        let lacks =
            |of: &Membership, here: &OtherLogs| of.lacking_others(&life("ap"), here, is_over);

        let found = [part(6, 6), part(6, 2), part(4, 4), part(3, 1), part(7, 1)]
            .map(|here| !lacks(&membership, &here).is_empty());
        let kept = Membership::from_bytes(&membership.to_bytes()).unwrap();
        let missing = [part(6, 1), part(7, 2), part(6, 2)]
            .map(|here| kept.lacked_others(&here, is_over, |_| false).iter().count());

        assert_eq!(found, [true, false, true, false, true]);
        assert_eq!((missing, kept), ([1, 0, 0], membership.clone()));
        said(&mut membership, "ap", Some(part(6, 6)));
        said(&mut membership, "ap", Some(part(6, 3)));
        assert_eq!(lacks(&membership, &part(6, 6)), BTreeSet::new(), "late words change nothing");
        assert_eq!(lacks(&membership, &part(7, 7)), of_us);
    }

    #[test]
    fn of_as_many_logs_as_a_clock_may_have_ends_are_kept_and_these_are_raised() {
        let log = |at: u32| {
            let partition = headland_event::PartitionIndex::new(at);
            Actor { partition, ..actor("us", 0) }
        };
        let mut many = VectorClock::new();
        let limit = u32::try_from(CLOCK_ENTRIES_LIMIT).unwrap();
        (0..=limit).for_each(|at| many.advance(&log(at), Offset::new(3)));
        let mut kept = OtherLogs::new();

        kept.merge_topic(&rights(), &many);
        let (last, beyond) =
            (kept.end(&rights(), &log(limit - 1)), kept.end(&rights(), &log(limit)));
        many.advance(&log(0), Offset::new(5));
        kept.merge_topic(&rights(), &many);

        assert_eq!((last.get(), beyond.get()), (3, 0));
        assert_eq!(kept.end(&rights(), &log(0)).get(), 5);
        assert_eq!(kept.of(|_, actor| *actor == log(0)).iter().count(), 1);
    }

    #[test]
    fn of_what_only_lives_have_said_that_are_over_or_excluded_nobody_waits() {
        let mut membership = Membership::new();
        let is_over = |life: &Holder| life.region.as_str() == "us";
        said(&mut membership, "us", Some(logs(&[("us", 9)])));
        let of_itself = membership.lacked_others(&OtherLogs::new(), is_over, |_| false);

        said(&mut membership, "ap", Some(logs(&[("eu", 3), ("us", 7)])));
        let of_ap = membership.lacked_others(&logs(&[("us", 6)]), is_over, |_| false);
        let (life, standing) = (life("ap"), MemberStanding::Excluded);
        membership.on_change(&MemberChange { life, standing, ends: VectorClock::new() });

        assert_eq!(of_itself, OtherLogs::new());
        assert_eq!(of_ap, logs(&[("us", 7)]));
        let of_linked = membership.lacked_others(&OtherLogs::new(), is_over, |_| true);
        assert_eq!(of_linked, logs(&[("us", 7)]), "an excluded hub that is linked may still send");
        assert_eq!(
            membership.lacked_others(&OtherLogs::new(), is_over, |_| false),
            OtherLogs::new()
        );
        assert_eq!(Membership::from_bytes(&membership.to_bytes()).unwrap(), membership);
    }

    fn any_logs() -> impl proptest::strategy::Strategy<Value = OtherLogs> {
        use proptest::prelude::*;
        let one = (0..2_usize, 0..3_usize, 1..9_u64, 0..9_u64);
        proptest::collection::vec(one, 0..6).prop_map(|said| {
            let mut logs = OtherLogs::new();
            for (topic, region, end, whole) in said {
                let topic = TopicName::new(["inventory.escrow", "_groups"][topic]).unwrap();
                let log = actor(["ap", "eu", "us"][region], 0);
                logs.raise((&topic, &log), Offset::new(end), Offset::new(whole.min(end)));
            }
            logs
        })
    }

    proptest::proptest! {
        /// Reports come in any order, again, and over several ways.
        #[test]
        fn merging_is_commutative_associative_and_idempotent(
            a in any_logs(), b in any_logs(), c in any_logs(),
        ) {
            let merged = |left: &OtherLogs, right: &OtherLogs| {
                let mut left = left.clone();
                left.merge(right);
                left
            };

            proptest::prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            let (ab, bc) = (merged(&a, &b), merged(&b, &c));
            proptest::prop_assert_eq!(merged(&ab, &c), merged(&a, &bc));
            proptest::prop_assert_eq!(merged(&a, &a), a);
        }
    }
}
