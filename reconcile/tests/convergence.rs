//! Histories of three hubs: every order of arrival gives the same, and what the oracle says.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may panic, and its numbers are small"
)]

mod history;
mod oracle;
mod stated;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use headland_event::{
    Actor, EventTime, Extent, Hlc, Incarnation, Offset, PartitionIndex, Random, RegionId,
    SeededRandom, Verdict,
};
use headland_reconcile::{
    Config, DerivedTopic, Input, Locality, Output, Prepared, Reconciler, VoidStocktake,
};
use proptest::collection::vec;
use proptest::prelude::*;

use history::{History, histories, histories_without_copies};
use oracle::{Record, Tables};

/// A hub of `eu` with what its derived topics show.
struct Hub {
    reconciler: Reconciler,
    tables: Tables,
    written: Vec<(DerivedTopic, String)>,
}

fn config() -> Config {
    Config::new(RegionId::new("eu").unwrap(), 20)
}

fn actor((region, (counter, nonce), partition): &oracle::Actor) -> Actor {
    Actor {
        region: RegionId::new(region).unwrap(),
        incarnation: Incarnation::new(*counter, *nonce),
        partition: PartitionIndex::new(*partition),
    }
}

impl Hub {
    fn new(seed: u64) -> Self {
        let reconciler = Reconciler::new(config(), seed);
        Self { reconciler, tables: Tables::new(), written: Vec::new() }
    }

    fn after(history: &History, order: &[usize]) -> Self {
        let mut hub = Self::new(1);
        for index in order {
            hub.feed_early(&history.records[*index]);
        }
        hub
    }

    fn feed(&mut self, record: &Record) {
        self.feed_prepared(record, None);
    }

    /// Feeds a record whatever of its log came before: what lies between is missing until it comes.
    fn feed_early(&mut self, record: &Record) {
        let given_up = self.reconciler.begin(&actor(&record.actor), Offset::new(record.offset));
        assert_eq!(given_up, None);
        self.feed(record);
    }

    /// Feeds records of which several are read ahead at a time.
    fn feed_ahead(&mut self, records: &[&Record], ahead: usize) {
        for group in records.chunks(ahead) {
            let values: Vec<Bytes> =
                group.iter().map(|of| Bytes::from(of.value.to_string())).collect();
            let prepared = self.reconciler.prepare(&values);
            for (record, prepared) in group.iter().zip(&prepared) {
                self.feed_prepared(record, Some(prepared));
            }
        }
    }

    fn feed_prepared(&mut self, record: &Record, prepared: Option<&Prepared>) {
        let mut context = Extent::default();
        for (seen, ranges) in &record.context {
            for Range { start, end } in ranges {
                let _taken = context.take(&actor(seen), Offset::new(*start), Offset::new(*end));
            }
        }
        let verdict = match record.verdict {
            "on-time" => Verdict::OnTime,
            "late" => Verdict::Late,
            "future" => Verdict::Future,
            "forbidden" => Verdict::Forbidden,
            other => panic!("no verdict {other}"),
        };
        let is_local = record.actor.0 == "eu";
        let (actor, value) = (actor(&record.actor), Bytes::from(record.value.to_string()));
        let input = Input {
            actor: &actor,
            offset: Offset::new(record.offset),
            hlc: Hlc::new(EventTime::from_millis(record.hlc.0), record.hlc.1),
            context: &context,
            verdict,
            locality: if is_local { Locality::Local } else { Locality::Remote },
            captured_at: EventTime::from_millis(1),
            detected_at: EventTime::from_millis(2),
            value: &value,
        };
        match prepared {
            Some(prepared) => self.reconciler.on_prepared(input, prepared),
            None => self.reconciler.on_event(input),
        }
        while let Some(output) = self.reconciler.poll_output() {
            self.write(&output);
        }
    }

