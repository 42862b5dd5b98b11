//! What hubs call other regions, and how that changes from start to start.

use headland_event::{Random, SeededRandom};

use super::input::index;
use super::topology::REGIONS;

/// Other hubs of a hub.
pub(super) const PEERS: usize = REGIONS.len() - 1;

/// What a region may be called. Copies then have names with more dots, that look like those of
/// copies of a copy, and that begin as topics of a hub's own do.
const ALIASES: [&str; 6] = ["europe", "amer.ica", "eu.us", "inventory", "air", LOOK_ALIKE];

/// What a region may be called, and the first part of the name of a topic that every hub has of
/// its own.
const LOOK_ALIKE: &str = "west";

/// What a hub calls another region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Called {
    pub(super) alias: Option<&'static str>,
    /// Whether topics are found by the names they have there.
    is_identity: bool,
}

impl Called {
    /// The lines of a peer's configuration.
    pub(super) fn config(self) -> String {
        let Self { alias, is_identity } = self;
        let alias = alias.map(|alias| format!("alias = \"{alias}\"\n"));
        alias.unwrap_or_default() + if is_identity { "names = \"identity\"\n" } else { "" }
    }
}

/// What a hub calls its peers next: one of them as its region again or something else, with
/// prefixes or without.
pub(super) fn renamed(random: &mut SeededRandom, mut called: [Called; PEERS]) -> [Called; PEERS] {
    let peer = index(random, PEERS);
    let taken = called.map(|of| of.alias);
    let free = ALIASES.into_iter().filter(|alias| !taken.contains(&Some(alias)));
    let free: Vec<&str> = free.collect();
    let Called { alias, is_identity } = &mut called[peer];
    match random.below(4) {
        0 => *is_identity = !*is_identity,
        1 | 2 if alias.is_some() => *alias = None,
        _ => *alias = Some(free[index(random, free.len())]),
    }
    called
}

/// A topic of a hub's own whose name is that of another region's copy, where that is called so.
pub(super) fn look_alike() -> String {
    format!("[[topic]]\nname = \"{LOOK_ALIKE}.air.readings\"\npartitions = 8\n")
}
