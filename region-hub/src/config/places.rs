//! What a configuration says twice or cannot mean, found with its place in the file.

use std::collections::BTreeSet;
use std::time::Duration;

use headland_event::limits::LINKS_LIMIT;
use headland_event::{Alias, Codec, HubName, Lane, RegionId, TopicName};
use headland_platform::config::{
    ConfigError, DurationText, Loaded, SizeText, Spanned, has_host_and_port, without_port,
};
use headland_replication::lease::{VOTERS_LEAST, VOTERS_LIMIT};
use headland_replication::{Filter, NamePattern};
use headland_storage::{CodecNotBuilt, OpenOptions};
use serde::Deserialize;

use super::{Ack, Cleanup, ReconcileConfig};
use crate::escrow::escrow_topic;
use crate::members::members_topic;
use crate::records::{alerts_topic, heartbeats_topic};
use crate::topics::{PARTITIONS_LIMIT, is_derived};

/// What agents may publish.
mod granted;

/// Least time after which a region is left: a lease of it has to be over.
const AFTER_LEAST: Duration = Duration::from_secs(4);

/// Least time between heartbeats: each is a barrier of its own on a hub with nothing else to write.
const BEAT_LEAST: Duration = Duration::from_millis(100);

/// The values of `hub.toml` that must fit each other, with where they stand. Everything else is
/// left to [`super::HubConfig`], which is read from the same text.
#[derive(Debug, Deserialize)]
pub(super) struct Places {
    region: RegionId,
    name: HubName,
    #[serde(default)]
    reconcile: ReconcilePlaces,
    #[serde(default)]
    storage: StoragePlaces,
    #[serde(default)]
    rules: Option<RulesPlaces>,
    #[serde(default)]
    failover: Option<FailoverPlaces>,
    #[serde(default)]
    heartbeats: Option<HeartbeatsPlaces>,
    #[serde(default, rename = "topic")]
    topics: Vec<TopicPlaces>,
    #[serde(default, rename = "peer")]
    peers: Vec<PeerPlaces>,
    #[serde(default, rename = "agent")]
    agents: Vec<granted::AgentPlaces>,
    #[serde(default)]
    telemetry: Option<TelemetryPlaces>,
}

#[derive(Debug, Default, Deserialize)]
struct ReconcilePlaces {
    #[serde(default)]
    topic: Option<TopicName>,
    #[serde(default)]
    cleanup: Option<Cleanup>,
    #[serde(default)]
    tombstones: Option<Spanned<DurationText>>,
    #[serde(default)]
    codec: Option<Spanned<Codec>>,
}

#[derive(Debug, Default, Deserialize)]
struct StoragePlaces {
    #[serde(default)]
    file_bytes: Option<Spanned<SizeText>>,
}

#[derive(Debug, Default, Deserialize)]
struct RetentionPlaces {
    #[serde(default)]
    time: Option<Spanned<DurationText>>,
    #[serde(default)]
    bytes: Option<Spanned<SizeText>>,
}

#[derive(Debug, Deserialize)]
struct RulesPlaces {
    regions: Spanned<Vec<RegionId>>,
}

#[derive(Debug, Deserialize)]
struct FailoverPlaces {
    regions: Spanned<Vec<RegionId>>,
    #[serde(default)]
    after: Option<Spanned<DurationText>>,
}

#[derive(Debug, Deserialize)]
struct HeartbeatsPlaces {
    #[serde(default)]
    every: Option<Spanned<DurationText>>,
}

#[derive(Debug, Deserialize)]
struct TopicPlaces {
    name: Spanned<TopicName>,
    #[serde(default)]
    lane: Option<Spanned<Lane>>,
    #[serde(default)]
    partitions: Option<Spanned<u32>>,
    #[serde(default)]
    retention: RetentionPlaces,
    #[serde(default)]
    cleanup: Option<Spanned<Cleanup>>,
    #[serde(default)]
    tombstones: Option<Spanned<DurationText>>,
    #[serde(default)]
    codec: Option<Spanned<Codec>>,
    #[serde(default)]
    ack: Option<Spanned<Ack>>,
    #[serde(default)]
    ack_wait: Option<Spanned<DurationText>>,
}

