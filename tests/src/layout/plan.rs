//! Regions with the topics they write, which of them are linked, and what they call each other.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Random, SeededRandom};

/// What a region calls another one, in its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The other one's alias.
    alias: String,
    /// Whether topics keep the names they have there.
    is_identity: bool,
}

/// Regions by name with the topics they write, and which of them are linked.
#[derive(Debug, Clone)]
pub struct Layout {
    /// A region's name and its topics'.
    pub regions: Vec<(String, Vec<String>)>,
    /// Pairs of regions by index.
    pub links: BTreeSet<(usize, usize)>,
    /// What the first one calls the second one, where that is not its name.
    pub called: BTreeMap<(usize, usize), Called>,
}

impl Layout {
    /// Draws two to six regions with names and topics that look like each other's, linked so that
    /// each reaches each.
    ///
    /// # Panics
    /// Never: what is drawn is within its lists.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        const NAMES: [&str; 8] = ["us", "us.west", "eu", "eu.us", "a", "a.b", "us-2", "west"];
        const TOPICS: [&str; 6] =
            ["orders", "us.orders", "west.orders", "b.orders", "us.west.orders", "eu.us.orders"];
        let mut random = SeededRandom::new(seed);
        let mut draw =
            |below: usize| usize::try_from(random.below(u64::try_from(below).unwrap())).unwrap();
        let mut names = NAMES.to_vec();
        let regions = (0..2 + draw(5)).map(|_| {
            let name = names.remove(draw(names.len())).to_owned();
            let topics: BTreeSet<&str> = (0..1 + draw(3)).map(|_| TOPICS[draw(6)]).collect();
            (name, topics.into_iter().map(ToOwned::to_owned).collect())
        });
        let regions: Vec<_> = regions.collect();
        // A tree reaches everybody; what comes on top makes rings.
        let mut links: BTreeSet<_> =
            (1..regions.len()).map(|region| (draw(region), region)).collect();
        for _ in 0..draw(regions.len()) {
            let (one, other) = (draw(regions.len()), draw(regions.len()));
            if one != other {
                links.insert((one.min(other), one.max(other)));
            }
        }
        Self { regions, links, called: BTreeMap::new() }.renamed(seed)
    }

    /// The same with other names for regions, each drawn by who uses it: one may be called what a
    /// third one is, and topics may keep the names they had.
    ///
    /// # Panics
    /// Never: what is drawn is within its lists.
    #[must_use]
    pub fn renamed(mut self, seed: u64) -> Self {
        const ALIASES: [&str; 7] = ["us", "us.west", "amer.ica", "a.b", "west", "eu.us", "us.eu"];
        let mut random = SeededRandom::new(seed ^ 0x5eed);
        self.called.clear();
        for at in 0..self.regions.len() {
            let others = self.links.iter().filter_map(|(one, other)| match at {
                at if at == *one => Some(*other),
                at if at == *other => Some(*one),
                _ => None,
            });
            let others: Vec<usize> = others.collect();
            let mut free = ALIASES.to_vec();
            let taken = |index: usize| self.regions[index].0.clone();
            // A configuration is refused in which an alias is the region of another peer.
            free.retain(|alias| {
                *alias != taken(at) && others.iter().all(|of| *alias != taken(*of))
            });
            for of in others {
                let way = random.below(4);
                let alias = if way == 0 || free.is_empty() {
                    taken(of)
                } else {
                    let among = u64::try_from(free.len()).unwrap();
                    free.remove(usize::try_from(random.below(among)).unwrap()).to_owned()
                };
                self.called.insert((at, of), Called { alias, is_identity: way == 3 });
            }
        }
        self
    }

    /// So many regions that each write `orders`, linked as told.
    #[must_use]
    pub fn of(regions: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let region = |index: usize| (format!("r{index}"), vec!["orders".to_owned()]);
        let links = links.into_iter().map(|(one, other)| (one.min(other), one.max(other)));
        let (regions, links) = ((0..regions).map(region).collect(), links.collect());
        Self { regions, links, called: BTreeMap::new() }
    }

    /// How many links lie between two regions at least.
    ///
    /// # Panics
    /// When there is no way from one to the other.
    #[must_use]
    pub fn distance(&self, from: usize, to: usize) -> usize {
        let mut reached = BTreeSet::from([from]);
        for steps in 0..self.regions.len() {
            if reached.contains(&to) {
                return steps;
            }
            let ends = self.links.iter().flat_map(|(one, other)| [(one, other), (other, one)]);
            let next: Vec<usize> =
                ends.filter(|(one, _)| reached.contains(one)).map(|(_, other)| *other).collect();
            reached.extend(next);
        }
        panic!("region {to} is not reached from {from}")
    }

    pub(super) fn config(&self, region: usize) -> String {
        let (name, topics) = &self.regions[region];
        let mut text = format!(
            "region = \"{name}\"\nname = \"hub-1\"\ndata_dir = \"none\"\n\
             listen = {{ address = \"127.0.0.1:1\" }}\napi = {{ socket = \"none\" }}\n\
             tls = {{ ca_file = \"none\", certificate_file = \"none\", key_file = \"none\" }}\n"
        );
        for topic in topics {
            text += &format!("[[topic]]\nname = \"{topic}\"\npartitions = 1\n");
        }
        for (one, other) in self.links.iter().filter(|(one, other)| [one, other].contains(&&region))
        {
            let of = if *one == region { *other } else { *one };
            let peer = &self.regions[of].0;
            text += &format!("[[peer]]\nregion = \"{peer}\"\nname = \"hub-1\"\nforward = true\n");
            if let Some(Called { alias, is_identity }) = self.called.get(&(region, of)) {
                text += &format!("alias = \"{alias}\"\n");
                text += if *is_identity { "names = \"identity\"\n" } else { "" };
            }
        }
        text + &format!("[[agent]]\nname = \"a\"\ntopics = {topics:?}\ndevices = [\"*\"]\n")
    }
}
