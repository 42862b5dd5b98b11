//! A copy of a topic is kept as its origin says, in regions of real processes.

use anyhow::Result;
use headland_tests::fleet::{Fleet, TOPICS};
use headland_tests::lines::{READING_COLUMNS, readings};
use serde_json::{Value, json};

const SOURCE: &str = "air.readings";
const MIRROR: &str = "eu.air.readings";

#[tokio::test]
async fn what_a_running_hub_keeps_of_a_topic_holds_for_the_copy_in_the_other_region() -> Result<()>
{
    let fleet = Fleet::new()?;
    let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
    eu.grant("eu-1", &TOPICS, &["*"])?;
    eu.expect(&us)?;
    us.dial(&eu)?;
    // What is declared here decides of copies: that is left to their origins.
    let declared = format!("name = \"{SOURCE}\"\n");
    us.reconfigure(&declared, &format!("{declared}copies = \"origin\"\n"))?;
    let mut agent = fleet.agent("eu-1", &eu)?;
    fleet.append("eu-1.csv", &[READING_COLUMNS])?;
    fleet.append("eu-1.csv", &readings(0..10))?;
    eu.start().await?;
    us.start().await?;
    agent.start().await?;
    let kept = async |said: Value| {
        // It is among the topics once something of it has come.
        let is_so =
            |of: &Value| of.get("topic") == Some(&json!(MIRROR)) && of.get("kept") == Some(&said);
        us.json_when("/v1/topics", |found| {
            found.as_array().is_some_and(|all| all.iter().any(is_so))
        })
        .await
        .map(drop)
    };
    let by_origin = |retention: Value| {
        let mut said = json!({ "said_by": "origin", "compacted": false });
        said.as_object_mut().into_iter().for_each(|said| {
            said.extend(retention.as_object().cloned().unwrap_or_default());
        });
        said
    };
    kept(json!({ "said_by": "here", "compacted": false })).await?;

    let limited = format!("{declared}retention = {{ time = \"2h\", bytes = \"128MiB\" }}\n");
    eu.reconfigure(&declared, &limited)?;
    kept(by_origin(json!({ "retention_ms": 7_200_000, "retention_bytes": 134_217_728 }))).await?;
    eu.reconfigure(&limited, &declared)?;
    kept(by_origin(json!({}))).await?;

    agent.stop().await?;
    us.stop().await?;
    eu.stop().await
}
