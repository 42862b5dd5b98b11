//! Three regions as real processes: one is lost, excluded, and comes back as a new life.
#![expect(clippy::indexing_slicing, reason = "a test's helpers are a test")]

use anyhow::{Context, Result, bail};
use headland_tests::binaries;
use headland_tests::cable::Cable;
use headland_tests::fleet::{Fleet, Node, equal_when};
use headland_tests::lines::event;
use headland_tests::process::Process;
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["ap", "eu", "us"];

/// The region that is lost.
const LOST: usize = 2;

/// Hubs of a full mesh with an agent each; paths to the lost one can be cut.
struct Regions {
    fleet: Fleet,
    hubs: Vec<Node>,
    agents: Vec<Node>,
    cables: Vec<Cable>,
}

impl Regions {
    async fn start() -> Result<Self> {
        let fleet = Fleet::new()?;
        let mut hubs = Vec::new();
        for region in REGIONS {
            let hub = fleet.hub(region)?;
            hub.configure("[membership]\nreport_every = \"100ms\"")?;
            let agent = format!("{region}-1");
            hub.grant(&agent, &["inventory.events", "alerts"], &[&format!("{agent}-")])?;
            hubs.push(hub);
        }
        let [ap, eu, us] = &hubs[..] else { bail!("three hubs") };
        let cables = vec![Cable::lay(us.address)?, Cable::lay(us.address)?];
        ap.dial(eu)?;
        eu.expect(ap)?;
        for (hub, cable) in [ap, eu].into_iter().zip(&cables) {
            hub.dial_through(us, cable.address)?;
            us.expect(hub)?;
        }
        let mut agents = Vec::new();
        for (hub, region) in hubs.iter_mut().zip(REGIONS) {
            agents.push(fleet.agent(&format!("{region}-1"), hub)?);
            hub.start().await?;
        }
        for agent in &mut agents {
            agent.start().await?;
        }
        Ok(Self { fleet, hubs, agents, cables })
    }

    /// A device of a region says that units of sku `A` moved.
    fn moved(&self, region: usize, second: u32, kind: &str, quantity: i64) -> Result<()> {
        let agent = format!("{}-1", REGIONS[region]);
        let line = event(&agent, second, kind, "A", quantity);
        self.fleet.append(&format!("{agent}.jsonl"), &[line])
    }

    /// Waits until some hubs see so many units where a region's agent is.
    async fn units(&self, hubs: &[usize], region: usize, units: i64) -> Result<()> {
        let at = format!("{}-1", REGIONS[region]);
        for hub in hubs {
            self.hubs[*hub].units_when("A", &at, units).await?;
        }
        Ok(())
    }

    /// Asks a hub to change a region's part.
    async fn ask(&self, hub: usize, action: &str, region: usize) -> Result<(u16, Value)> {
        let (by, reason) = ("ann", "its disk is gone");
        let asked =
            json!({"action": action, "region": REGIONS[region], "by": by, "reason": reason});
        let answer = self.hubs[hub].api.post("/v1/regions", &asked).await?;
        Ok((answer.code, serde_json::from_str(&answer.body)?))
    }

    /// Waits until some hubs have the same state of inventory, byte for byte.
    async fn equal(&self, hubs: &[usize]) -> Result<()> {
        let hubs: Vec<&Node> = hubs.iter().filter_map(|hub| self.hubs.get(*hub)).collect();
        equal_when(&hubs).await
    }

    /// Where a region's hub has its data, and its backup.
    fn data(&self, region: usize) -> [String; 2] {
        ["data", "backup"].map(|kind| {
            self.fleet.path(&format!("{}.{kind}", REGIONS[region])).display().to_string()
        })
    }

    /// Waits until a hub lists a region's lives as these.
    async fn standings(&self, hub: usize, region: usize, expected: &[&str]) -> Result<Value> {
        let is_so = |view: &Value| standings(view, REGIONS[region]) == expected;
        self.hubs[hub].json_when("/v1/regions", is_so).await
    }
}

/// What the lives of a region are, in their order.
fn standings(view: &Value, region: &str) -> Vec<String> {
    let lives = view["lives"].as_array().into_iter().flatten();
    let of = lives.filter(|life| life["region"] == region);
    of.map(|life| life["standing"].as_str().unwrap_or("unlisted").to_owned()).collect()
}

/// Runs `headland` to its end.
async fn headland(arguments: &[&str]) -> Result<String> {
    let ended = Process::start(&binaries::built()?.hub, arguments)?.ended().await?;
    let said = ended.lines.join("\n");
    if !ended.status.success() {
        bail!("headland {arguments:?}: {said}");
    }
    Ok(said)
}

