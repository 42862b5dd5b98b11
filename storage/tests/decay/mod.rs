//! Damages files at random, and knows what stood where.

use std::collections::BTreeMap;
use std::ops::Range;

use headland_event::{Entry, Random, SeededRandom, TopicPartition};
use headland_storage::MemoryDisk;

/// A number that the environment asks for.
pub fn wish(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a failing seed is run again by its number")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text:?}: {error}")))
}

/// What was done to a file.
#[derive(Debug)]
pub struct Rot {
    pub name: String,
    /// Bytes that are different now, or gone.
    pub range: Range<usize>,
}

/// Damages a file; `None` when nothing is different now.
pub fn rot(files: &mut BTreeMap<String, Vec<u8>>, random: &mut SeededRandom) -> Option<Rot> {
    let mut below = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let name = files.keys().nth(below(files.len()))?.clone();
    let content = files.get_mut(&name)?;
    if content.is_empty() {
        return None;
    }
    let before = content.clone();
    let at = below(content.len());
    let end = (at + 1 + below(300)).min(content.len());
    match below(4) {
        0 => content[at] ^= 1 << below(8),
        1 => content[at..end].fill(0),
        2 => content[at..end].fill_with(|| u8::try_from(below(256)).unwrap()),
        _ => content.truncate(at),
    }
    let is_same = |n: &usize| content.get(*n) == before.get(*n);
    let first = (0..before.len()).find(|n| !is_same(n))?;
    let last = (0..before.len()).rev().find(|n| !is_same(n))?;
    Some(Rot { name, range: first..last + 1 })
}

/// All files of a disk.
pub fn contents(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let content = |name: String| {
        let bytes = disk.content(&name).unwrap().to_vec();
        (name, bytes)
    };
    disk.names().into_iter().map(content).collect()
}

/// Where an entry's part stands in the files: in more than one when some were copied.
pub fn place<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    at: &TopicPartition,
    entry: &Entry,
) -> impl Iterator<Item = (String, Range<usize>)> + 'a {
    let topic = at.topic.as_str();
    let mut prefix = vec![u8::try_from(topic.len()).unwrap()];
    prefix.extend_from_slice(topic.as_bytes());
    prefix.extend_from_slice(&at.partition.get().to_be_bytes());
    prefix.extend_from_slice(&entry.base.get().to_be_bytes());
    let is_ours = |name: &str| name.ends_with(".journal") || name.ends_with(".cold");
    let ours = files.iter().filter(move |(name, _)| is_ours(name));
    ours.flat_map(move |(name, content)| {
        let starts = content.windows(prefix.len()).enumerate();
        let starts = starts.filter(|(_, window)| *window == prefix).map(|(start, _)| start);
        // The same bytes stand in directories, chains and values, without a checksum before them.
        let parts = starts.filter_map(|start| {
            let length = u32::from_be_bytes(*content[..start].last_chunk()?);
            let end = start + usize::try_from(length).ok()?;
            let crc = content.get(start - 8..start - 4)?;
            let part = content.get(start - 4..end)?;
            (crc == crc32c::crc32c(part).to_be_bytes()).then(|| (name.clone(), start - 8..end))
        });
        parts.collect::<Vec<_>>()
    })
}
