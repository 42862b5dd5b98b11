//! The external checker: recomputes the answer from what the agents read and compares every hub
//! with it, key by key. It shares no code with the system and sees only files: `inputs/`, the
//! driver's `facts.jsonl`, and `dump/<region>/<topic>.jsonl` with what each hub's API returned.
//! What does not parse becomes a record that nothing expects, and so a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

const RESTOCK_BELOW: i64 = 20;
const BULK_UNITS: i64 = 100;
const PM25_LIMIT: f64 = 120.0;
const HOUR_MS: i64 = 3_600_000;
const ALERTS_MIN: usize = 30;
/// What a movement did to its shelf, and to where the units came from or went.
const MOVED: [&str; 5] =
    ["id", "sku", "postings/0/account/location", "postings/0/units", "postings/1/units"];

/// How often each record occurs, written as `<region> <topic> <record>`, the region only where
/// each has a topic of its own.
type Bag = BTreeMap<String, usize>;

/// Compares all hubs of a run with its inputs; returns how many different records were compared.
///
/// # Errors
/// What is missing, doubled, different, or too little to show anything: one line each.
pub(crate) fn check(run: &Path) -> Result<usize, Vec<String>> {
    let inputs = names(&run.join("inputs"));
    let regions: BTreeSet<&str> = inputs.iter().filter_map(|file| file.split('-').next()).collect();
    let want = count(Expected::read(run, &inputs).records());
    let mut wrong = too_few(&want, &regions);
    for hub in &regions {
        let found = count(read_hub(&run.join("dump").join(hub), hub, &regions));
        for record in want.keys().chain(found.keys().filter(|record| !want.contains_key(*record))) {
            let [want, found] = [&want, &found].map(|bag| bag.get(record).unwrap_or(&0));
            if want != found {
                wrong.push(format!("hub {hub} has {found} times, not {want}: {record}"));
            }
        }
    }
    if wrong.is_empty() { Ok(want.len()) } else { Err(wrong) }
}

/// Everything the inputs and the driver's facts say; events are named by delivery ids.
#[derive(Debug, Default)]
struct Expected {
    records: Vec<String>,
    held: BTreeSet<String>,
    /// Writes that lose against another write.
    beaten: BTreeSet<String>,
    /// Stocktakes, each with a posting that it had seen.
    seen: BTreeSet<(String, String)>,
    read: BTreeSet<String>,
    /// Each with when it happened: to the second, written alike, so that text compares as time.
    postings: BTreeMap<String, Vec<(String, i64, String)>>,
    /// Stocktakes and attribute values.
    writes: BTreeMap<String, Vec<(String, String, String)>>,
}

impl Expected {
    fn read(run: &Path, inputs: &[String]) -> Self {
        let mut expected = Self::default();
        for fact in lines(&run.join("facts.jsonl")).iter().map(|line| json(line)) {
            let [id, over, kind] = ["id", "over", "kind"].map(|field| part(&fact, field));
            match part(&fact, "fact").as_str() {
                "held" => drop(expected.held.insert(id)),
                "saw" => drop(expected.seen.insert((id, part(&fact, "posting")))),
                "ordered" => drop(expected.beaten.insert(over)),
                "concurrent" => {
                    expected.records.push(format!("inventory.conflicts {kind} {id}~{over}"));
                    expected.beaten.insert(over);
                }
                _ => {}
            }
        }
        for file in inputs {
            let region = file.split('-').next().unwrap_or(file);
            let lines = lines(&run.join("inputs").join(file));
            let on_file = if file.ends_with(".csv") { Self::on_air } else { Self::on_inventory };
            on_file(&mut expected, region, &lines);
        }
        expected
    }

    /// Folds one agent's events in its order: its own stream decides when stock runs low.
    fn on_inventory(&mut self, region: &str, lines: &[String]) {
        let mut stock: BTreeMap<String, (i64, u32)> = BTreeMap::new();
        for line in lines {
            self.records.push(format!("{region} inventory.events {line}"));
            let event = json(line);
            let [id, sku, kind, at] = ["id", "sku", "kind", "location"].map(|f| part(&event, f));
            let units = event.get("quantity").and_then(Value::as_i64).unwrap_or(0);
            let attribute = event.get("attribute").map(|name| format!("{sku}#{}", text(name)));
            let key = attribute.unwrap_or_else(|| format!("{sku}|{at}"));
            if kind == "sale" && units >= BULK_UNITS {
                self.records.push(format!("{region} alerts bulk_sale {sku} {id}"));
            }
            if !self.read.insert(id.clone()) {
                self.records.push(format!("inventory.duplicates {id}"));
            } else if self.held.contains(&id) {
                self.records.push(format!("inventory.late {id}"));
            } else if let Some(written) = event.get("value").or_else(|| event.get("count")) {
                self.writes.entry(key).or_default().push((id, text(written), part(&event, "time")));
            } else {
                let delta = if kind == "sale" { -units } else { units };
                let (after, episode) = stock.entry(key.clone()).or_default();
                *after += delta;
                if *after < RESTOCK_BELOW && *after - delta >= RESTOCK_BELOW {
                    *episode += 1;
                    self.records.push(format!("{region} alerts restock {key} {episode}"));
                }
                self.records.push(format!("inventory.postings {id} {sku} {at} {delta} {}", -delta));
                self.postings.entry(key).or_default().push((id, delta, part(&event, "time")));
            }
        }
    }