#[tokio::test]
async fn an_excluded_region_counts_up_to_its_end_and_all_of_it_once_it_returns() -> Result<()> {
    let mut regions = Regions::start().await?;
    let (all, others) = ([0, 1, 2], [0, 1]);
    for region in all {
        regions.moved(region, 1, "restock", 100)?;
        regions.units(&all, region, 100).await?;
    }
    for hub in all {
        regions.standings(hub, LOST, &["active"]).await?;
    }

    // It is lost, sells on, and the others go on without it.
    regions.cables.iter().for_each(Cable::cut);
    regions.moved(LOST, 2, "sale", 7)?;
    regions.units(&[LOST], LOST, 93).await?;
    let own = regions.ask(LOST, "exclude", LOST).await?;
    let (code, view) = regions.ask(0, "exclude", LOST).await?;
    assert_eq!((own.0, code), (409, 200), "{own:?} {view}");
    assert_eq!(standings(&view, "us"), ["excluded"]);
    regions.standings(1, LOST, &["excluded"]).await?;
    regions.moved(0, 2, "sale", 1)?;
    regions.units(&others, 0, 99).await?;

    // It is back: what it wrote beyond its end waits, and it takes in nothing.
    regions.cables.iter().for_each(Cable::heal);
    for hub in others {
        regions.hubs[hub].json_when("/v1/regions", |view| view["held_records"] == 1).await?;
    }
    regions.standings(LOST, LOST, &["excluded"]).await?;
    regions.moved(LOST, 3, "sale", 2)?;
    regions.agents[LOST].says("takes in no inventory any more").await?;
    regions.units(&others, LOST, 100).await?;
    let (code, told) = regions.ask(LOST, "return", LOST).await?;
    assert_eq!(code, 409, "{told}");
    assert!(told["error"].as_str().is_some_and(|text| text.contains("start a new one")), "{told}");

    // It goes on as a new life, and its operator hands in what the former one held.
    let [data, backup] = regions.data(LOST);
    regions.hubs[LOST].stop().await?;
    headland(&["store", "backup", &data, &backup]).await?;
    std::fs::remove_dir_all(&data).context("no data directory")?;
    headland(&["store", "restore", &backup, &data]).await?;
    regions.hubs[LOST].start().await?;
    regions.standings(LOST, LOST, &["excluded", "active"]).await?;
    let (code, told) = regions.ask(LOST, "return", LOST).await?;
    assert_eq!(code, 200, "{told}");

    regions.units(&all, LOST, 91).await?;
    for hub in &regions.hubs {
        hub.json_when("/v1/regions", |view| view["held_records"] == 0).await?;
    }
    regions.equal(&all).await
}

#[tokio::test]
async fn a_region_restored_from_an_old_backup_while_it_sells_ends_like_all_others() -> Result<()> {
    let mut regions = Regions::start().await?;
    let all = [0, 1, 2];
    let [data, backup] = regions.data(LOST);
    regions.moved(LOST, 1, "restock", 100)?;
    regions.units(&all, LOST, 100).await?;
    headland(&["store", "backup", &data, &backup]).await?;
    regions.moved(LOST, 2, "sale", 7)?;
    regions.units(&all, LOST, 93).await?;
    // A life that nobody has heard of yet would not be listed once it is gone.
    regions.standings(0, LOST, &["active"]).await?;

    // Its agent sells on while the hub is away, and sends it again what the backup lacks.
    regions.hubs[LOST].kill().await?;
    std::fs::remove_dir_all(&data).context("no data directory")?;
    regions.moved(LOST, 3, "sale", 2)?;
    headland(&["store", "restore", &backup, &data]).await?;
    regions.hubs[LOST].start().await?;
    regions.moved(LOST, 4, "sale", 1)?;

    regions.units(&all, LOST, 90).await?;
    regions.standings(0, LOST, &["active", "active"]).await?;
    regions.equal(&all).await
}

#[tokio::test]
async fn a_hub_that_joins_does_not_undo_an_exclusion() -> Result<()> {
    let mut regions = Regions::start().await?;
    let (all, others) = ([0, 1, 2], [0, 1]);
    for region in all {
        regions.moved(region, 1, "restock", 100)?;
        regions.units(&all, region, 100).await?;
    }
    for hub in all {
        regions.standings(hub, LOST, &["active"]).await?;
    }
    regions.cables.iter().for_each(Cable::cut);
    regions.moved(LOST, 2, "sale", 7)?;
    regions.units(&[LOST], LOST, 93).await?;
    let (code, view) = regions.ask(0, "exclude", LOST).await?;
    assert_eq!(code, 200, "{view}");
    regions.standings(1, LOST, &["excluded"]).await?;

    // Another one loses its disk, and meets the excluded one when it begins anew.
    let [data, _] = regions.data(1);
    regions.hubs[1].kill().await?;
    std::fs::remove_dir_all(&data).context("no data directory")?;
    regions.cables.iter().for_each(Cable::heal);
    regions.hubs[1].start().await?;
    regions.moved(1, 2, "sale", 1)?;

    regions.units(&others, 1, 99).await?;
    regions.units(&others, LOST, 100).await?;
    for hub in others {
        regions.hubs[hub].json_when("/v1/regions", |view| view["held_records"] == 1).await?;
        regions.standings(hub, LOST, &["excluded"]).await?;
    }
    regions.equal(&others).await
}

#[tokio::test]
async fn a_region_that_drains_takes_in_nothing_and_is_sealed_where_its_log_ends() -> Result<()> {
    let mut regions = Regions::start().await?;
    regions.moved(LOST, 1, "restock", 100)?;
    regions.units(&[0, 1, 2], LOST, 100).await?;
    regions.standings(0, LOST, &["active"]).await?;

    let early = regions.ask(LOST, "seal", LOST).await?;
    let elsewhere = regions.ask(0, "seal", LOST).await?;
    let (drained, view) = regions.ask(0, "drain", LOST).await?;
    regions.standings(LOST, LOST, &["draining"]).await?;
    regions.moved(LOST, 2, "sale", 7)?;
    regions.agents[LOST].says("takes in no inventory any more").await?;
    let (sealed, ends) = regions.ask(LOST, "seal", LOST).await?;

    assert_eq!((early.0, elsewhere.0, drained, sealed), (404, 409, 200, 200), "{view} {ends}");
    let view = regions.standings(1, LOST, &["sealed"]).await?;
    let lives = view["lives"].as_array().context("no lives")?;
    let life = lives.iter().find(|life| life["region"] == "us").context("no life of us")?;
    let ends: Vec<&Value> =
        life["ends"].as_object().into_iter().flatten().map(|(_, end)| end).collect();
    assert_eq!(ends, [&json!(1)]);
    regions.units(&[0, 1, 2], LOST, 100).await
}
