//! The checker against small runs written by hand: a good one, and good ones with one thing wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::checker::check;

/// Products of each region that are sold in bulk until they run low.
const BULK_SALES: usize = 30;

/// Air stations of each region.
const STATIONS: usize = 30;

/// A finished run of two regions, each with one agent, and dumps as a right system leaves them.
struct Run(TempDir);

fn event(id: &str, kind: &str, sku: &str, at: &str, more: (&str, Value)) -> String {
    let mut event = json!({"id": id, "kind": kind, "sku": sku, "time": "2010-12-01T08:26:00Z"});
    event["location"] = Value::from(at);
    event[more.0] = more.1;
    event.to_string()
}

fn attribute(id: &str, value: &str) -> String {
    json!({"id": id, "kind": "attribute", "sku": "P", "attribute": "shelf", "value": value})
        .to_string()
}

/// What the agent of a region reads: bulk sales, a late sale, a doubled one, and its side of a
/// conflict about an attribute and a stocktake.
fn inventory(region: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for n in 0..BULK_SALES {
        let sku = format!("S{n}");
        lines.push(event(&format!("{region}/r{n}"), "restock", &sku, region, units(200)));
        lines.push(event(&format!("{region}/s{n}"), "sale", &sku, region, units(181)));
    }
    lines.push(event(&format!("{region}/more"), "sale", "S2", region, units(25)));
    lines.push(event(&format!("{region}/late"), "sale", "S0", region, units(1)));
    lines.push(event(&format!("{region}/twice"), "return", "S1", region, units(5)));
    lines.push(event(&format!("{region}/twice"), "return", "S1", region, units(5)));
    lines.push(event(&format!("{region}/before"), "restock", "P", "central", units(50)));
    lines.push(attribute(&format!("{region}/a"), region));
    let count = ("count", Value::from(if region == "eu" { 40 } else { 60 }));
    lines.push(event(&format!("{region}/c"), "stocktake", "P", "central", count));
    lines.push(event(&format!("{region}/after"), "sale", "P", "central", units(3)));
    lines
}

fn units(units: i64) -> (&'static str, Value) {
    ("quantity", Value::from(units))
}

/// Three hours above the limit at each of [`STATIONS`], and a reading that closes their windows.
fn air(region: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (hour, pm25) in [(0, "130"), (1, "NA"), (2, "111"), (3, "500"), (4, "9")] {
        for station in 0..STATIONS {
            lines.push(format!("{region}-st{station},2013-03-01T{hour:02}:00:00Z,{pm25},1"));
        }
    }
    lines
}

const FACTS: [&str; 10] = [
    r#"{"fact":"held","id":"eu/late"}"#,
    r#"{"fact":"held","id":"us/late"}"#,
    r#"{"fact":"redelivered","id":"eu/twice"}"#,
    r#"{"fact":"redelivered","id":"us/twice"}"#,
    r#"{"fact":"concurrent","kind":"attribute","id":"us/a","over":"eu/a"}"#,
    r#"{"fact":"concurrent","kind":"stocktake","id":"us/c","over":"eu/c"}"#,
    r#"{"fact":"saw","id":"eu/c","posting":"eu/before"}"#,
    r#"{"fact":"saw","id":"eu/c","posting":"us/before"}"#,
    r#"{"fact":"saw","id":"us/c","posting":"eu/before"}"#,
    r#"{"fact":"saw","id":"us/c","posting":"us/before"}"#,
];

fn record(key: &str, value: &str) -> String {
    json!({"offset": 0, "key": key, "value": value}).to_string()
}

fn alerts(region: &str) -> Vec<String> {
    let alert = |rule: &str, key: &str, window: &str| {
        record(key, &json!({"rule": rule, "key": key, "window": window}).to_string())
    };
    let high = |n| alert("pm25_high", &format!("{region}-st{n}"), "1362106800000");
    let mut lines: Vec<String> = (0..STATIONS).map(high).collect();
    for n in 0..BULK_SALES {
        lines.push(alert("restock", &format!("S{n}|{region}"), "1"));
        lines.push(alert("bulk_sale", &format!("S{n}"), &format!("{region}/s{n}")));
    }
    lines
}

