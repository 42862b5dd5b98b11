//! What the hubs hold, read through their API into files, for the checker and for people.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use headland_event::RegionId;
use serde_json::Value;

use super::api::{Api, Page, TopicListing};
use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::nodes::Nodes;

/// Records asked for at once.
const PAGE_RECORDS: u32 = 1_000;

/// How many records each hub has of each topic, by the topic's name there.
pub(super) type Counts = BTreeMap<RegionId, BTreeMap<String, u64>>;

/// Reads all topics of all hubs, internal ones aside, into `dump/<region>/<topic>.jsonl`.
///
/// A line is a record as the API gives it, with its partition added.
///
/// # Errors
/// [`QuickstartError`] when a hub does not answer or a file cannot be written.
pub(super) async fn dump(
    nodes: &Nodes,
    directory: &RunDirectory,
) -> Result<Counts, QuickstartError> {
    let mut counts = Counts::new();
    for (region, api) in nodes.hubs() {
        let folder = directory.path().join("dump").join(region.as_str());
        std::fs::create_dir(&folder).map_err(QuickstartError::file("create", &folder))?;
        let topics: Vec<TopicListing> = api.get("/v1/topics").await?;
        let of_region = counts.entry(region.clone()).or_default();
        for listing in topics.iter().filter(|listing| !is_internal(&listing.topic)) {
            let file = folder.join(format!("{}.jsonl", listing.topic));
            let count = dump_topic(api, listing, &file).await?;
            of_region.insert(listing.topic.clone(), count);
        }
    }
    Ok(counts)
}

/// Topics that begin with an underscore are the system's own, mirrored or not.
fn is_internal(topic: &str) -> bool {
    topic.starts_with('_') || topic.contains("._")
}

async fn dump_topic(
    api: &Api,
    listing: &TopicListing,
    path: &Path,
) -> Result<u64, QuickstartError> {
    let file = File::create_new(path).map_err(QuickstartError::file("create", path))?;
    let mut file = BufWriter::new(file);
    let mut count = 0;
    for partition in &listing.partitions {
        let mut next = 0;
        while next < partition.end {
            let topic = format!("/v1/topics/{}/{}", listing.topic, partition.partition);
            let path_of = format!("{topic}/records?from={next}&max={PAGE_RECORDS}");
            let page: Page = api.get(&path_of).await?;
            if page.next <= next {
                break;
            }
            next = page.next;
            for mut record in page.records {
                record.insert("partition".to_owned(), Value::from(partition.partition));
                let line = Value::Object(record);
                writeln!(file, "{line}").map_err(QuickstartError::file("write", path))?;
                count += 1;
            }
        }
    }
    file.flush().map_err(QuickstartError::file("write", path))?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_internal_at_home_and_mirrored() {
        assert!(is_internal("_promises") && is_internal("eu._promises"));
        assert!(!is_internal("eu.inventory.events"));
    }
}
