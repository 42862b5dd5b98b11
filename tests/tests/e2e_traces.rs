//! One trace from the device to another region's alert, seen by an OTLP collector.

use anyhow::{Context, Result};
use headland_tests::collector::{Collector, Span};
use headland_tests::fleet::{Fleet, Node, TOPICS};
use headland_tests::lines::event;

/// The way of one bulk sale and its alert: who exports which span.
const WAY: [(&str, &str); 6] = [
    ("headland-agent", "agent.capture"),
    ("headland-agent", "agent.detect"),
    ("headland", "hub.ingest"),
    ("headland", "hub.alert"),
    ("headland", "hub.mirror"),
    ("headland", "hub.mirror.alert"),
];

fn export(node: &Node, endpoint: &str, more: &str) -> Result<()> {
    node.configure(&format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n{more}"))
}

/// The spans of [`WAY`] in their order, when every one is there.
fn way(spans: &[Span]) -> Option<Vec<Span>> {
    let find = |(service, name): &(&str, &str)| {
        spans.iter().find(|span| span.service == *service && span.name == *name).cloned()
    };
    WAY.iter().map(find).collect()
}

#[tokio::test]
async fn one_trace_goes_from_the_device_to_the_other_regions_alert() -> Result<()> {
    let collector = Collector::start().await?;
    let fleet = Fleet::new()?;
    let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
    eu.grant("eu-1", &TOPICS, &["eu-1-"])?;
    eu.expect(&us)?;
    us.dial(&eu)?;
    let mut agent = fleet.agent("eu-1", &eu)?;
    export(&eu, &collector.endpoint, "")?;
    export(&us, &collector.endpoint, "")?;
    export(&agent, &collector.endpoint, "trace_ratio = 1.0")?;
    for node in [&mut eu, &mut us, &mut agent] {
        node.start().await?;
    }

    fleet.append("eu-1.jsonl", &[event("eu-1", 1, "sale", "A", 120)])?;
    let way = collector.spans_when(way).await;
    let way = way.with_context(|| format!("{:#?}", us.lines()))?;

    let alert = us.records_when("eu.alerts", 1).await?;
    let written = alert[0]["headers"]["traceparent"].as_str().context("no traceparent")?;
    let (capture, rest) = way.split_first().context("no span")?;
    assert_eq!(written, format!("00-{}-{}-01", capture.trace, capture.id));
    assert!(capture.parent.bytes().all(|byte| byte == b'0'), "{capture:?}");
    for span in rest {
        assert_eq!((&span.trace, &span.parent), (&capture.trace, &capture.id), "{span:?}");
    }
    let regions: Vec<Option<&String>> =
        way.iter().map(|span| span.attributes.get("headland.region")).collect();
    let [eu, us] = ["eu", "us"].map(str::to_owned);
    assert_eq!(regions, [None, None, Some(&eu), Some(&eu), Some(&us), Some(&us)]);
    Ok(())
}

#[tokio::test]
async fn without_a_chosen_record_no_span_leaves_and_the_header_still_names_a_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let fleet = Fleet::new()?;
    let mut hub = fleet.hub("eu")?;
    hub.grant("eu-1", &TOPICS, &["eu-1-"])?;
    let mut agent = fleet.agent("eu-1", &hub)?;
    export(&hub, &collector.endpoint, "")?;
    export(&agent, &collector.endpoint, "trace_ratio = 0.0")?;
    hub.start().await?;
    agent.start().await?;

    fleet.append("eu-1.jsonl", &[event("eu-1", 1, "sale", "A", 120)])?;
    let alert = hub.records_when("alerts", 1).await?;
    // Ending well means that whatever was to be exported was.
    agent.stop().await?;
    hub.stop().await?;

    assert_eq!(collector.spans(), Vec::new());
    let trace = alert[0]["headers"]["traceparent"].as_str().context("no traceparent")?;
    assert!(trace.ends_with("-00"), "{trace}");
    Ok(())
}