#[derive(Debug, Deserialize)]
struct PeerPlaces {
    region: Spanned<RegionId>,
    name: HubName,
    #[serde(default)]
    alias: Option<Spanned<Alias>>,
    #[serde(default)]
    address: Option<Spanned<String>>,
    #[serde(default)]
    topics: Option<Vec<NamePattern>>,
    #[serde(default)]
    exclude: Vec<NamePattern>,
    #[serde(default)]
    rate: Option<Spanned<SizeText>>,
}

#[derive(Debug, Deserialize)]
struct TelemetryPlaces {
    #[serde(default)]
    trace_ratio: Option<Spanned<f64>>,
}

/// Refuses the first value that does not fit the others, with file, line and column.
pub(super) fn check(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let Places { topics, telemetry, .. } = &places.value;
    let mut names = BTreeSet::new();
    check_tables(places)?;
    check_heartbeats(places)?;
    check_storage(places)?;
    check_rules(places)?;
    for topic in topics {
        let TopicPlaces { name, partitions, .. } = topic;
        check_own(places, name, name.get_ref())?;
        check_side_outputs(places, name)?;
        check_lane(places, topic)?;
        check_cleanup(places, topic)?;
        check_retention(places, topic)?;
        check_ack(places, topic)?;
        if !names.insert(name.get_ref()) {
            let text = format!("topic {} is declared twice", name.get_ref());
            return Err(places.error_at(name, text));
        }
        if let Some(count) = partitions
            && !(1..=PARTITIONS_LIMIT).contains(count.get_ref())
        {
            let found = count.get_ref();
            let text = format!(
                "topic {} has {found} partitions, expected 1 to {PARTITIONS_LIMIT}",
                name.get_ref()
            );
            return Err(places.error_at(count, text));
        }
    }
    check_peers(places)?;
    check_failover(places)?;
    granted::check(places)?;
    match telemetry.as_ref().and_then(|telemetry| telemetry.trace_ratio.as_ref()) {
        Some(ratio) if !(0.0..=1.0).contains(ratio.get_ref()) => {
            let text = format!("trace_ratio is {}, expected 0 to 1", ratio.get_ref());
            Err(places.error_at(ratio, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses the logs of this hub's rights and of who takes part: what an agent writes there would
/// pass for the hub's own records, and what retention takes from them nobody can count.
fn check_own<S>(
    places: &Loaded<Places>,
    at: &Spanned<S>,
    name: &TopicName,
) -> Result<(), ConfigError> {
    let section = match name {
        of if *of == escrow_topic() => "[escrow]",
        of if *of == members_topic() => "[membership]",
        of if *of == heartbeats_topic() && places.value.heartbeats.is_some() => "[heartbeats]",
        of if of.as_str().starts_with('_') => {
            let text = format!("topic {of} is written by hubs alone; take it out of here");
            return Err(places.error_at(at, text));
        }
        of if is_derived(of.as_str()) => {
            let text = format!("topic {of} is a table that each hub derives; take it out of here");
            return Err(places.error_at(at, text));
        }
        _ => return Ok(()),
    };
    let text = format!(
        "topic {name} is written by hubs with {section} alone, cleaned by them, and no agent may \
         publish it; take it out of here"
    );
    Err(places.error_at(at, text))
}

/// Refuses a topic whose dead or late records would go where the hub keeps something else.
fn check_side_outputs(
    places: &Loaded<Places>,
    name: &Spanned<TopicName>,
) -> Result<(), ConfigError> {
    let found = name.get_ref();
    let outputs = [format!("{found}.dead"), format!("{found}.late")];
    let taken = outputs.iter().find(|output| is_derived(output));
    taken.map_or(Ok(()), |taken| {
        let text = format!(
            "topic {found} would have {taken} for a side output, which is a table that each hub \
             derives; call it something else"
        );
        Err(places.error_at(name, text))
    })
}

/// Refuses files of the journal into which next to nothing fits.
fn check_storage(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let least = OpenOptions::FILE_BYTES_LEAST;
    match &places.value.storage.file_bytes {
        Some(size) if size.get_ref().get() < least => {
            let found = size.get_ref().get();
            let text = format!(
                "file_bytes is {found}, and a file of the journal has at least {least}: each \
                 commit would be in one of its own"
            );
            Err(places.error_at(size, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses rules over other regions alone: no window of them would hold what this one has.
fn check_rules(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let Places { region: own, rules, .. } = &places.value;
    match rules.as_ref().map(|rules| &rules.regions) {
        Some(regions) if !regions.get_ref().contains(own) => {
            let text = format!("this hub's region {own} is not among them");
            Err(places.error_at(regions, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses to keep nothing: it would be gone before a peer that is away for a moment has it.
fn check_retention(places: &Loaded<Places>, topic: &TopicPlaces) -> Result<(), ConfigError> {
    let RetentionPlaces { time, bytes } = &topic.retention;
    let name = topic.name.get_ref();
    if let Some(time) = time.as_ref().filter(|time| time.get_ref().get().is_zero()) {
        let text = format!(
            "retention of topic {name} keeps nothing; set a time such as \"168h\", or take it out \
             to keep all"
        );
        return Err(places.error_at(time, text));
    }
    if let Some(bytes) = bytes.as_ref().filter(|bytes| bytes.get_ref().get().get() == 0) {
        let text = format!(
            "retention of topic {name} keeps nothing; set a size such as \"10GiB\", or take it \
             out to keep all"
        );
        return Err(places.error_at(bytes, text));
    }
    Ok(())
}

/// Refuses to have alerts wait behind other data, and other data before what keeps links up.
fn check_lane(places: &Loaded<Places>, topic: &TopicPlaces) -> Result<(), ConfigError> {
    match &topic.lane {
        Some(lane) if *lane.get_ref() == Lane::Control => {
            let text = "lane \"control\" is the links' own; use alerts, state or telemetry";
            Err(places.error_at(lane, text))
        }
        Some(lane)
            if *topic.name.get_ref() == alerts_topic() && *lane.get_ref() != Lane::Alerts =>
        {
            let text = format!(
                "topic {} has lane \"alerts\" for life: what it says must not wait behind {}; \
                 take the line out",
                topic.name.get_ref(),
                lane.get_ref()
            );
            Err(places.error_at(lane, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses what would take events away that stock is made of, and what would mean nothing.
fn check_cleanup(places: &Loaded<Places>, topic: &TopicPlaces) -> Result<(), ConfigError> {
    let TopicPlaces { name, cleanup, tombstones, codec, .. } = topic;
    let own = cleanup.as_ref().map(|cleanup| *cleanup.get_ref()).unwrap_or_default();
    check_tombstones(places, own, tombstones.as_ref())?;
    check_codec(places, codec.as_ref())?;
    let default = ReconcileConfig::default().topic;
    let reconciled = places.value.reconcile.topic.as_ref().unwrap_or(&default);
    match cleanup {
        Some(cleanup) if *cleanup.get_ref() == Cleanup::Compact && name.get_ref() == reconciled => {
            let text = format!(
                "topic {reconciled} is reconciled: each of its events counts, and cleanup = \
                 \"compact\" would take away all but the last of a device; use \"delete\""
            );
            Err(places.error_at(cleanup, text))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_heartbeats(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let every = places.value.heartbeats.as_ref().and_then(|of| of.every.as_ref());
    match every.filter(|every| every.get_ref().get() < BEAT_LEAST) {
        Some(every) => {
            let text = "heartbeats are written at most every 100ms";
            Err(places.error_at(every, text.to_owned()))
        }
        None => Ok(()),
    }
}

fn check_tables(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let ReconcilePlaces { topic: _, cleanup, tombstones, codec } = &places.value.reconcile;
    check_tombstones(places, cleanup.unwrap_or(Cleanup::Compact), tombstones.as_ref())?;
    check_codec(places, codec.as_ref())
}

fn check_tombstones(
    places: &Loaded<Places>,
    cleanup: Cleanup,
    tombstones: Option<&Spanned<DurationText>>,
) -> Result<(), ConfigError> {
    match (cleanup, tombstones) {
        (Cleanup::Delete, Some(tombstones)) => {
            let text = "tombstones are kept for a time where cleanup = \"compact\" alone";
            Err(places.error_at(tombstones, text.to_owned()))
        }
        (Cleanup::Delete, None) | (Cleanup::Compact, _) => Ok(()),
    }
}

/// Refuses to wait for more regions than are offered a topic, since nothing of it would ever be
/// acknowledged, and a wait for none.
fn check_ack(places: &Loaded<Places>, topic: &TopicPlaces) -> Result<(), ConfigError> {
    let TopicPlaces { name, ack, ack_wait, .. } = topic;
    let wanted = ack.as_ref().map_or(1, |ack| ack.get_ref().regions());
    if let Some(wait) = ack_wait.as_ref().filter(|_| wanted == 1) {
        let text = "other regions are waited for where ack = \"regions(n)\" alone";
        return Err(places.error_at(wait, text.to_owned()));
    }
    let offered = places.value.peers.iter().filter(|peer| {
        let filter = Filter::new(peer.topics.clone(), peer.exclude.clone());
        filter.takes(name.get_ref().as_str())
    });
    let found = 1 + offered.count();
    match ack {
        Some(ack) if wanted > found => {
            let text = format!(
                "topic {} is to be in {wanted} regions before it is acknowledged, and with those \
                 of [[peer]] that it is offered to there are {found}",
                name.get_ref()
            );
            Err(places.error_at(ack, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a codec that this build has not: better here than at the first batch.
fn check_codec(places: &Loaded<Places>, codec: Option<&Spanned<Codec>>) -> Result<(), ConfigError> {
    let missing = codec.filter(|codec| !codec.get_ref().is_built());
    missing.map_or(Ok(()), |codec| {
        let text = CodecNotBuilt { codec: *codec.get_ref() }.to_string();
        Err(places.error_at(codec, text))
    })
}

fn check_peers(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let Places { region: own, name: own_name, peers, .. } = &places.value;
    let mut regions = BTreeSet::new();
    if let Some(PeerPlaces { region, .. }) = peers.get(LINKS_LIMIT) {
        let found = peers.len();
        let text = format!("{found} peers, a hub links to {LINKS_LIMIT} others at most");
        return Err(places.error_at(region, text));
    }
    for PeerPlaces { region, name, address, rate, .. } in peers {
        let peer = region.get_ref();
        if (peer, name) == (own, own_name) {
            let text = format!("hub {name} of region {peer} is this hub itself");
            return Err(places.error_at(region, text));
        }
        if peer == own {
            let text = format!("region {peer} is this hub's own, and a region has one hub");
            return Err(places.error_at(region, text));
        }
        if !regions.insert(peer) {
            let text = format!(
                "region {peer} has two peers, and a region has one hub: \
                 both would send {peer}.<topic>"
            );
            return Err(places.error_at(region, text));
        }
        if let Some(address) = address
            && !has_host_and_port(address.get_ref())
        {
            let text = without_port(address.get_ref());
            return Err(places.error_at(address, text));
        }
        if let Some(rate) = rate.as_ref().filter(|rate| rate.get_ref().get().get() == 0) {
            let text = "a link is limited to 1 byte a second or more; to send nothing, pause it";
            return Err(places.error_at(rate, text));
        }
    }
    check_aliases(places)
}

/// Refuses a name for a region that stands for another one.
fn check_aliases(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let Places { region: own, peers, .. } = &places.value;
    let mut called = BTreeSet::new();
    for PeerPlaces { region, alias, .. } in peers {
        let Some(alias) = alias else { continue };
        let (peer, found) = (region.get_ref(), alias.get_ref());
        let refuse = |why: &str| {
            let text = format!("alias {found} of region {peer} {why}; choose one of its own");
            Err(places.error_at(alias, text))
        };
        if *found == Alias::from(own) {
            return refuse("is this hub's own region");
        }
        let mut others = peers.iter().map(|other| other.region.get_ref());
        if let Some(other) = others.find(|other| *other != peer && *found == Alias::from(*other)) {
            return refuse(&format!("is the region {other} of another peer"));
        }
        if !called.insert(found) {
            return refuse("is that of another peer as well");
        }
    }
    Ok(())
}

/// Refuses a list of regions that could not decide anything, and to leave a region whose lease may
/// still go on.
fn check_failover(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let Places { region: own, peers, failover, .. } = &places.value;
    let Some(FailoverPlaces { regions, after }) = failover else { return Ok(()) };
    let list = regions.get_ref();
    let found = list.len();
    let refuse = |text: String| Err(places.error_at(regions, text));
    if found < VOTERS_LEAST {
        return refuse(format!(
            "{found} regions: of fewer than {VOTERS_LEAST} no majority is left when one is lost, \
             and nobody could tell a lost region from a cut link; take [failover] out of here and \
             use the commands failover and failback"
        ));
    }
    if found > VOTERS_LIMIT {
        return refuse(format!("{found} regions, at most {VOTERS_LIMIT} look after each other"));
    }
    if list.iter().collect::<BTreeSet<_>>().len() < found {
        return refuse("a region is named twice".to_owned());
    }
    if !list.contains(own) {
        return refuse(format!("this hub's region {own} is not among them"));
    }
    let is_linked =
        |of: &RegionId| of == own || peers.iter().any(|peer| peer.region.get_ref() == of);
    if let Some(region) = list.iter().find(|region| !is_linked(region)) {
        return refuse(format!("there is no [[peer]] of region {region}, and each votes itself"));
    }
    match after {
        Some(after) if after.get_ref().get() < AFTER_LEAST => {
            let text = "a region is not left before its lease is over: at least 4s";
            Err(places.error_at(after, text.to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    pub(super) const HEAD: &str = r#"region = "eu"
name = "hub-1"
data_dir = "d"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "a", certificate_file = "b", key_file = "c" }
api = { socket = "s" }
"#;

    pub(super) fn refusal(tables: &str) -> String {
        let text = format!("{HEAD}{tables}");
        parse(Path::new("hub.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_list_of_regions_that_could_not_decide_is_refused() {
        let peers = "[[peer]]\nregion = \"us\"\nname = \"hub-1\"\n\
                     [[peer]]\nregion = \"ap\"\nname = \"hub-1\"\n";
        let said = |regions: &str, more: &str| {
            refusal(&format!("[failover]\nregions = {regions}\n{more}{peers}"))
        };

        assert!(said("[\"eu\", \"us\"]", "").starts_with("hub.toml:8:11: 2 regions: of fewer"));
        let unlinked = said("[\"eu\", \"us\", \"sa\"]", "");
        assert!(unlinked.contains("no [[peer]] of region sa"), "{unlinked}");
        let apart = said("[\"sa\", \"us\", \"ap\"]", "");
        assert!(apart.contains("region eu is not among them"), "{apart}");
        assert!(said("[\"eu\", \"us\", \"us\"]", "").contains("named twice"));
        let soon = said("[\"eu\", \"us\", \"ap\"]", "after = \"3s\"\n");
        assert!(soon.contains("at least 4s"), "{soon}");
    }

    #[test]
    fn what_is_declared_twice_is_refused_where_it_stands_the_second_time() {
        let topics = "[[topic]]\nname = \"air\"\n[[topic]]\nname = \"air\"\n";
        let agent = "[[agent]]\nname = \"a\"\ntopics = []\ndevices = []\n";
        let peers = "[[peer]]\nregion = \"us\"\nname = \"hub-1\"\n\
                     [[peer]]\nregion = \"us\"\nname = \"hub-2\"\n";

        assert_eq!(refusal(topics), "hub.toml:10:8: topic air is declared twice");
        assert_eq!(refusal(&agent.repeat(2)), "hub.toml:12:8: agent a is declared twice");
        assert_eq!(
            refusal(peers),
            "hub.toml:11:10: region us has two peers, and a region has one hub: \
             both would send us.<topic>"
        );
    }

    #[test]
    fn the_log_of_rights_is_neither_declared_nor_granted_to_an_agent() {
        let topic = "[[topic]]\nname = \"inventory.escrow\"\n";
        let agent = "[[agent]]\nname = \"a\"\ntopics = [\"inventory.escrow\"]\ndevices = []\n";

        let why = "topic inventory.escrow is written by hubs with [escrow] alone, cleaned by them, \
                   and no agent may publish it; take it out of here";
        assert_eq!(refusal(topic), format!("hub.toml:8:8: {why}"));
        assert_eq!(refusal(agent), format!("hub.toml:9:11: {why}"));
    }

    #[test]
    fn what_hubs_write_or_derive_is_neither_declared_nor_granted_to_an_agent() {
        for (name, why) in [
            ("_promises", "is written by hubs alone; take it out of here"),
            ("_refills", "is written by hubs alone; take it out of here"),
            ("inventory.stock", "is a table that each hub derives; take it out of here"),
            ("inventory.late.dead", "is a table that each hub derives; take it out of here"),
            (
                "inventory",
                "would have inventory.late for a side output, which is a table that each hub \
                 derives; call it something else",
            ),
        ] {
            let found = refusal(&format!("[[topic]]\nname = \"{name}\"\n"));
            assert_eq!(found, format!("hub.toml:8:8: topic {name} {why}"));
        }
        let agent = "[[agent]]\nname = \"a\"\ntopics = [\"_promises\"]\ndevices = []\n";
        assert_eq!(
            refusal(agent),
            "hub.toml:9:11: topic _promises is written by hubs alone; take it out of here"
        );
    }

    #[test]
    fn heartbeats_are_written_by_the_hub_alone_and_not_too_often() {
        let topic = "[[topic]]\nname = \"heartbeats\"\n";

        let fits = [topic.to_owned(), "[heartbeats]\nevery = \"100ms\"\n".to_owned()];
        for text in fits {
            assert!(parse(Path::new("hub.toml"), format!("{HEAD}{text}")).is_ok());
        }
        let why = "topic heartbeats is written by hubs with [heartbeats] alone, cleaned by them, \
                   and no agent may publish it; take it out of here";
        assert_eq!(refusal(&format!("[heartbeats]\n{topic}")), format!("hub.toml:9:8: {why}"));
        assert_eq!(
            refusal("[heartbeats]\nevery = \"99ms\"\n"),
            "hub.toml:8:9: heartbeats are written at most every 100ms"
        );
    }

    #[test]
    fn a_topic_without_partitions_is_refused_and_one_at_the_limit_is_not() {
        let of = |count: u32| format!("[[topic]]\nname = \"air\"\npartitions = {count}\n");

        let text = format!("{HEAD}{}", of(PARTITIONS_LIMIT));
        assert!(parse(Path::new("hub.toml"), text).is_ok());
        assert_eq!(
            refusal(&of(0)),
            "hub.toml:9:14: topic air has 0 partitions, expected 1 to 1024"
        );
        assert_eq!(
            refusal(&of(PARTITIONS_LIMIT + 1)),
            "hub.toml:9:14: topic air has 1025 partitions, expected 1 to 1024"
        );
    }

    #[test]
    fn an_address_to_listen_at_without_a_port_is_refused_with_what_would_fit() {
        let text = HEAD.replace("127.0.0.1:1", "127.0.0.1");

        let told = parse(Path::new("hub.toml"), text).unwrap_err().to_string();

        assert!(told.starts_with("hub.toml:4:22: "), "{told}");
        assert!(told.contains("\"127.0.0.1\" is not an IP address with a port"), "{told}");
        assert!(told.contains("0.0.0.0:4433"), "{told}");
    }

    #[test]
    fn no_topic_has_the_lane_that_keeps_links_up() {
        let told = refusal("[[topic]]\nname = \"air\"\nlane = \"control\"\n");

        assert!(told.starts_with("hub.toml:9:8: lane \"control\" is the links' own"), "{told}");
        assert!(told.ends_with("use alerts, state or telemetry"), "{told}");
    }

    #[test]
    fn rules_over_regions_are_over_the_hubs_own_too() {
        let of = |regions: &str| format!("[rules]\nfile = \"r.sql\"\nregions = {regions}\n");

        assert!(parse(Path::new("hub.toml"), format!("{HEAD}{}", of("[\"us\", \"eu\"]"))).is_ok());
        let why = "hub.toml:9:11: this hub's region eu is not among them";
        assert_eq!([refusal(&of("[]")), refusal(&of("[\"us\"]"))], [why; 2]);
    }

    #[test]
    fn what_would_be_nothing_is_refused_where_it_stands() {
        let peer = "[[peer]]\nregion = \"us\"\nname = \"h\"\nrate = \"0B\"\n";

        let rate = refusal(peer);
        let keep = refusal("[heartbeats]\nkeep = \"0s\"\n");
        let traces = refusal("[telemetry]\notlp_endpoint = \"nope\"\n");
        let text = HEAD.replace("data_dir = \"d\"", "data_dir = \"\"");
        let data = parse(Path::new("hub.toml"), text).unwrap_err().to_string();

        assert!(rate.starts_with("hub.toml:10:8: a link is limited to 1 byte"), "{rate}");
        assert!(keep.starts_with("hub.toml:8:8: "), "{keep}");
        assert!(traces.starts_with("hub.toml:8:17: "), "{traces}");
        assert!(data.starts_with("hub.toml:3:12: the path is empty"), "{data}");
    }

    #[test]
    fn a_retention_that_keeps_nothing_is_refused() {
        let of = |what: &str| format!("[[topic]]\nname = \"air\"\nretention = {{ {what} }}\n");

        let fits = of("time = \"1ms\", bytes = \"1B\"");
        assert!(parse(Path::new("hub.toml"), format!("{HEAD}{fits}")).is_ok());
        assert_eq!(
            refusal(&of("time = \"0s\"")),
            "hub.toml:9:22: retention of topic air keeps nothing; set a time such as \"168h\", or \
             take it out to keep all"
        );
        assert_eq!(
            refusal(&of("bytes = \"0B\"")),
            "hub.toml:9:23: retention of topic air keeps nothing; set a size such as \"10GiB\", or \
             take it out to keep all"
        );
    }

    #[test]
    fn files_of_the_journal_have_room_for_more_than_a_commit() {
        let of = |size: &str| format!("[storage]\nfile_bytes = \"{size}\"\n");

        assert!(parse(Path::new("hub.toml"), format!("{HEAD}{}", of("64KiB"))).is_ok());
        assert_eq!(
            refusal(&of("1KiB")),
            "hub.toml:8:14: file_bytes is 1KiB, and a file of the journal has at least 64KiB: each \
             commit would be in one of its own"
        );
    }

    #[test]
    fn alerts_have_no_other_lane() {
        let of = |lane: &str| format!("[[topic]]\nname = \"alerts\"\n{lane}\n");

        let fits = parse(Path::new("hub.toml"), format!("{HEAD}{}", of("lane = \"alerts\"")));

        assert!(fits.is_ok(), "{fits:?}");
        assert_eq!(
            refusal(&of("lane = \"telemetry\"")),
            "hub.toml:9:8: topic alerts has lane \"alerts\" for life: what it says must not wait \
             behind telemetry; take the line out"
        );
    }

    #[test]
    fn a_topic_is_compacted_unless_each_of_its_events_counts() {
        let of = |name: &str| format!("[[topic]]\nname = \"{name}\"\ncleanup = \"compact\"\n");
        let other = "[reconcile]\ntopic = \"stock.events\"\n".to_owned();

        let fits = parse(Path::new("hub.toml"), format!("{HEAD}{}", of("air")));
        let air = &fits.unwrap().value.topics[0];
        let tombstones = Duration::from_hours(24);
        assert_eq!(air.compaction(), Some(headland_storage::Compaction { tombstones }));
        let why = "is reconciled: each of its events counts, and cleanup = \"compact\" would take \
                   away all but the last of a device; use \"delete\"";
        let refused = refusal(&of("inventory.events"));
        assert_eq!(refused, format!("hub.toml:9:11: topic inventory.events {why}"));
        let refused = refusal(&(other + &of("stock.events")));
        assert_eq!(refused, format!("hub.toml:11:11: topic stock.events {why}"));
    }

    #[test]
    fn what_is_no_cleanup_and_no_codec_is_refused_with_what_would_fit() {
        let of = |line: &str| refusal(&format!("[[topic]]\nname = \"air\"\n{line}\n"));

        let cleanup = of("cleanup = \"shrink\"");
        let codec = of("codec = \"gzip\"");

        assert!(cleanup.starts_with("hub.toml:9:11: "), "{cleanup}");
        assert!(cleanup.contains("delete") && cleanup.contains("compact"), "{cleanup}");
        assert!(codec.starts_with("hub.toml:9:9: "), "{codec}");
        assert!(codec.contains("none") && codec.contains("lz4"), "{codec}");
    }

    #[test]
    fn a_time_for_tombstones_that_nothing_leaves_is_refused() {
        let why = "tombstones are kept for a time where cleanup = \"compact\" alone";

        let topic = refusal("[[topic]]\nname = \"air\"\ntombstones = \"1h\"\n");
        let tables = refusal("[reconcile]\ncleanup = \"delete\"\ntombstones = \"1h\"\n");

        assert_eq!(topic, format!("hub.toml:9:14: {why}"));
        assert_eq!(tables, format!("hub.toml:9:14: {why}"));
        let fits = format!("{HEAD}[reconcile]\ntombstones = \"1h\"\n");
        assert!(parse(Path::new("hub.toml"), fits).is_ok());
    }

    #[test]
    fn a_topic_waits_for_no_more_regions_than_it_is_offered_to() {
        let of = |ack: &str, peer: &str| {
            let topic = format!("[[topic]]\nname = \"air\"\nack = \"{ack}\"\n");
            format!("{topic}[[peer]]\nregion = \"us\"\nname = \"hub-1\"\n{peer}\n")
        };

        let fits = format!("{HEAD}{}", of("regions(2)", "exclude = [\"*.dead\"]"));
        assert!(parse(Path::new("hub.toml"), fits).is_ok());
        let why = "before it is acknowledged, and with those of [[peer]] that it is offered to \
                   there are";
        assert_eq!(
            refusal(&of("regions(3)", "")),
            format!("hub.toml:9:7: topic air is to be in 3 regions {why} 2")
        );
        assert_eq!(
            refusal(&of("regions(2)", "topics = [\"orders\"]")),
            format!("hub.toml:9:7: topic air is to be in 2 regions {why} 1")
        );
        assert_eq!(
            refusal("[[topic]]\nname = \"air\"\nack_wait = \"1s\"\n"),
            "hub.toml:9:12: other regions are waited for where ack = \"regions(n)\" alone"
        );
    }

    #[test]
    fn a_hub_has_as_many_peers_as_it_may_have_links_and_no_more() {
        let of = |count: usize| -> String {
            (0..count).map(|n| format!("[[peer]]\nregion = \"r{n}\"\nname = \"h\"\n")).collect()
        };

        assert!(parse(Path::new("hub.toml"), format!("{HEAD}{}", of(32))).is_ok());
        assert_eq!(refusal(&of(33)), "hub.toml:104:10: 33 peers, a hub links to 32 others at most");
    }

    #[test]
    fn a_hub_is_no_peer_of_itself_nor_of_its_region() {
        let of = |name: &str| refusal(&format!("[[peer]]\nregion = \"eu\"\nname = \"{name}\"\n"));

        assert_eq!(of("hub-1"), "hub.toml:8:10: hub hub-1 of region eu is this hub itself");
        assert_eq!(
            of("hub-2"),
            "hub.toml:8:10: region eu is this hub's own, and a region has one hub"
        );
    }

    #[test]
    fn a_region_is_called_what_no_other_one_is() {
        let of = |us: &str, ap: &str| {
            format!(
                "[[peer]]\nregion = \"us\"\nname = \"h\"\nalias = \"{us}\"\n\
                 [[peer]]\nregion = \"ap\"\nname = \"h\"\nalias = \"{ap}\"\n"
            )
        };

        let fits = parse(Path::new("hub.toml"), format!("{HEAD}{}", of("amer.ica", "ap")));
        assert!(fits.is_ok());
        let end = "choose one of its own";
        assert_eq!(
            refusal(&of("america", "america")),
            format!(
                "hub.toml:14:9: alias america of region ap is that of another peer as well; {end}"
            )
        );
        assert_eq!(
            refusal(&of("ap", "asia")),
            format!("hub.toml:10:9: alias ap of region us is the region ap of another peer; {end}")
        );
        assert_eq!(
            refusal(&of("america", "eu")),
            format!("hub.toml:14:9: alias eu of region ap is this hub's own region; {end}")
        );
        assert!(refusal(&of("a/b", "ap")).starts_with("hub.toml:10:9: "));
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        let fits = ["us.example:4433", "10.0.0.1:1", "[::1]:4433"].map(has_host_and_port);
        let found = ["us.example", "us.example:0", ":4433", "::1", "us:65536", "us:x"];

        assert_eq!(fits, [true; 3]);
        assert_eq!(found.map(has_host_and_port), [false; 6]);
        for (found, fits) in
            [("[::1]", "[::1]:4433"), ("http://hub:4433/", "hub:4433"), ("[", "hub.example:4433")]
        {
            assert!(without_port(found).ends_with(&format!("such as {fits:?}")), "{found}");
        }
        let peer = "[[peer]]\nregion = \"us\"\nname = \"hub-1\"\naddress = \"us.example\"\n";
        assert_eq!(
            refusal(peer),
            "hub.toml:10:11: address \"us.example\" is not host:port; expected such as \
             \"us.example:4433\""
        );
    }

    #[test]
    fn a_share_of_traces_lies_between_none_and_all() {
        let of = |ratio: &str| {
            format!("[telemetry]\notlp_endpoint = \"http://c\"\ntrace_ratio = {ratio}\n")
        };

        assert!(parse(Path::new("hub.toml"), format!("{HEAD}{}", of("1.0"))).is_ok());
        assert_eq!(refusal(&of("1.5")), "hub.toml:9:15: trace_ratio is 1.5, expected 0 to 1");
    }
}