    fn write(&mut self, output: &Output) {
        self.written.push((output.topic(), output.key()));
        let at = (output.topic().name().to_owned(), output.key());
        match output.value() {
            Some(value) => self.tables.insert(at, serde_json::from_slice(&value).unwrap()),
            None => self.tables.remove(&at),
        };
    }

    /// Something that happens to a hub between two records.
    fn meddle(&mut self, action: u8, said: &mut BTreeMap<String, VoidStocktake>) {
        match action {
            0 => self.reconciler.begin_compaction(&self.reconciler.applied().into()),
            1 => self.reconciler.begin_compaction(&self.reconciler.extent()),
            2 => {
                self.say(said);
                self.hear(said);
            }
            _ => {
                let bytes = self.reconciler.snapshot();
                self.reconciler = Reconciler::restore(config(), 5, &bytes).unwrap();
            }
        }
    }

    /// Says which counts it cannot judge.
    fn say(&mut self, said: &mut BTreeMap<String, VoidStocktake>) {
        let unsaid: Vec<VoidStocktake> = self.reconciler.unsaid().collect();
        for void in unsaid {
            self.reconciler.on_void(&void, Locality::Local);
            said.insert(void.position.to_string(), void);
        }
    }

    /// Hears all that was said.
    fn hear(&mut self, said: &BTreeMap<String, VoidStocktake>) {
        for void in said.values() {
            self.reconciler.on_void(void, Locality::Remote);
            while let Some(output) = self.reconciler.poll_output() {
                self.write(&output);
            }
        }
    }

    fn rejected(&self) -> Vec<(&str, &serde_json::Value)> {
        let all = self.tables.iter();
        let rejected = all.filter(|((topic, _), _)| topic == DerivedTopic::Rejected.name());
        rejected.map(|((_, key), value)| (&**key, value)).collect()
    }

