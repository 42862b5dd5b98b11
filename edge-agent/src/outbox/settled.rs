//! Which hub has acknowledged which records.
//!
//! Of each partition a list of spans that do not overlap. A hub says where it stands, and has
//! everything before that on disk: as records, or as holes where another hub has the records. So
//! what it has itself is what lies before its position, in no other hub's span, and was never sent
//! to it as a hole. What may be sent as holes is kept before any is, because it cannot be told
//! afterwards: a hub that stands further back than it did has lost what it had beyond, which is
//! then nobody's again, also where others have holes for it, and is sent anew.
//!
//! What was sent to a hub and not acknowledged by it is nobody's: the next hub gets it, whether or
//! not the first one has it on disk. Readers of both logs count a dot once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Offset, TopicPartition};
use headland_replication::Identity;

/// Most spans of a partition, and most holes. An agent that goes to and fro adds one each time;
/// beyond it the two oldest neighbours become one of several hubs, which none is sent again.
const SPANS_LIMIT: usize = 64;

/// Longest name of a hub: `region/` and `/hub/` between two names of at most 64 bytes.
const HUB_BYTES_LIMIT: usize = 256;

/// Who has a span of which one half is one hub's and the other half another's.
const SEVERAL: &str = "";

/// Records that one hub has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    from: Offset,
    to: Offset,
    hub: String,
}

/// What hubs have of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Known {
    /// Records, by rising offset; no two overlap.
    spans: Vec<Span>,
    /// What hubs may have got as holes because another one had the records.
    holes: Vec<Span>,
}

/// Which hub has acknowledged which records of each partition.
#[derive(Debug, Default)]
pub struct Settled {
    partitions: BTreeMap<TopicPartition, Known>,
    changed: BTreeSet<TopicPartition>,
    /// Whether something is not kept yet without which no hole may be sent.
    is_due: bool,
}

/// Who has a stretch of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Whether another hub has them than the one that asks.
    pub is_elsewhere: bool,
    /// Where it ends; `None` when nothing is known behind it.
    pub end: Option<Offset>,
}

impl Settled {
    /// A hub that was just connected stands at an offset of a partition: what others have of the
    /// records from there on may be sent to it as holes. Cost: O(spans + holes).
    pub fn on_stands(&mut self, partition: &TopicPartition, hub: &Identity, at: Offset) {
        let hub = hub.to_string();
        let known = self.partitions.entry(partition.clone()).or_default();
        let before = known.holes.clone();
        for hole in known.holes.iter_mut().filter(|hole| hole.hub == hub) {
            hole.to = hole.to.min(at);
        }
        known.holes.retain(|hole| hole.from < hole.to);
        let others = known.spans.iter().filter(|span| span.hub != hub && span.to > at);
        let fresh =
            others.map(|span| Span { from: span.from.max(at), to: span.to, hub: hub.clone() });
        known.holes.extend(fresh);
        known
            .holes
            .sort_unstable_by(|one, other| (&one.hub, one.from).cmp(&(&other.hub, other.from)));
        limit_holes(&mut known.holes);
        if known.holes != before {
            self.changed.insert(partition.clone());
            self.is_due = true;
        }
    }

    /// A hub has everything of a partition before `next`, and the log begins at `start`; returns up
    /// to where all records are with some hub, or gone. Cost: O(spans + holes).
    pub fn on_acked(
        &mut self,
        partition: &TopicPartition,
        hub: &Identity,
        (start, next): (Offset, Offset),
    ) -> Offset {
        let hub = hub.to_string();
        let Known { spans, holes } = self.partitions.entry(partition.clone()).or_default();
        let before = spans.clone();
        for span in spans.iter_mut().filter(|span| span.hub == hub && span.to > next) {
            // Forgotten by a crash, others would be sent holes for what it lost.
            self.is_due = true;
            span.to = next;
        }
        spans.retain(|span| span.hub != hub || span.from < span.to);
        // What is gone from the log is sent to nobody.
        holes.retain(|hole| hole.to > start);
        let is_of_others = |span: &&Span| span.hub != hub;
        let is_its_hole = |hole: &&Span| hole.hub == hub || hole.hub == SEVERAL;
        let mut others: Vec<Span> = spans.iter().filter(is_of_others).cloned().collect();
        others.extend(holes.iter().filter(is_its_hole).cloned());
        others.sort_unstable_by_key(|other| other.from);
        spans.retain(|span| span.hub != hub);
        let mut at = Offset::new(0);
        for other in &others {
            let to = other.from.min(next);
            if at < to {
                spans.push(Span { from: at, to, hub: hub.clone() });
            }
            at = at.max(other.to);
        }
        if at < next {
            spans.push(Span { from: at, to: next, hub });
        }
        spans.sort_unstable_by_key(|span| span.from);
        limit(spans);
        if *spans != before {
            self.changed.insert(partition.clone());
        }
        debug_assert!(spans.iter().zip(spans.iter().skip(1)).all(|(a, b)| a.to <= b.from));
        contiguous(spans, start)
    }