fn stock() -> Vec<String> {
    let of = |sku: &str, at: &str, units: i64| {
        let value = json!({"sku": sku, "location": at, "units": units});
        record(&format!("{sku}|{at}"), &value.to_string())
    };
    let mut lines = vec![of("P", "central", 7), of("P", "central", 60 - 3 - 3)];
    let shelf = json!({"sku": "P", "attribute": "shelf", "value": "us"});
    lines.push(record("P#shelf", &shelf.to_string()));
    for region in ["eu", "us"] {
        for n in 0..BULK_SALES {
            let later = match n {
                1 => 5,
                2 => -25,
                _ => 0,
            };
            lines.push(of(&format!("S{n}"), region, 19 + later));
        }
    }
    lines
}

/// The movements that count: neither the late sale nor the second copy.
fn postings(region: &str) -> Vec<Value> {
    let mut ids = BTreeSet::new();
    let events = inventory(region).into_iter().filter_map(|line| serde_json::from_str(&line).ok());
    let counts = events.filter(|event: &Value| {
        let id = event["id"].as_str().unwrap().to_owned();
        event.get("quantity").is_some() && !id.ends_with("late") && ids.insert(id)
    });
    let posting = |event: Value| {
        let units = event["quantity"].as_i64().unwrap();
        let delta = if event["kind"] == "sale" { -units } else { units };
        let shelf = json!({"account": {"location": event["location"]}, "units": delta});
        let other = json!({"account": "customer", "units": -delta});
        json!({"id": event["id"], "sku": event["sku"], "postings": [shelf, other]})
    };
    counts.map(posting).collect()
}

/// A sale that happened in the second of the stocktake, which had not seen it.
fn overlap(at: &str, units: i64) -> Value {
    let stocktake = json!({"id": "us/c", "count": 60, "time": 1_291_191_960_000_i64});
    json!({
        "id": format!("us/c~{at}"), "sku": "P", "location": "central", "at": at,
        "time": 1_291_191_960_000_i64, "units": units, "added": units, "stocktake": stocktake,
        "revision": 1,
    })
}

impl Run {
    fn good() -> Self {
        let run = Self(TempDir::new().unwrap());
        run.write("facts.jsonl", &FACTS.map(str::to_owned));
        for region in ["eu", "us"] {
            run.write(&format!("inputs/{region}-1.inventory.jsonl"), &inventory(region));
            let mut file = vec!["station,time,pm25,temp".to_owned()];
            file.extend(air(region));
            run.write(&format!("inputs/{region}-1.air.csv"), &file);
            run.write_hub(region);
        }
        run
    }