    /// The tables the oracle computes too: rejected records and alerts left out.
    fn derived(&self) -> Tables {
        let own = [DerivedTopic::Rejected, DerivedTopic::Alerts].map(DerivedTopic::name);
        let kept = self.tables.iter().filter(|((topic, _), _)| !own.contains(&&**topic));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn keys(&self, topic: DerivedTopic) -> BTreeSet<&str> {
        let of_topic = self.tables.keys().filter(|(of, _)| of == topic.name());
        of_topic.map(|(_, key)| &**key).collect()
    }
}

fn place_of(record: &Record) -> String {
    let (region, (life, nonce), partition) = &record.actor;
    format!("{region}@{life}-{nonce:016x}/{partition}/{}", record.offset)
}

/// Schedules of each law: 200 in a build, more when the environment says so.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration file")]
fn cases() -> u32 {
    let asked = std::env::var("HEADLAND_RECONCILE_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

fn turns() -> impl Strategy<Value = Vec<usize>> {
    vec(0..1_000_usize, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_order_of_arrival_gives_the_same_state_and_the_same_tables(
        history in histories(60), turns in turns(),
    ) {
        let one = Hub::after(&history, &history.interleaved(&turns));
        let others = [&history.journals[0], &history.journals[1], &history.journals[2]];

        for other in others.map(|journal| Hub::after(&history, journal)) {
            prop_assert_eq!(one.reconciler.canonical_state(), other.reconciler.canonical_state());
            prop_assert_eq!(one.reconciler.fingerprint(), other.reconciler.fingerprint());
            prop_assert_eq!(one.reconciler.applied(), other.reconciler.applied());
            prop_assert_eq!(one.derived(), other.derived());
        }
    }

    #[test]
    fn logs_that_come_in_any_order_and_twice_give_the_same_state_and_the_same_tables(
        history in histories(60), turns in turns(), seed in any::<u64>(), cut in 0..60_usize,
    ) {
        let order = history.interleaved(&turns);
        let one = Hub::after(&history, &order);
        let mut random = SeededRandom::new(seed);
        let mut mixed: Vec<(u64, usize)> =
            order.iter().map(|index| (random.next_u64(), *index)).collect();
        mixed.sort_unstable();

        let mut other = Hub::new(3);
        for (at, (_, index)) in mixed.iter().enumerate() {
            if at == cut {
                let bytes = other.reconciler.snapshot();
                other.reconciler = Reconciler::restore(config(), 5, &bytes).unwrap();
            }
            other.feed_early(&history.records[*index]);
            // Whatever came before is known, wherever it stands in its log.
            let (_, again) = mixed[random.next_u64() as usize % (at + 1)];
            other.feed(&history.records[again]);
        }

        prop_assert_eq!(one.reconciler.canonical_state(), other.reconciler.canonical_state());
        prop_assert_eq!(one.reconciler.fingerprint(), other.reconciler.fingerprint());
        prop_assert_eq!(one.reconciler.applied(), other.reconciler.applied());
        prop_assert_eq!(one.derived(), other.derived());
    }

    #[test]
    fn tables_and_state_are_what_the_oracle_computes_from_the_set(
        history in histories(60), turns in turns(),
    ) {
        let expected = oracle::tables(&history.records);

        let hub = Hub::after(&history, &history.interleaved(&turns));

        prop_assert_eq!(stated::differs(&hub.derived(), &expected), None);
        let mut shown = BTreeMap::new();
        for sku in hub.reconciler.skus() {
            for (location, units) in hub.reconciler.product(sku).iter().flat_map(|of| &of.units) {
                prop_assert_eq!(hub.reconciler.stock(sku, location), Some(*units));
                shown.insert(format!("{sku}|{location}"), *units);
            }
        }
        let stock = hub.tables.iter().filter(|((topic, _), _)| topic == "inventory.stock");
        let shelves = stock.filter(|(_, value)| value["location"].is_string());
        let told = shelves.map(|((_, key), value)| (key.clone(), value["units"].as_i64().unwrap()));
        prop_assert_eq!(shown, told.collect::<BTreeMap<_, _>>());
    }

    #[test]
    fn a_snapshot_taken_and_restored_anywhere_changes_nothing(
        history in histories(60), turns in turns(), cut in 0..60_usize,
    ) {
        let order = history.interleaved(&turns);
        let (before, after) = order.split_at(cut.min(order.len()));
        let mut hub = Hub::after(&history, before);
        let whole = Hub::after(&history, &order);

        let bytes = hub.reconciler.snapshot();
        hub.reconciler = Reconciler::restore(config(), 99, &bytes).unwrap();
        // Whoever restores replays from an older position.
        for index in before.iter().chain(after) {
            hub.feed(&history.records[*index]);
        }

        prop_assert_eq!(hub.reconciler.snapshot(), whole.reconciler.snapshot());
        prop_assert_eq!(&hub.written, &whole.written, "a restart writes the rest in its order");
        prop_assert_eq!(&hub.tables, &whole.tables);
        prop_assert_eq!(hub.reconciler.canonical_state(), whole.reconciler.canonical_state());
    }

    #[test]
    fn records_read_ahead_do_what_they_do_one_at_a_time(
        history in histories(60), turns in turns(), ahead in 1..80_usize,
    ) {
        let order = history.interleaved(&turns);
        let records: Vec<&Record> = order.iter().map(|at| &history.records[*at]).collect();
        let mut hub = Hub::new(1);

        hub.feed_ahead(&records, ahead);

        let one_by_one = Hub::after(&history, &order);
        prop_assert_eq!(hub.reconciler.snapshot(), one_by_one.reconciler.snapshot());
        prop_assert_eq!(hub.written, one_by_one.written);
    }

    #[test]
    fn replaying_decisions_changes_nothing_but_the_list_of_duplicates(
        history in histories(60), turns in turns(),
    ) {
        let mut hub = Hub::after(&history, &history.interleaved(&turns));
        let counted = |hub: &Hub| {
            let tables = hub.derived().into_iter();
            tables.filter(|((topic, _), _)| topic != "inventory.duplicates").collect::<Tables>()
        };
        let before = counted(&hub);
        let is_decision = |record: &&Record| {
            matches!(record.value["kind"].as_str(), Some("approve" | "reject" | "amend"))
                && matches!(record.verdict, "on-time" | "late")
        };

        // The same deliveries once more, at a hub that none of the others knows of.
        for (offset, record) in (0..).zip(history.records.iter().filter(is_decision)) {
            let actor = ("zz".to_owned(), (1, 1), 0);
            hub.feed(&Record { actor, offset, ..record.clone() });
        }

        prop_assert_eq!(counted(&hub), before);
    }

    #[test]
    fn every_accepted_event_is_in_state_or_in_exactly_one_side_output(
        history in histories(60), turns in turns(),
    ) {
        let hub = Hub::after(&history, &history.interleaved(&turns));

        let (late, dropped) = (hub.keys(DerivedTopic::Late), hub.keys(DerivedTopic::Duplicates));
        let mut kept = BTreeSet::new();
        for record in &history.records {
            let id = record.value["id"].as_str().unwrap().to_owned();
            let place = place_of(record);
            let is_dropped = dropped.contains(&*format!("{id}@{place}"));
            let is_rejected = hub.keys(DerivedTopic::Rejected).contains(&*place);

            prop_assert_eq!(is_rejected, record.verdict == "future");
            if matches!(record.verdict, "future" | "forbidden") {
                prop_assert!(!is_dropped);
            } else if !is_dropped {
                prop_assert!(kept.insert(id), "two copies of one delivery count");
            }
        }
        // What is kept and not late is in state, which the oracle's sums and winners prove.
        prop_assert!(late.iter().all(|id| kept.contains(*id)));
    }

    #[test]
    fn each_overlap_of_a_posting_with_a_count_is_asked_about_exactly_once(
        history in histories_without_copies(60), turns in turns(),
    ) {
        let hub = Hub::after(&history, &history.interleaved(&turns));

        let rows = hub.tables.iter().filter(|((topic, _), _)| topic == "inventory.overlaps");
        let mut places = BTreeSet::new();
        for ((_, key), row) in rows {
            prop_assert!(places.insert(row["at"].as_str().unwrap()), "{} is asked twice", key);
            let (posted, counted) = (row["time"].as_i64(), row["stocktake"]["time"].as_i64());
            prop_assert!(posted <= counted);
            // It counts, whatever is decided: it is in no side output.
            let postings = hub.tables.iter().filter(|((topic, _), _)| {
                topic == DerivedTopic::Postings.name()
            });
            let mut units = postings.flat_map(|(_, of)| of["postings"].as_array().unwrap());
            prop_assert!(units.any(|of| of["units"] == row["units"]));
        }
        let keys: BTreeSet<String> =
            hub.keys(DerivedTopic::Overlaps).into_iter().map(str::to_owned).collect();
        let entries = hub.reconciler.under_review();
        let asked = entries.filter(|entry| entry.id().contains('~'));
        let asked: Vec<String> = asked.map(|entry| entry.id().to_owned()).collect();
        prop_assert_eq!(asked.len(), keys.len());
        prop_assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), keys);
    }

    #[test]
    fn the_postings_of_every_movement_that_counts_sum_to_zero(
        history in histories(60), turns in turns(),
    ) {
        let hub = Hub::after(&history, &history.interleaved(&turns));

        for ((topic, key), value) in &hub.tables {
            if topic == DerivedTopic::Postings.name() {
                let units = value["postings"].as_array().unwrap().iter();
                let sum: i64 = units.map(|posting| posting["units"].as_i64().unwrap()).sum();
                prop_assert_eq!(sum, 0, "{}", key);
            }
        }
    }

    #[test]
    fn compacting_at_what_all_hubs_hold_changes_nothing_that_comes_later(
        history in histories(60), turns in turns(), cut in 0..60_usize,
    ) {
        let order = history.interleaved(&turns);
        let cut = cut.min(order.len());
        let later: Vec<&Record> = order[cut..].iter().map(|at| &history.records[*at]).collect();
        let mut hub = Hub::after(&history, &order[..cut]);
        // Stable is what every event that is still to come was written after.
        let mut stable = Extent::default();
        for record in order[..cut].iter().map(|at| &history.records[*at]) {
            let is_after = |later: &&Record| {
                let is_behind = later.actor == record.actor && record.offset < later.offset;
                is_behind || has_seen(later, record)
            };
            if later.iter().all(is_after) {
                let (from, until) = (Offset::new(record.offset), Offset::new(record.offset + 1));
                let _taken = stable.take(&actor(&record.actor), from, until);
            }
        }

        hub.reconciler.compact(&stable);
        for record in later {
            hub.feed(record);
        }
        prop_assert_eq!(hub.reconciler.unsaid().count(), 0);

        let whole = Hub::after(&history, &order);
        prop_assert_eq!(hub.reconciler.canonical_state(), whole.reconciler.canonical_state());
        prop_assert_eq!(hub.tables, whole.tables);
    }

    #[test]
    fn hubs_that_forget_whatever_they_applied_agree_on_what_nobody_can_judge(
        history in histories(60), turns in turns(),
        cuts in vec((0..3_usize, 0..60_usize, 0..4_u8), 0..12),
    ) {
        let orders = [history.interleaved(&turns), history.journals[0].clone(),
            history.journals[1].clone()];
        let mut hubs = [Hub::new(1), Hub::new(2), Hub::new(3)];
        let mut said = BTreeMap::new();
        for at in 0..=orders.iter().map(Vec::len).max().unwrap_or(0) {
            for (hub, _, action) in cuts.iter().filter(|(_, when, _)| *when == at) {
                hubs[*hub].meddle(*action, &mut said);
            }
            for (hub, order) in hubs.iter_mut().zip(&orders) {
                let next = order.get(at).map(|index| &history.records[*index]);
                next.into_iter().for_each(|record| hub.feed_early(record));
                hub.reconciler.poll_compaction(1);
            }
        }
        hubs.iter_mut().for_each(|hub| hub.say(&mut said));
        for hub in &mut hubs {
            hub.hear(&said);
        }

        let is_void = |of: &Record| said.contains_key(&place_of(of));
        let mut records = history.records;
        for record in records.iter_mut().filter(|of| is_void(of)) {
            prop_assert_eq!(&record.value["kind"], "stocktake");
            record.value["kind"] = "void".into();
        }
        let expected = oracle::tables(&records);
        for hub in &hubs {
            prop_assert_eq!(hub.reconciler.unsaid().count(), 0);
            prop_assert_eq!(stated::differs(&hub.derived(), &expected), None);
            prop_assert_eq!(hub.reconciler.canonical_state(), hubs[0].reconciler.canonical_state());
            prop_assert_eq!(hub.reconciler.fingerprint(), hubs[0].reconciler.fingerprint());
            prop_assert_eq!(hub.rejected(), hubs[0].rejected());
            let restored = Reconciler::restore(config(), 9, &hub.reconciler.snapshot()).unwrap();
            prop_assert_eq!(restored.canonical_state(), hub.reconciler.canonical_state());
            prop_assert_eq!(restored.compacted(), hub.reconciler.compacted());
        }
    }

    #[test]
    fn a_causal_successor_is_never_beaten_whatever_the_clocks(
        history in histories_without_copies(60), turns in turns(),
    ) {
        let hub = Hub::after(&history, &history.interleaved(&turns));

        for sku in hub.reconciler.skus() {
            for name in hub.reconciler.product(sku).iter().flat_map(|of| of.attributes.keys()) {
                let value = hub.reconciler.attribute(sku, name).unwrap();
                let last = last_values(&history, sku.as_str(), name.as_str());
                prop_assert!(last.contains(value.as_str()), "{} was overwritten", value);
            }
        }
    }

    #[test]
    fn each_pair_of_concurrent_writes_is_reported_exactly_once(
        history in histories_without_copies(60), turns in turns(),
    ) {
        let hub = Hub::after(&history, &history.interleaved(&turns));

        let sides = hub.keys(DerivedTopic::Conflicts).into_iter();
        let sides = sides.filter_map(|pair| pair.split_once('~'));
        let named: BTreeSet<String> = sides
            .map(|(one, other)| format!("{}~{}", one.min(other), one.max(other)))
            .collect();
        prop_assert_eq!(named, concurrent_pairs(&history));
        let reports = hub.written.iter().filter(|(topic, _)| *topic == DerivedTopic::Conflicts);
        let pairs: BTreeSet<&str> = hub.keys(DerivedTopic::Conflicts);
        prop_assert_eq!(reports.count(), pairs.len());
        let turned = |pair: &str| pair.split_once('~').map(|(one, other)| format!("{other}~{one}"));
        prop_assert!(pairs.iter().all(|pair| !pairs.contains(&*turned(pair).unwrap())));
    }
}

/// Values of an attribute that no writer of another one had seen.
fn last_values(history: &History, sku: &str, name: &str) -> BTreeSet<String> {
    let accepted = history.records.iter().filter(|of| matches!(of.verdict, "on-time" | "late"));
    let of_attribute = |of: &&Record| of.value["sku"] == sku && of.value["attribute"] == name;
    let writes: Vec<&Record> = accepted.filter(of_attribute).collect();
    let is_seen = |one: &Record| writes.iter().any(|other| has_seen(other, one));
    let last = writes.iter().filter(|record| !is_seen(record));
    last.map(|record| record.value["value"].as_str().unwrap().to_owned()).collect()
}

/// Whether a record's stamp says that its hub had seen another one.
fn has_seen(record: &Record, other: &Record) -> bool {
    let mut seen = record.context.get(&other.actor).into_iter().flatten();
    seen.any(|range| range.contains(&other.offset))
}

/// Pairs of writes of one attribute or count of one shelf of which neither writer had seen the
/// other, and of decisions that differ, by their ids in order. Nothing is delivered twice.
fn concurrent_pairs(history: &History) -> BTreeSet<String> {
    let accepted = history.records.iter().filter(|of| matches!(of.verdict, "on-time" | "late"));
    let key_of = |of: &Record| {
        let fields = match of.value["kind"].as_str()? {
            "attribute" => ["sku", "attribute"],
            "stocktake" => ["sku", "location"],
            "approve" | "reject" | "amend" => ["late", "late"],
            _ => return None,
        };
        let is_count = of.value["kind"] == "stocktake";
        Some((is_count, fields.map(|field| of.value[field].to_string())))
    };
    let writes: Vec<_> = accepted.filter_map(|of| Some((key_of(of)?, of))).collect();
    let rules = |of: &Record| {
        let value = &of.value;
        let is_decision = value["late"].is_string();
        // Of an overlap there is only to say how much of it counts.
        let is_of_overlap = value["late"].as_str().is_some_and(|late| late.contains('~'));
        let effective = (value["kind"] != "reject" && !is_of_overlap).then(|| &value["effective"]);
        let units = (value["kind"] == "amend").then(|| &value["quantity"]);
        is_decision.then(|| (value["kind"].to_string(), effective.cloned(), units.cloned()))
    };
    let mut pairs = BTreeSet::new();
    for (key, one) in &writes {
        for (_, other) in writes.iter().filter(|(of, _)| of == key) {
            let (id, of) = (one.value["id"].as_str().unwrap(), other.value["id"].as_str().unwrap());
            let is_apart =
                one.actor != other.actor && !has_seen(one, other) && !has_seen(other, one);
            let is_agreed = rules(one).is_some() && rules(one) == rules(other);
            if id < of && is_apart && !is_agreed {
                pairs.insert(format!("{id}~{of}"));
            }
        }
    }
    pairs
}