    /// Averages of three hours per station, below a header; a reading an hour past the end fires.
    fn on_air(&mut self, region: &str, lines: &[String]) {
        let mut windows: BTreeMap<(&str, i64), (f64, f64)> = BTreeMap::new();
        let mut latest = i64::MIN;
        for line in lines.iter().skip(1) {
            self.records.push(format!("{region} air.readings {line}"));
            let cells: Vec<_> = line.split(',').collect();
            let [station, time, pm25, ..] = cells[..] else { continue };
            let time = time.parse().map_or(0, |time: jiff::Timestamp| time.as_millisecond());
            latest = latest.max(time);
            if let Ok(pm25) = pm25.parse::<f64>() {
                let end = (time.div_euclid(3 * HOUR_MS) + 1) * 3 * HOUR_MS;
                let (sum, count) = windows.entry((station, end)).or_default();
                (*sum, *count) = (*sum + pm25, *count + 1.0);
            }
        }
        for ((station, end), (sum, count)) in windows {
            if sum / count > PM25_LIMIT && end <= latest - HOUR_MS {
                self.records.push(format!("{region} alerts pm25_high {station} {end}"));
            }
        }
    }

    fn records(mut self) -> Vec<String> {
        let keys: BTreeSet<_> = self.postings.keys().chain(self.writes.keys()).collect();
        for key in keys {
            let mut writes = self.writes.get(key).into_iter().flatten();
            let last = writes.find(|(id, ..)| !self.beaten.contains(id));
            let (id, mut value, counted) = last.cloned().unwrap_or_default();
            if !key.contains('#') {
                let postings = self.postings.get(key).into_iter().flatten();
                let after = postings.filter(|p| !self.seen.contains(&(id.clone(), p.0.clone())));
                // Somebody is asked whether the count has what it had not seen.
                let overlap = |p: &(_, i64, _)| format!("inventory.overlaps {id} = {0}{0}", p.1);
                self.records.extend(after.clone().filter(|p| p.2 <= counted).map(overlap));
                value = (value.parse().unwrap_or(0) + after.map(|p| p.1).sum::<i64>()).to_string();
                let oversold = || format!("inventory.oversold {key} = {value}");
                self.records.extend(value.starts_with('-').then(oversold));
            }
            self.records.push(format!("inventory.stock {key} = {value}"));
        }
        self.records
    }
}

/// What one hub holds; a topic that nothing is expected in gives records that nothing expects.
fn read_hub(dump: &Path, hub: &str, regions: &BTreeSet<&str>) -> Vec<String> {
    let (mut records, mut tables) = (Vec::new(), BTreeMap::new());
    for file in names(dump) {
        let topic = file.trim_end_matches(".jsonl");
        let mirrored = topic.split_once('.').filter(|(origin, _)| regions.contains(origin));
        let (origin, base) = mirrored.unwrap_or((hub, topic));
        // Of what was compacted later records of the same keys took the place.
        let is_there = |of: &Value| !part(of, "headers/hl-dropped").starts_with("compacted ");
        for record in lines(&dump.join(&file)).iter().map(|line| json(line)).filter(is_there) {
            let (key, raw) = (part(&record, "key"), part(&record, "value"));
            let value = json(&raw);
            let of = |name: &str| part(&value, name);
            records.push(match base {
                "inventory.stock" | "inventory.oversold" | "inventory.overlaps" => {
                    let level = ["units", "added", "value"].map(of).concat();
                    tables.insert(format!("{topic} {key}"), level);
                    continue;
                }
                "inventory.postings" => format!("{topic} {}", MOVED.map(of).join(" ")),
                "inventory.late" | "inventory.duplicates" => format!("{topic} {}", of("id")),
                "inventory.conflicts" => format!("{topic} {} {}", of("kind"), of("id")),
                "alerts" => {
                    format!("{origin} alerts {}", ["rule", "key", "window"].map(of).join(" "))
                }
                _ => format!("{origin} {base} {raw}"),
            });
        }
    }
    tables.retain(|_, level| !level.is_empty()); // A tombstone has none.
    // Of an overlap the key has the place of a posting in a log, which no input tells.
    let named = |row: &String| row.split('~').next().unwrap_or_default().to_owned();
    records.extend(tables.iter().map(|(row, level)| format!("{} = {level}", named(row))));
    records
}

/// A run in which nothing went wrong or fired shows nothing.
fn too_few(want: &Bag, regions: &BTreeSet<&str>) -> Vec<String> {
    let sides = ["conflicts", "late", "duplicates", "overlaps"];
    let sides = sides.map(|side| (format!("inventory.{side} "), 1));
    let alerts = ["restock", "pm25_high"].into_iter().flat_map(|class| {
        regions.iter().map(move |region| (format!("{region} alerts {class} "), ALERTS_MIN))
    });
    let counted = sides.into_iter().chain(alerts).map(|(table, least)| {
        let found = want.keys().filter(|record| record.starts_with(&table)).count();
        (found < least).then(|| format!("the inputs have {found} of at least {least}: {table}"))
    });
    counted.flatten().collect()
}

fn count(records: Vec<String>) -> Bag {
    let mut bag = Bag::new();
    records.into_iter().for_each(|record| *bag.entry(record).or_default() += 1);
    bag
}

fn names(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn part(value: &Value, field: &str) -> String {
    value.pointer(&format!("/{field}")).map(text).unwrap_or_default()
}