    /// Whether something is not kept yet without which no hole may be sent.
    #[must_use]
    pub const fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether [`Self::take_changed`] has something to keep.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes over what a hub was known to have acknowledged before spans were kept.
    pub fn adopt(&mut self, partition: &TopicPartition, hub: &str, acked: Offset) {
        let Known { spans, .. } = self.partitions.entry(partition.clone()).or_default();
        if spans.is_empty() && acked > Offset::new(0) {
            spans.push(Span { from: Offset::new(0), to: acked, hub: hub.to_owned() });
            self.changed.insert(partition.clone());
        }
    }

    /// Who has the records of a partition from an offset on, as `hub` is told.
    #[must_use]
    pub fn stretch(&self, partition: &TopicPartition, hub: &Identity, at: Offset) -> Stretch {
        let hub = hub.to_string();
        let spans = self.partitions.get(partition).map_or(&[][..], |known| &known.spans);
        let mut others = spans.iter().filter(|span| span.hub != hub && span.to > at);
        match others.next() {
            Some(span) if span.from <= at => Stretch { is_elsewhere: true, end: Some(span.to) },
            Some(span) => Stretch { is_elsewhere: false, end: Some(span.from) },
            None => Stretch { is_elsewhere: false, end: None },
        }
    }

    /// What has changed since this was last asked, as bytes:
    /// `spans u32, for each { from u64 │ to u64 │ hub text }`, and the same of holes.
    pub fn take_changed(&mut self) -> Vec<(TopicPartition, Bytes)> {
        self.is_due = false;
        let changed = std::mem::take(&mut self.changed).into_iter();
        let encoded = changed.filter_map(|partition| {
            let Known { spans, holes } = self.partitions.get(&partition)?;
            let mut writer = Writer::new();
            for list in [spans, holes] {
                writer.length(list.len());
                for Span { from, to, hub } in list {
                    writer.u64(from.get());
                    writer.u64(to.get());
                    writer.bytes(hub.as_bytes());
                }
            }
            Some((partition, writer.finish()))
        });
        encoded.collect()
    }

    /// Takes up what an earlier run has kept of a partition.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not of the layout; nothing changes.
    pub fn restore(&mut self, partition: TopicPartition, bytes: Bytes) -> Result<(), CodecError> {
        let mut reader = Reader::new(bytes);
        let mut known = Known::default();
        for list in [&mut known.spans, &mut known.holes] {
            for _ in 0..reader.length("spans", SPANS_LIMIT)? {
                let from = Offset::new(reader.u64("from")?);
                let to = Offset::new(reader.u64("to")?);
                list.push(Span { from, to, hub: reader.text("hub", HUB_BYTES_LIMIT)? });
            }
        }
        reader.end()?;
        self.partitions.insert(partition, known);
        Ok(())
    }
}

/// Makes one of neighbours of one hub, and beyond the limit of the oldest neighbours of two. What
/// lies between spans is nobody's and stays so: where no two are neighbours the oldest is
/// forgotten, and sent again.
fn limit(spans: &mut Vec<Span>) {
    join(spans);
    while spans.len() > SPANS_LIMIT {
        let mut pairs = spans.iter().zip(spans.iter().skip(1));
        let Some(at) = pairs.position(|(span, next)| span.to == next.from) else {
            spans.remove(0);
            continue;
        };
        let first = spans.remove(at);
        if let Some(next) = spans.get_mut(at) {
            *next = Span { from: first.from, to: next.to, hub: SEVERAL.to_owned() };
        }
        join(spans);
    }
}

