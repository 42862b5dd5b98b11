//! The plan of a run: everything that follows from the seed and the options, before any clock runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{AgentName, EventTime, Random, RegionId, SeededRandom};

use super::causal_case::Planted;
use super::error::QuickstartError;
use super::event::Event;
use super::excerpt::{self, Reading, Sale};
use super::facts::Fact;
use super::fleet::Fleet;
use super::opening::{Stock, stock};
use super::options::Options;
use super::pace::{PAUSE_MAX, Pace};
use super::postings::{Delivery, Posting, postings};
use super::split::Split;

/// Which of an agent's two input files a line goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// Inventory events, JSON lines.
    Inventory,
    /// Air readings, CSV without a header.
    Air,
}

/// A line for an agent's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feed {
    /// When it is played, since the start.
    pub(super) due: Duration,
    /// The moment of the recorded stream at which it is played.
    pub(super) at: EventTime,
    /// Whose input.
    pub(super) site: AgentName,
    /// Which of its files.
    pub(super) stream: Stream,
    /// The line, without its end.
    pub(super) line: String,
}

/// A line kept back until its region's hub has logged a promise past its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldLine {
    /// The region that must have promised.
    pub(super) region: RegionId,
    /// The event's time.
    pub(super) time: EventTime,
    /// Whose input.
    pub(super) site: AgentName,
    /// The line, without its end.
    pub(super) line: String,
}

/// What a run plays and breaks.
#[derive(Debug)]
pub(super) struct Plan {
    /// Regions and agents.
    pub(super) fleet: Fleet,
    /// Opening stock, written before anything is played.
    pub(super) opening: Vec<Feed>,
    /// What is played, in order.
    pub(super) paced: Vec<Feed>,
    /// What is kept back, in the order of its time.
    pub(super) held: Vec<HeldLine>,
    /// Cases with a known causal order.
    pub(super) planted: Planted,
    /// What the checker must be told.
    pub(super) facts: Vec<Fact>,
    /// How long the playing takes.
    pub(super) play: Duration,
    /// When the region is cut off, since the start.
    pub(super) cut_at: Duration,
    /// The region whose hub is killed while the cut lasts.
    pub(super) victim: RegionId,
}

impl Plan {
    /// Plans a run; the same options always give the same plan. O(rows log rows), about 50 ms.
    ///
    /// # Errors
    /// [`QuickstartError`] when what is embedded does not parse.
    pub(super) fn new(options: &Options) -> Result<Self, QuickstartError> {
        let (sales, readings) = (excerpt::sales()?, excerpt::readings()?);
        let stations: BTreeSet<&str> = readings.iter().map(|reading| reading.station).collect();
        let stations: Vec<&str> = stations.into_iter().collect();
        let fleet = Fleet::new(options.regions, &stations)?;
        let mut random = SeededRandom::new(options.seed.get());
        let pace = Pace::new(sales.iter().map(|sale| sale.time));
        let play = options.speed.map_or(options.duration, |speed| speed.play(pace.span()));
        let mut script = Script::new(pace.played_in(play));
        script.write_inventory(&fleet, options, &sales, &mut random);
        script.write_air(&fleet, &readings, play);
        let planted = Planted::new(&fleet);
        script.facts.extend(planted.facts.iter().cloned());
        // From 42 % to 50 % of the run: late enough for the rounds before, early enough to heal.
        let cut_at = play * (42 + u32::try_from(random.below(9)).unwrap_or_default()) / 100;
        let victim = usize::try_from(random.below(fleet.regions().len() as u64)).unwrap_or(0);
        let victim = fleet.regions().get(victim).cloned().ok_or(QuickstartError::NoRegion)?;
        let Script { opening, mut paced, mut held, facts, .. } = script;
        paced.sort_by_key(|feed| (feed.due, feed.at));
        held.sort_by_key(|line| line.time);
        debug_assert!(cut_at < play, "the cut falls into the play");
        debug_assert!(opening.len() >= fleet.sites().len(), "every site opens with some stock");
        Ok(Self { fleet, opening, paced, held, planted, facts, play, cut_at, victim })
    }
}

/// A plan being written.
#[derive(Debug)]
struct Script {
    pace: Pace,
    opening: Vec<Feed>,
    paced: Vec<Feed>,
    held: Vec<HeldLine>,
    facts: Vec<Fact>,
    numbers: BTreeMap<AgentName, usize>,
}

impl Script {
    const fn new(pace: Pace) -> Self {
        Self {
            pace,
            opening: Vec::new(),
            paced: Vec::new(),
            held: Vec::new(),
            facts: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    fn write_inventory(
        &mut self,
        fleet: &Fleet,
        options: &Options,
        sales: &[Sale],
        random: &mut dyn Random,
    ) {
        let split = Split::new(fleet, options.by, sales);
        let mut postings = postings(sales, &split, random);
        let Stock { opening, deliveries } = stock(fleet, &postings, random);
        for posting in &opening {
            let event = self.event(posting);
            let feed = self.feed(posting, &event, posting.time);
            self.opening.push(feed);
        }
        postings.extend(deliveries);
        postings.sort_by_key(|posting| posting.time);
        for posting in &postings {
            self.write(posting, random);
        }
    }

    fn write(&mut self, posting: &Posting<'_>, random: &mut dyn Random) {
        let event = self.event(posting);
        let id = event.id.clone();
        match posting.delivery {
            Delivery::Once => {}
            Delivery::Twice => {
                let pause = u64::try_from(PAUSE_MAX.as_millis()).unwrap_or_default();
                let again = posting.time.plus(Duration::from_millis(random.below(pause)));
                let feed = self.feed(posting, &event, again);
                self.paced.push(feed);
                self.facts.push(Fact::Redelivered { id });
            }
            Delivery::Held => {
                self.held.push(HeldLine {
                    region: posting.site.region.clone(),
                    time: posting.time,
                    site: posting.site.name.clone(),
                    line: event.line(posting.time),
                });
                self.facts.push(Fact::Held { id });
                return;
            }
        }
        let feed = self.feed(posting, &event, posting.time);
        self.paced.push(feed);
    }

    fn write_air(&mut self, fleet: &Fleet, readings: &[Reading], play: Duration) {
        let pace = Pace::new(readings.iter().map(|reading| reading.time)).played_in(play);
        for reading in readings {
            let owner = fleet.sites().iter().find(|site| site.stations.contains(&reading.station));
            self.paced.extend(owner.map(|site| Feed {
                due: pace.due(reading.time),
                at: reading.time,
                site: site.name.clone(),
                stream: Stream::Air,
                line: reading.line.to_owned(),
            }));
        }
    }

    fn event(&mut self, posting: &Posting<'_>) -> Event {
        let number = self.numbers.entry(posting.site.name.clone()).or_default();
        *number += 1;
        Event {
            id: format!("{}/{number:06}", posting.site.name),
            device: posting.site.till(),
            sku: posting.sku.to_owned(),
            location: posting.site.name.to_string(),
            happening: posting.happening.clone(),
        }
    }

    /// The event's line, played at `at`, which is later than its time for a redelivery.
    fn feed(&self, posting: &Posting<'_>, event: &Event, at: EventTime) -> Feed {
        Feed {
            due: self.pace.due(at),
            at,
            site: posting.site.name.clone(),
            stream: Stream::Inventory,
            line: event.line(posting.time),
        }
    }
}