    fn write_hub(&self, hub: &str) {
        let derived = |topic: &str, values: &[Value]| {
            let lines: Vec<String> =
                values.iter().map(|value| record("k", &value.to_string())).collect();
            self.write(&format!("dump/{hub}/inventory.{topic}.jsonl"), &lines);
        };
        derived("late", &[json!({"id": "eu/late"}), json!({"id": "us/late"})]);
        derived("duplicates", &[json!({"id": "eu/twice"}), json!({"id": "us/twice"})]);
        derived(
            "conflicts",
            &[
                json!({"id": "us/a~eu/a", "kind": "attribute"}),
                json!({"id": "us/c~eu/c", "kind": "stocktake"}),
            ],
        );
        derived("postings", &[postings("eu"), postings("us")].concat());
        let asked = |region: &str| {
            let at = format!("{region}@1-0000000000000001/0/9");
            record(&format!("us/c~{at}"), &overlap(&at, -3).to_string())
        };
        let gone = json!({"offset": 2, "key": "us/c~x", "value": null}).to_string();
        let lines =
            [asked("eu"), record("us/c~x", &overlap("x", -9).to_string()), asked("us"), gone];
        self.write(&format!("dump/{hub}/inventory.overlaps.jsonl"), &lines);
        self.write(&format!("dump/{hub}/inventory.stock.jsonl"), &stock());
        let oversold = |region: &str, units| {
            let value = json!({"sku": "S2", "location": region, "units": units});
            record(&format!("S2|{region}"), &value.to_string())
        };
        let back = json!({"offset": 1, "key": "S9|eu", "value": null}).to_string();
        let [eu, us] = ["eu", "us"].map(|region| [oversold(region, -2), oversold(region, -6)]);
        let gone = oversold("eu", -1).replace("S2", "S9");
        let lines = [eu.to_vec(), us.to_vec(), vec![gone, back]].concat();
        self.write(&format!("dump/{hub}/inventory.oversold.jsonl"), &lines);
        for origin in ["eu", "us"] {
            let prefix = if origin == hub { String::new() } else { format!("{origin}.") };
            let raw = |lines: Vec<String>| -> Vec<String> {
                lines.iter().map(|line| record("device", line)).collect()
            };
            let path = |topic: &str| format!("dump/{hub}/{prefix}{topic}.jsonl");
            self.write(&path("inventory.events"), &raw(inventory(origin)));
            self.write(&path("air.readings"), &raw(air(origin)));
            self.write(&path("alerts"), &alerts(origin));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, lines: &[String]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(path, text).unwrap();
    }

    /// Rewrites one file of a good run and checks it.
    fn spoilt(name: &str, spoil: impl Fn(&mut Vec<String>)) -> Vec<String> {
        let run = Self::good();
        let text = fs::read_to_string(run.path(name)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        spoil(&mut lines);
        run.write(name, &lines);
        check(run.0.path()).unwrap_err()
    }
}

#[test]
fn a_right_run_has_no_differences() {
    let events = 2 * (60 + 7 + 5 * 30);
    let alerts = 2 * (30 + 30 + 30);
    // The sales after both stocktakes are two rows of one content.
    let derived = 2 + 2 + 2 + 62 + 2 + 2 * (60 + 4) + 1;

    assert_eq!(check(Run::good().0.path()), Ok(events + alerts + derived));
}

#[test]
fn a_doubled_record_of_an_event_topic_is_found() {
    let wrong = Run::spoilt("dump/us/eu.inventory.events.jsonl", |lines| {
        lines.push(lines[3].clone());
    });

    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].starts_with("hub us has 2 times, not 1: eu inventory.events "), "{wrong:?}");
}

#[test]
fn a_missing_reading_is_found() {
    let wrong = Run::spoilt("dump/eu/air.readings.jsonl", |lines| {
        lines.remove(1);
    });

    assert_eq!(
        wrong,
        ["hub eu has 0 times, not 1: eu air.readings eu-st1,2013-03-01T00:00:00Z,130,1"]
    );
}

#[test]
fn a_missing_and_a_doubled_alert_are_found() {
    let wrong = Run::spoilt("dump/eu/us.alerts.jsonl", |lines| lines[0] = lines[30].clone());

    assert_eq!(
        wrong,
        [
            "hub eu has 0 times, not 1: us alerts pm25_high us-st0 1362106800000",
            "hub eu has 2 times, not 1: us alerts restock S0|us 1",
        ]
    );
}

#[test]
fn a_wrong_unit_is_found() {
    let wrong = Run::spoilt("dump/us/inventory.stock.jsonl", |lines| {
        lines[3] = lines[3].replace("19", "20");
    });

    assert_eq!(
        wrong,
        [
            "hub us has 0 times, not 1: inventory.stock S0|eu = 19",
            "hub us has 1 times, not 0: inventory.stock S0|eu = 20",
        ]
    );
}

#[test]
fn a_shelf_below_nothing_that_is_not_reported_or_no_longer_true_is_found() {
    let wrong = Run::spoilt("dump/us/inventory.oversold.jsonl", |lines| {
        lines.remove(1);
        lines.pop();
    });

    assert_eq!(
        wrong,
        [
            "hub us has 0 times, not 1: inventory.oversold S2|eu = -6",
            "hub us has 1 times, not 0: inventory.oversold S2|eu = -2",
            "hub us has 1 times, not 0: inventory.oversold S9|eu = -1",
        ]
    );
}