/// The same of holes, which lie hub by hub. What lies between those of one hub is taken for one
/// too: it is then counted on less, never more.
fn limit_holes(holes: &mut Vec<Span>) {
    join(holes);
    while holes.len() > SPANS_LIMIT {
        let mut pairs = holes.iter().zip(holes.iter().skip(1));
        let at = pairs.position(|(hole, next)| hole.hub == next.hub);
        let first = holes.remove(at.unwrap_or(0));
        if let Some(next) = holes.get_mut(at.unwrap_or(0)) {
            let hub = if at.is_some() { first.hub } else { SEVERAL.to_owned() };
            *next = Span { from: first.from.min(next.from), to: first.to.max(next.to), hub };
        }
    }
}

/// Makes one of neighbours of one hub.
fn join(spans: &mut Vec<Span>) {
    spans.dedup_by(|next, span| {
        let is_one = span.hub == next.hub && span.to >= next.from;
        span.to = if is_one { span.to.max(next.to) } else { span.to };
        is_one
    });
}

/// Up to where spans follow each other from the beginning of the log.
fn contiguous(spans: &[Span], start: Offset) -> Offset {
    let mut at = start;
    for span in spans {
        if span.from > at {
            break;
        }
        at = at.max(span.to);
    }
    at
}

#[cfg(test)]
mod tests {
    use headland_event::{HubName, PartitionIndex, RegionId, TopicName};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn air() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
    }

    fn hub(region: &str) -> Identity {
        let region = RegionId::new(region).unwrap();
        Identity::Hub { region, name: HubName::new("hub-1").unwrap() }
    }

    /// What is acknowledged, one after the other, and up to where all is settled each time; the
    /// first time in a row is where a hub stands that was just connected.
    fn acked(settled: &mut Settled, steps: &[(&str, u64)]) -> Vec<u64> {
        let mut connected = "";
        let all = steps.iter().map(|(at, next)| {
            let next = Offset::new(*next);
            if *at != connected {
                settled.on_stands(&air(), &hub(at), next);
            }
            connected = at;
            settled.on_acked(&air(), &hub(at), (Offset::new(0), next)).get()
        });
        all.collect()
    }

    /// Stretches from offset 0 on, as a hub is told: where each ends, and whether it is elsewhere.
    fn stretches(settled: &Settled, of: &str) -> Vec<(bool, Option<u64>)> {
        let (mut at, mut found) = (Offset::new(0), Vec::new());
        loop {
            let Stretch { is_elsewhere, end } = settled.stretch(&air(), &hub(of), at);
            found.push((is_elsewhere, end.map(Offset::get)));
            match end {
                Some(end) => at = end,
                None => return found,
            }
        }
    }

    #[test]
    fn what_one_hub_acknowledged_is_elsewhere_for_another_and_not_for_itself() {
        let mut settled = Settled::default();

        let steps = [("eu", 0), ("eu", 5), ("us", 0), ("us", 5), ("us", 9)];
        assert_eq!(acked(&mut settled, &steps), [0, 5, 5, 5, 9]);

        assert_eq!(stretches(&settled, "us"), [(true, Some(5)), (false, None)]);
        assert_eq!(stretches(&settled, "eu"), [(false, Some(5)), (true, Some(9)), (false, None)]);
        assert_eq!(stretches(&settled, "ap"), [(true, Some(5)), (true, Some(9)), (false, None)]);
    }

    #[test]
    fn a_hub_that_stands_further_back_than_it_did_is_sent_what_it_lost_and_no_others_records() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 0), ("eu", 5), ("us", 0), ("us", 9), ("eu", 5), ("eu", 12)]);

        assert_eq!(acked(&mut settled, &[("eu", 2)]), [2]);
        assert_eq!(stretches(&settled, "eu"), [(false, Some(5)), (true, Some(9)), (false, None)]);
        assert_eq!(acked(&mut settled, &[("eu", 5), ("eu", 9)]), [9, 9]);
    }

    #[test]
    fn a_hub_that_turns_out_to_have_more_than_it_acknowledged_has_what_nobody_else_does() {
        let mut settled = Settled::default();

        // It had stored up to 11 when its acknowledgements were lost; the other one has 5 to 9.
        let steps = [("eu", 0), ("eu", 5), ("us", 0), ("us", 9), ("eu", 11)];
        assert_eq!(acked(&mut settled, &steps), [0, 5, 5, 9, 11]);

        assert_eq!(
            stretches(&settled, "us"),
            [(true, Some(5)), (false, Some(9)), (true, Some(11)), (false, None)]
        );
    }

    #[test]
    fn what_a_hub_got_as_a_hole_it_never_has_although_nobody_else_has_it_any_more() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 0), ("eu", 5), ("us", 0), ("us", 9)]);

        // The disk of the first one is lost, and it is gone again before it was sent anything.
        let lost = acked(&mut settled, &[("eu", 0), ("us", 9), ("us", 12)]);
        let told = stretches(&settled, "eu");
        let again = acked(&mut settled, &[("eu", 0), ("eu", 5), ("eu", 9), ("eu", 12)]);

        assert_eq!(lost, [0, 0, 0], "nothing may be taken away");
        assert_eq!(told, [(false, Some(5)), (true, Some(12)), (false, None)]);
        assert_eq!(again, [0, 12, 12, 12]);
    }

    #[test]
    fn what_nobody_has_and_is_gone_from_the_log_holds_nothing_back() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 0), ("eu", 5), ("us", 0), ("us", 9), ("eu", 0), ("us", 9)]);

        let all = settled.on_acked(&air(), &hub("us"), (Offset::new(5), Offset::new(12)));

        assert_eq!(all, Offset::new(12));
    }

    #[test]
    fn a_crash_forgets_nothing_of_what_a_hub_lost() {
        let mut world = World::default();
        let steps = [Step::Write(5), Step::Visit(1, 5, true), Step::Visit(2, 0, true)];
        let lost = [Step::Lose(1, 0), Step::Visit(1, 2, false), Step::Crash];
        let then = [Step::Write(4), Step::Visit(2, 9, true), Step::Visit(1, 9, true)];

        steps.iter().chain(&lost).chain(&then).for_each(|step| world.step(step));

        assert_eq!((world.all, world.hubs[1].len()), (9, 9));
    }

    #[test]
    fn what_nobody_has_is_nobodys_however_often_the_agent_goes_to_and_fro_after_that() {
        let mut settled = Settled::default();
        let steps = [("eu", 0), ("eu", 5), ("us", 0), ("us", 9), ("ap", 0), ("ap", 10), ("eu", 2)];
        acked(&mut settled, &steps);

        for next in 11..=300 {
            let at = if next % 2 == 0 { "ap" } else { "us" };
            assert_eq!(acked(&mut settled, &[(at, next - 1), (at, next)]), [2, 2]);
        }
    }

    #[test]
    fn a_hub_that_lost_its_holes_is_sent_what_nobody_has() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 0), ("eu", 5), ("us", 0), ("us", 9), ("eu", 0)]);

        assert_eq!(acked(&mut settled, &[("us", 0), ("us", 5), ("us", 9)]), [0, 5, 9]);
    }

    #[test]
    fn decode_of_encode_is_the_same_and_nothing_is_written_twice() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 0), ("eu", 5), ("us", 0), ("us", 9)]);

        let mut again = Settled::default();
        for (partition, bytes) in settled.take_changed() {
            again.restore(partition, bytes).unwrap();
        }
        acked(&mut settled, &[("us", 9)]);

        assert_eq!(again.partitions, settled.partitions);
        assert_eq!(settled.take_changed(), []);
    }

    #[test]
    fn however_often_an_agent_goes_to_and_fro_its_spans_are_bounded() {
        let mut settled = Settled::default();

        for next in 1..=500 {
            let at = if next % 2 == 0 { "eu" } else { "us" };
            assert_eq!(acked(&mut settled, &[(at, next)]), [next]);
        }

        assert_eq!(settled.partitions[&air()].spans.len(), SPANS_LIMIT);
        assert_eq!(settled.stretch(&air(), &hub("eu"), Offset::new(0)).end, Some(Offset::new(437)));
    }

    #[test]
    fn what_was_acknowledged_before_spans_were_kept_is_the_hubs_of_then() {
        let mut settled = Settled::default();
        settled.adopt(&air(), &hub("eu").to_string(), Offset::new(4));
        settled.adopt(&air(), &hub("us").to_string(), Offset::new(7));

        assert_eq!(stretches(&settled, "us"), [(true, Some(4)), (false, None)]);
    }

    /// What happens to an agent and three hubs.
    #[derive(Debug, Clone)]
    enum Step {
        Write(u64),
        /// A hub takes so many records, and says so or not.
        Visit(usize, u64, bool),
        /// A hub goes on from its first records.
        Lose(usize, usize),
        /// The agent loses its power.
        Crash,
        /// What is settled goes from the agent's log.
        Clean,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..6_u64).prop_map(Step::Write),
            6 => (0..3_usize, 0..8_u64, any::<bool>()).prop_map(|(h, n, is)| Step::Visit(h, n, is)),
            1 => (0..3_usize, 0..12_usize).prop_map(|(hub, kept)| Step::Lose(hub, kept)),
            1 => Just(Step::Crash),
            1 => Just(Step::Clean),
        ];
        vec(step, 1..60)
    }

    fn index(offset: u64) -> usize {
        usize::try_from(offset).unwrap()
    }

    /// Hubs by what stands at each offset of their logs: a record, or a hole.
    #[derive(Default)]
    struct World {
        settled: Settled,
        kept: Vec<(TopicPartition, Bytes)>,
        hubs: [Vec<bool>; 3],
        /// What the agent cannot know yet to be lost.
        before: [Vec<bool>; 3],
        start: u64,
        end: u64,
        all: u64,
    }

    impl World {
        fn step(&mut self, step: &Step) {
            match step {
                Step::Write(count) => self.end += count,
                Step::Visit(at, count, is_acked) => self.visit(*at, *count, *is_acked),
                Step::Lose(at, kept) => {
                    if self.before[*at].is_empty() {
                        self.before[*at].clone_from(&self.hubs[*at]);
                    }
                    self.hubs[*at].truncate(*kept);
                }
                Step::Crash => {
                    self.settled = Settled::default();
                    for (partition, bytes) in self.kept.clone() {
                        self.settled.restore(partition, bytes).unwrap();
                    }
                }
                Step::Clean => self.start = self.start.max(self.all),
            }
        }

        fn visit(&mut self, at: usize, count: u64, is_acked: bool) {
            let name = hub(["ap", "eu", "us"][at]);
            self.before[at].clear();
            let position = Offset::new(self.hubs[at].len() as u64);
            self.settled.on_stands(&air(), &name, position);
            self.acked(&name, position);
            // What may be holes is durable before any is sent.
            if self.settled.is_due() {
                self.kept = self.settled.take_changed();
            }
            for offset in position.get()..self.end.min(position.get() + count) {
                let is_elsewhere =
                    self.settled.stretch(&air(), &name, Offset::new(offset)).is_elsewhere;
                self.hubs[at].push(!is_elsewhere && offset >= self.start);
            }
            if is_acked {
                self.acked(&name, Offset::new(self.hubs[at].len() as u64));
            }
        }

        fn acked(&mut self, name: &Identity, next: Offset) {
            let all = self.settled.on_acked(&air(), name, (Offset::new(self.start), next)).get();
            for offset in self.all..all {
                let has = |log: &Vec<bool>| log.get(index(offset)) == Some(&true);
                let is_there = self.hubs.iter().chain(&self.before).any(has);
                assert!(is_there, "{offset} would go, and no hub has it");
            }
            self.all = self.all.max(all);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_settled_that_no_hub_has_whatever_hubs_and_agent_lose(steps in steps()) {
            let mut world = World::default();
            steps.iter().for_each(|step| world.step(step));

            // All hubs are there again, and what one lost another one may still be sent.
            for at in [0, 1, 2, 0, 1, 2] {
                world.visit(at, u64::MAX / 2, true);
            }
            let is_empty = world.hubs.iter().all(Vec::is_empty);
            prop_assert!(world.end == 0 || !is_empty);
        }

        #[test]
        fn nor_when_there_are_more_spans_than_are_kept(
            moves in vec((0..3_usize, 1..3_u64, 0..40_u8), 150..250),
        ) {
            let mut world = World::default();
            for (at, count, accident) in moves {
                match accident {
                    0 => world.step(&Step::Lose(at, 3)),
                    1 => world.step(&Step::Crash),
                    2 => world.step(&Step::Clean),
                    _ => {}
                }
                world.step(&Step::Write(count));
                world.visit(at, count, accident != 3);
            }
        }
    }
}
