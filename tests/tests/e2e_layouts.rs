//! Three real hubs in a chain and in a ring, which call each other what is mistaken for something
//! else, while agents produce and the hub in the middle is killed.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::Result;
use headland_tests::fleet::{Fleet, Node, RULES, TOPICS};
use headland_tests::lines::{READING_COLUMNS, readings};
use serde_json::Value;

/// What agents of each region write.
const SOURCE: &str = "air.readings";

/// What an agent of `eu` writes as well: a topic that is called as a copy of that of `us` would be.
const ALIKE: &str = "us.air.readings";

/// Agents by the region of their hub; `eu-2` writes [`ALIKE`].
const AGENTS: [(&str, usize); 4] = [("eu-1", 0), ("eu-2", 0), ("us-1", 1), ("ap-1", 2)];

/// Records that each agent writes.
const RECORDS: usize = 60;

/// The hubs of `eu`, `us` and `ap`, without links.
fn hubs(fleet: &Fleet) -> Result<[Node; 3]> {
    let hubs = [fleet.hub("eu")?, fleet.hub("us")?, fleet.hub("ap")?];
    let [eu, ..] = &hubs;
    eu.configure(&format!("[[topic]]\nname = \"{ALIKE}\"\npartitions = 1"))?;
    for (agent, at) in AGENTS {
        let topics = if agent == "eu-2" { [ALIKE, "inventory.events", "alerts"] } else { TOPICS };
        hubs.iter().skip(at).take(1).try_for_each(|hub| hub.grant(agent, &topics, &["*"]))?;
    }
    Ok(hubs)
}

/// Links two hubs that pass on what came from others; each with what it says of the other one.
fn link((one, says): (&Node, &str), (other, says_back): (&Node, &str)) -> Result<()> {
    let peer = |of: &Node, more: &str| {
        format!("[[peer]]\nregion = \"{}\"\nname = \"hub-1\"\nforward = true\n{more}", of.name())
    };
    one.configure(&peer(other, &format!("address = \"{}\"\n{says}", other.address)))?;
    other.configure(&peer(one, says_back))
}

fn write(fleet: &Fleet, numbers: &Range<usize>) -> Result<()> {
    let lines = readings(numbers.clone());
    AGENTS.iter().try_for_each(|(agent, _)| fleet.append(&format!("{agent}.csv"), &lines))
}

/// Dots of records, of which there are so many and none is there twice.
fn dots(records: &[Value], count: usize, what: &str) -> BTreeSet<String> {
    let dots: BTreeSet<String> = records.iter().map(|record| record["dot"].to_string()).collect();
    assert_eq!((records.len(), dots.len()), (count, count), "{what}");
    dots
}

fn records(page: &Value) -> &[Value] {
    page["records"].as_array().map_or(&[], Vec::as_slice)
}

/// The dots of a topic of all regions, as who reads the union has them at a hub.
async fn union(hub: &Node, topic: &str, count: usize) -> Result<BTreeSet<String>> {
    let path = format!("/v1/groups/all/records?topic={topic}@*&max=1000");
    let page = hub.json_when(&path, |page| records(page).len() >= count).await?;
    Ok(dots(records(&page), count, &format!("{topic}@* at {}", hub.name())))
}

/// Whether a copy of a region's topic that came over so many regions has all there is.
fn is_whole(topics: &Value, origin: &str, hops: usize) -> bool {
    let mut copies = topics.as_array().into_iter().flatten();
    copies.any(|copy| {
        copy["origin"] == origin
            && copy["origin_name"] == SOURCE
            && copy["path"].as_array().is_some_and(|path| path.len() == hops)
            && copy.pointer("/partitions/0/end").is_some_and(|end| *end == RECORDS)
    })
}

/// Has agents write while the middle one of three linked hubs is killed; `hops` lie between the
/// other two.
async fn every_record_counts_once(fleet: &Fleet, mut hubs: [Node; 3], hops: usize) -> Result<()> {
    for hub in &mut hubs {
        hub.start().await?;
    }
    let mut agents = Vec::new();
    fleet.write("alike.sql", &RULES.replace(&format!("'{SOURCE}'"), &format!("'{ALIKE}'")))?;
    for (name, at) in AGENTS {
        fleet.append(&format!("{name}.csv"), &[READING_COLUMNS])?;
        for hub in hubs.iter().skip(at).take(1) {
            let mut agent = fleet.agent(name, hub)?;
            if name == "eu-2" {
                agent.reconfigure("rules.sql", "alike.sql")?;
            }
            agent.start().await?;
            agents.push(agent);
        }
    }
    let [eu, us, ap] = &mut hubs;
    write(fleet, &(0..20))?;
    us.kill().await?;
    write(fleet, &(20..40))?;
    us.start().await?;
    write(fleet, &(40..RECORDS))?;

    let alike = dots(&eu.records_when(ALIKE, RECORDS).await?, RECORDS, ALIKE);
    let mut all = BTreeSet::new();
    for hub in [&*eu, &*us, &*ap] {
        all.extend(dots(&hub.records_when(SOURCE, RECORDS).await?, RECORDS, hub.name()));
    }
    for hub in [&*eu, &*us, &*ap] {
        assert_eq!(union(hub, SOURCE, 3 * RECORDS).await?, all, "at {}", hub.name());
        assert_eq!(union(hub, ALIKE, RECORDS).await?, alike, "at {}", hub.name());
    }
    for (hub, others) in [
        (&*eu, [("us", 1), ("ap", hops)]),
        (&*us, [("eu", 1), ("ap", 1)]),
        (&*ap, [("us", 1), ("eu", hops)]),
    ] {
        for (origin, hops) in others {
            hub.json_when("/v1/topics", |topics| is_whole(topics, origin, hops)).await?;
        }
    }
    for agent in &mut agents {
        agent.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn in_a_chain_of_real_hubs_every_record_counts_once_whatever_they_call_each_other()
-> Result<()> {
    let fleet = Fleet::new()?;
    let hubs = hubs(&fleet)?;
    let [eu, us, ap] = &hubs;
    // What `ap` calls its neighbour is a third region's id; `eu` has a topic of the name that its
    // copy of `us` would have.
    link((us, "alias = \"e.u\""), (eu, ""))?;
    link((us, "alias = \"eu.ap\""), (ap, "alias = \"eu\""))?;

    every_record_counts_once(&fleet, hubs, 2).await
}

#[tokio::test]
async fn in_a_ring_of_real_hubs_every_record_counts_once_whatever_they_call_each_other()
-> Result<()> {
    let fleet = Fleet::new()?;
    let hubs = hubs(&fleet)?;
    let [eu, us, ap] = &hubs;
    link((us, "alias = \"e.u\""), (eu, ""))?;
    link((us, "names = \"identity\""), (ap, "alias = \"us.east\""))?;
    link((ap, "alias = \"us.eu\""), (eu, "alias = \"us.ap\""))?;

    every_record_counts_once(&fleet, hubs, 1).await
}