#[test]
fn postings_that_leak_units_and_those_of_an_event_that_does_not_count_are_found() {
    let wrong = Run::spoilt("dump/eu/inventory.postings.jsonl", |lines| {
        lines[1] = lines[1].replace("181", "180").replacen("-180", "-181", 1);
        let late = lines[0].replace("r0", "late");
        lines.push(late);
    });

    assert_eq!(
        wrong,
        [
            "hub eu has 0 times, not 1: inventory.postings eu/s0 S0 eu -181 181",
            "hub eu has 1 times, not 0: inventory.postings eu/late S0 eu 200 -200",
            "hub eu has 1 times, not 0: inventory.postings eu/s0 S0 eu -181 180",
        ]
    );
}

#[test]
fn the_loser_of_a_conflict_as_value_is_found() {
    let wrong = Run::spoilt("dump/us/inventory.stock.jsonl", |lines| {
        lines[2] = lines[2].replace("us", "eu");
    });

    assert_eq!(wrong[0], "hub us has 0 times, not 1: inventory.stock P#shelf = us");
}

#[test]
fn a_conflict_the_wrong_way_round_is_found() {
    let wrong = Run::spoilt("dump/eu/inventory.conflicts.jsonl", |lines| {
        lines[1] = lines[1].replace("us/c~eu/c", "eu/c~us/c");
    });

    assert_eq!(
        wrong,
        [
            "hub eu has 0 times, not 1: inventory.conflicts stocktake us/c~eu/c",
            "hub eu has 1 times, not 0: inventory.conflicts stocktake eu/c~us/c",
        ]
    );
}

#[test]
fn an_overlap_that_nobody_is_asked_about_and_one_that_is_none_are_found() {
    let wrong = Run::spoilt("dump/us/inventory.overlaps.jsonl", |lines| {
        lines[0] = lines[0].replace(r#"\"added\":-3"#, r#"\"added\":0"#);
        lines.pop();
    });

    assert_eq!(
        wrong,
        [
            "hub us has 1 times, not 2: inventory.overlaps us/c = -3-3",
            "hub us has 1 times, not 0: inventory.overlaps us/c = -30",
            "hub us has 1 times, not 0: inventory.overlaps us/c = -9-9",
        ]
    );
}

#[test]
fn a_lost_late_event_and_an_unreported_duplicate_are_found() {
    let late = Run::spoilt("dump/eu/inventory.late.jsonl", Vec::clear);
    let twice = Run::spoilt("dump/us/inventory.duplicates.jsonl", |lines| drop(lines.pop()));

    assert_eq!(late.len(), 2);
    assert_eq!(twice, ["hub us has 0 times, not 1: inventory.duplicates us/twice"]);
}

#[test]
fn records_that_returned_to_their_origin_or_that_nothing_explains_are_found() {
    for topic in ["eu.alerts", "inventory.rejected", "us.inventory.events.dead"] {
        let run = Run::good();
        run.write(&format!("dump/eu/{topic}.jsonl"), &[record("k", "{}")]);

        assert_eq!(check(run.0.path()).unwrap_err().len(), 1, "{topic}");
    }
}

#[test]
fn a_hub_that_was_not_dumped_lacks_everything() {
    let run = Run::good();
    fs::remove_dir_all(run.path("dump/us")).unwrap();

    let wrong = check(run.0.path()).unwrap_err();

    assert_eq!(wrong.len(), check(Run::good().0.path()).unwrap());
}

#[test]
fn a_run_with_too_few_alerts_or_without_conflicts_shows_nothing() {
    let run = Run::good();
    let few: Vec<String> = inventory("us").into_iter().skip(2).collect();
    run.write("inputs/us-1.inventory.jsonl", &few);
    run.write("facts.jsonl", &FACTS[..4].iter().map(|fact| (*fact).to_owned()).collect::<Vec<_>>());

    let wrong = check(run.0.path()).unwrap_err();

    assert_eq!(wrong[0], "the inputs have 0 of at least 1: inventory.conflicts ");
    assert_eq!(wrong[1], "the inputs have 29 of at least 30: us alerts restock ");
}
