//! What agents read: lines of inventory and of air, with the ones that go wrong.

use bytes::Bytes;
use edge_agent::decode::Line;
use edge_agent::outbox::FilePosition;
use headland_event::{Random, SeededRandom};

use super::topology::{REGIONS, agent_name};

/// Lines of inventory per agent.
const INVENTORY_LINES: u64 = 24;

/// Lines of air per agent.
const AIR_LINES: u64 = 14;

/// The columns of air files, as the quickstart's rules declare them.
const AIR_COLUMNS: &str = "station,time,pm25,pm10,temp,wind";

/// Minutes after midnight at which streams begin.
const FIRST_MINUTE: u64 = 7 * 60;

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The first line of a CSV file.
    Columns,
    /// It becomes a record.
    Record,
    /// It becomes a record of a device that its agent may not speak for.
    Forbidden,
    /// It becomes a dead letter.
    Dead,
}

/// One line of a file.
#[derive(Debug, Clone)]
pub(super) struct InputLine {
    /// Without its line break.
    pub(super) text: Bytes,
    pub(super) fate: Fate,
}

/// One file of an agent.
#[derive(Debug, Clone)]
pub(super) struct InputFile {
    /// The topic its lines go to.
    pub(super) topic: &'static str,
    pub(super) lines: Vec<InputLine>,
}

impl InputFile {
    /// The lines after a position, at most `count`, and the position behind them.
    pub(super) fn chunk(&self, from: FilePosition, count: usize) -> (Vec<Line>, FilePosition) {
        let start = usize::try_from(from.lines).unwrap();
        let mut position = from;
        let mut lines = Vec::new();
        for line in self.lines.iter().skip(start).take(count) {
            position.lines += 1;
            position.bytes += u64::try_from(line.text.len()).unwrap() + 1;
            lines.push(Line { bytes: line.text.clone(), number: position.lines });
        }
        (lines, position)
    }

    /// The first line, which a file of air names its columns in.
    pub(super) fn first_line(&self) -> Line {
        Line { bytes: self.lines[0].text.clone(), number: 1 }
    }

    /// Whether a position is behind the last line.
    pub(super) fn is_read(&self, position: FilePosition) -> bool {
        position.lines >= u64::try_from(self.lines.len()).unwrap()
    }
}

/// Files of so many agents, inventory and air.
pub(super) fn draw(random: &mut SeededRandom, agents: usize) -> Vec<[InputFile; 2]> {
    let mut told = Vec::new();
    (0..agents).map(|agent| [inventory(random, agent, &mut told), air(random, agent)]).collect()
}

/// What a line of inventory says, less the device that says it; copies repeat it.
type Content = String;

fn inventory(random: &mut SeededRandom, agent: usize, told: &mut Vec<Content>) -> InputFile {
    let name = agent_name(agent);
    let mut minute = FIRST_MINUTE;
    let mut lines = Vec::new();
    for number in 0..INVENTORY_LINES {
        minute += random.below(30);
        // A tenth comes hours after its time, some of it later than any watermark waits.
        let late = if random.below(10) == 0 { 60 + random.below(300) } else { 0 };
        let is_copy = !told.is_empty() && random.below(8) == 0;
        let content = if is_copy {
            told[index(random, told.len())].clone()
        } else {
            let content = event(random, &name, number, minute.saturating_sub(late));
            told.push(content.clone());
            content
        };
        let is_forbidden = random.below(25) == 0;
        let device = if is_forbidden { "rogue-till".to_owned() } else { format!("{name}-till") };
        let text = format!("{{\"device\":\"{device}\",{content}}}");
        let fate = if is_forbidden { Fate::Forbidden } else { Fate::Record };
        lines.push(InputLine { text: Bytes::from(text), fate });
        if random.below(20) == 0 {
            let text = Bytes::from(format!("{{\"id\":\"{name}/{number}\", torn"));
            lines.push(InputLine { text, fate: Fate::Dead });
        }
    }
    InputFile { topic: "inventory.events", lines }
}

fn event(random: &mut SeededRandom, agent: &str, number: u64, minute: u64) -> Content {
    let sku = format!("sku-{}", random.below(3));
    // Half of what happens is about a shelf that every region speaks of.
    let location = if random.below(2) == 0 { "hall" } else { agent };
    let body = match random.below(12) {
        0..=3 => posting("sale", location, 1 + random.below(25)),
        4 => posting("sale", location, 90 + random.below(40)),
        5 => posting("return", location, 1 + random.below(5)),
        6 | 7 => posting("restock", location, 20 + random.below(120)),
        8 => format!(
            r#""kind":"adjustment","location":"{location}","quantity":-{}"#,
            1 + random.below(4)
        ),
        9 => format!(r#""kind":"stocktake","location":"{location}","count":{}"#, random.below(80)),
        10 => {
            format!(r#""kind":"attribute","attribute":"price","value":"{}""#, random.below(1_000))
        }
        // Read by rules and by hubs, but no event that could count.
        _ => posting("gift", location, 1),
    };
    let time = rfc3339(minute);
    format!(r#""id":"{agent}/{number:04}","sku":"{sku}",{body},"time":"{time}""#)
}

fn posting(kind: &str, location: &str, quantity: u64) -> String {
    format!(r#""kind":"{kind}","location":"{location}","quantity":{quantity}"#)
}

fn air(random: &mut SeededRandom, agent: usize) -> InputFile {
    let name = agent_name(agent);
    let columns = Bytes::from_static(AIR_COLUMNS.as_bytes());
    let mut lines = vec![InputLine { text: columns, fate: Fate::Columns }];
    let mut minute = FIRST_MINUTE;
    for _ in 0..AIR_LINES {
        minute += 20 + random.below(60);
        let late = if random.below(10) == 0 { 200 } else { 0 };
        let station = format!("{name}-station-{}", random.below(2));
        let time = rfc3339(minute.saturating_sub(late));
        let (pm25, is_dead) = (random.below(240), random.below(20) == 0);
        let text = if is_dead {
            format!("{station},{time}")
        } else {
            format!("{station},{time},{pm25},NA,-{},1.5", random.below(9))
        };
        let fate = if is_dead { Fate::Dead } else { Fate::Record };
        lines.push(InputLine { text: Bytes::from(text), fate });
    }
    InputFile { topic: "air.readings", lines }
}

/// A minute of 2010-12-01, or of the days after it.
fn rfc3339(minute: u64) -> String {
    let (day, hour, minute) = (1 + minute / 1_440, minute / 60 % 24, minute % 60);
    format!("2010-12-{day:02}T{hour:02}:{minute:02}:00Z")
}

/// An index below a length that is not 0.
pub(super) fn index(random: &mut SeededRandom, length: usize) -> usize {
    usize::try_from(random.below(u64::try_from(length).unwrap())).unwrap()
}

/// Regions that a name of a mirrored topic may begin with.
pub(super) fn mirror_prefix(topic: &str) -> Option<(usize, &str)> {
    let (prefix, rest) = topic.split_once('.')?;
    let region = REGIONS.iter().position(|region| *region == prefix)?;
    Some((region, rest))
}
