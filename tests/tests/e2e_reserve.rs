//! Reservations at real hubs: granted from what a hub holds, once, behind a cut too.
#![expect(clippy::indexing_slicing, reason = "a test's helpers are a test")]

use anyhow::{Context, Result, bail};
use headland_tests::binaries;
use headland_tests::cable::Cable;
use headland_tests::fleet::{Fleet, Node};
use headland_tests::lines::event;
use headland_tests::process::Process;
use serde_json::{Value, json};

/// Units put up for sale.
const UNITS: i64 = 10;

/// Two regions that sell the same stock, over a path that can be cut.
struct Shops {
    fleet: Fleet,
    hubs: [Node; 2],
    cable: Cable,
}

impl Shops {
    async fn open() -> Result<Self> {
        let fleet = Fleet::new()?;
        let mut hubs = [fleet.hub("eu")?, fleet.hub("us")?];
        let [eu, us] = &hubs;
        let cable = Cable::lay(eu.address)?;
        eu.expect(us)?;
        us.dial_through(eu, cable.address)?;
        for hub in &mut hubs {
            hub.configure("[escrow]\nfloor = 0\nask_again = \"100ms\"")?;
            hub.start().await?;
        }
        let linked = |status: &Value| status["links"][0]["state"] == "up";
        hubs[0].status_when(linked).await?;
        Ok(Self { fleet, hubs, cable })
    }

    /// What one hub says when a customer asks for one unit.
    async fn ask(&self, hub: usize, request: &str) -> Result<String> {
        let asked = json!({"request": request, "sku": "A", "units": 1});
        let answer = self.hubs[hub].api.post("/v1/reserve", &asked).await?;
        let told: Value = serde_json::from_str(&answer.body)?;
        Ok(told["answer"].as_str().with_context(|| answer.body.clone())?.to_owned())
    }

    /// Lets customers ask one hub until one is refused; returns how many were granted a unit.
    async fn sell_out(&self, hub: usize) -> Result<i64> {
        for granted in 0..=UNITS {
            if self.ask(hub, &format!("{hub}/{granted}")).await? != "granted" {
                return Ok(granted);
            }
        }
        bail!("hub {hub} granted more than there is")
    }

    /// Units that a hub can promise once it has heard of them.
    async fn here_when(&self, hub: usize, units: i64) -> Result<()> {
        let has = |rights: &Value| rights["here"] == units;
        self.hubs[hub].json_when("/v1/rights?sku=A", has).await.map(drop)
    }
}

/// What `headland` prints, and whether it ended well.
async fn headland(arguments: &[&str]) -> Result<(bool, String)> {
    let ended = Process::start(&binaries::built()?.hub, arguments)?.ended().await?;
    Ok((ended.status.success(), ended.lines.join("\n")))
}

#[tokio::test]
async fn two_regions_that_are_cut_off_sell_what_they_hold_and_no_unit_twice() -> Result<()> {
    let shops = Shops::open().await?;
    let offered = json!({"request": "first", "sku": "A", "units": UNITS});
    shops.hubs[0].api.post("/v1/rights", &offered).await?;
    // Whoever does not know yet that there is something asks nobody for it.
    let knows = |rights: &Value| rights["holders"].as_object().is_some_and(|all| !all.is_empty());
    shops.hubs[1].json_when("/v1/rights?sku=A", knows).await?;
    let four = json!({"request": "early", "sku": "A", "units": 4});
    shops.hubs[1].api.post("/v1/reserve", &four).await?;
    shops.here_when(1, 4).await?;

    shops.cable.cut();
    let (sold_in_eu, sold_in_us) = (shops.sell_out(0).await?, shops.sell_out(1).await?);
    shops.cable.heal();
    let again = [shops.ask(0, "0/0").await?, shops.ask(0, "late").await?];

    assert_eq!((sold_in_eu, sold_in_us), (6, 4));
    assert_eq!(again, ["granted", "not-here"]);
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_repeated_counts_once_also_after_a_kill() -> Result<()> {
    let mut shops = Shops::open().await?;
    shops.hubs[0]
        .api
        .post("/v1/rights", &json!({"request": "first", "sku": "A", "units": UNITS}))
        .await?;

    let first = [shops.ask(0, "a").await?, shops.ask(0, "a").await?];
    shops.hubs[0].kill().await?;
    shops.hubs[0].start().await?;
    let again = shops.ask(0, "a").await?;

    assert_eq!((first.map(|told| told == "granted"), &*again), ([true; 2], "granted"));
    let rights = shops.hubs[0].api.json("/v1/rights?sku=A").await?;
    assert_eq!(rights["here"], UNITS - 1);
    let other = json!({"request": "a", "sku": "A", "units": 2});
    assert_eq!(shops.hubs[0].api.post("/v1/reserve", &other).await?.code, 409);
    Ok(())
}

#[tokio::test]
async fn the_command_line_offers_reserves_shows_and_ends_well_only_when_the_hub_does_it()
-> Result<()> {
    let shops = Shops::open().await?;
    let socket = shops.fleet.path("eu.sock");
    let socket = socket.to_str().context("a path that is not UTF-8")?;
    let at = ["--socket", socket, "A"];

    let offered =
        headland(&[&["reserve", "offer"][..], &at, &["--request", "o", "--units", "3"]].concat())
            .await?;
    let asked = ["--request", "b", "--units", "2"];
    let granted = headland(&[&["reserve", "units"][..], &at, &asked].concat()).await?;
    let shown = headland(&[&["reserve", "show"][..], &at].concat()).await?;
    let close = ["--request", "c", "--outcome", "sold"];
    let unknown = headland(&[&["reserve", "close"][..], &at, &close].concat()).await?;

    assert_eq!(offered, (true, "{\"durable\":true}".to_owned()));
    assert_eq!(granted, (true, "{\"answer\":\"granted\"}".to_owned()));
    assert!(shown.0 && shown.1.contains("\"here\":1"), "{}", shown.1);
    assert!(!unknown.0, "{}", unknown.1);
    assert!(unknown.1.contains("no reservation c of sku A is open here"), "{}", unknown.1);
    Ok(())
}

#[tokio::test]
async fn stock_of_any_region_is_looked_up_at_any_hub_with_the_cut_it_reflects() -> Result<()> {
    let mut shops = Shops::open().await?;
    shops.hubs[0].stop().await?;
    shops.hubs[0].grant("eu-1", &["inventory.events"], &["eu-1-"])?;
    let mut agent = shops.fleet.agent("eu-1", &shops.hubs[0])?;
    shops.fleet.append("eu-1.jsonl", &[event("eu-1", 1, "restock", "A", 7)])?;
    shops.hubs[0].start().await?;
    agent.start().await?;
    shops.hubs[1].units_when("A", "eu-1", 7).await?;

    let socket = shops.fleet.path("us.sock");
    let socket = socket.to_str().context("a path that is not UTF-8")?;
    let (is_told, told) = headland(&["stock", "--socket", socket, "A"]).await?;
    let (is_known, unknown) = headland(&["stock", "--socket", socket, "Z"]).await?;

    let stock: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
    assert_eq!((is_told, &stock["units"]), (true, &json!({"eu-1": 7})));
    let cut = stock["reflects"].as_object().context("no cut")?;
    let ends: Vec<(bool, &Value)> =
        cut.iter().map(|(log, end)| (log.starts_with("eu@1-"), end)).collect();
    assert_eq!(ends, [(true, &json!(1))]);
    assert!(!is_known && unknown.contains("nothing is known of sku Z"), "{unknown}");
    Ok(())
}
