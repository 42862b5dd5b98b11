//! What agents may publish, as far as it must fit the topics that there are.

use std::collections::BTreeSet;

use headland_event::{AgentName, TopicName};
use headland_platform::config::{ConfigError, Loaded, Spanned, nearest};
use headland_replication::NamePattern;
use serde::Deserialize;

use super::{Places, check_own};
use crate::topics::base_topic;

/// An `[[agent]]`.
#[derive(Debug, Deserialize)]
pub(super) struct AgentPlaces {
    name: Spanned<AgentName>,
    topics: Vec<Spanned<NamePattern>>,
    #[serde(default)]
    exclude: Vec<Spanned<NamePattern>>,
}

/// Refuses the first agent that is named twice, or is granted what there is not.
pub(super) fn check(places: &Loaded<Places>) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for AgentPlaces { name, topics, exclude } in &places.value.agents {
        for topic in topics {
            match topic.get_ref().name() {
                Some(found) => check_name(places, topic, found)?,
                None => check_pattern(places, topic)?,
            }
        }
        for topic in exclude {
            check_excluded(places, topic, topics)?;
        }
        if !names.insert(name.get_ref()) {
            let text = format!("agent {} is declared twice", name.get_ref());
            return Err(places.error_at(name, text));
        }
    }
    Ok(())
}

fn check_name(
    places: &Loaded<Places>,
    at: &Spanned<NamePattern>,
    found: &str,
) -> Result<(), ConfigError> {
    let name = TopicName::new(found).map_err(|error| places.error_at(at, error.to_string()))?;
    check_own(places, at, &name)?;
    check_declared(places, at, &name)
}

/// Refuses to let an agent publish what the hub has no topic for: the first of it would be refused,
/// long after somebody looked at this file.
fn check_declared(
    places: &Loaded<Places>,
    at: &Spanned<NamePattern>,
    name: &TopicName,
) -> Result<(), ConfigError> {
    // A topic brings its dead and late ones, and alerts are there without being declared.
    let base = base_topic(name);
    let found = name.as_str();
    let base = base.as_ref().map_or(found, TopicName::as_str);
    let known = declared(places).chain(["alerts"]);
    if known.clone().any(|known| known == base || known == found) {
        return Ok(());
    }
    let meant = nearest(found, known);
    let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    let text = format!("topic {found} is not declared; add [[topic]] name = \"{base}\"{meant}");
    Err(places.error_at(at, text))
}

/// Refuses a pattern that stands for nothing.
fn check_pattern(places: &Loaded<Places>, at: &Spanned<NamePattern>) -> Result<(), ConfigError> {
    let pattern = at.get_ref();
    if declared(places).any(|name| pattern.covers(name)) {
        return Ok(());
    }
    let known: Vec<&str> = declared(places).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let text = format!("no [[topic]] fits {pattern}; there are {known}");
    Err(places.error_at(at, text))
}

/// Refuses to take out what was not granted: a name that is mistyped would leave it granted.
fn check_excluded(
    places: &Loaded<Places>,
    at: &Spanned<NamePattern>,
    topics: &[Spanned<NamePattern>],
) -> Result<(), ConfigError> {
    let excluded = at.get_ref();
    let names = topics.iter().filter_map(|topic| topic.get_ref().name());
    let granted = |name: &&str| topics.iter().any(|topic| topic.get_ref().covers(name));
    if names.chain(declared(places).filter(granted)).any(|name| excluded.covers(name)) {
        return Ok(());
    }
    let text = format!("exclude has {excluded}, and topics grant nothing that fits it");
    Err(places.error_at(at, text))
}

fn declared(places: &Loaded<Places>) -> impl Iterator<Item = &str> + Clone {
    places.value.topics.iter().map(|topic| topic.name.get_ref().as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::parse;
    use super::super::tests::{HEAD, refusal};

    #[test]
    fn an_agent_publishes_only_what_the_hub_has_a_topic_for() {
        let of = |topic: &str| {
            let agent = format!("name = \"a\"\ntopics = [\"{topic}\"]\ndevices = []\n");
            format!("[[topic]]\nname = \"air.readings\"\n[[agent]]\n{agent}")
        };

        for fits in ["air.readings", "air.readings.dead", "alerts"] {
            assert!(parse(Path::new("hub.toml"), format!("{HEAD}{}", of(fits))).is_ok(), "{fits}");
        }
        assert_eq!(
            refusal(&of("air.reading")),
            "hub.toml:11:11: topic air.reading is not declared; add [[topic]] name = \
             \"air.reading\"; did you mean air.readings?"
        );
        assert_eq!(
            refusal(&of("orders.late")),
            "hub.toml:11:11: topic orders.late is not declared; add [[topic]] name = \"orders\""
        );
    }

    #[test]
    fn a_pattern_that_no_topic_fits_and_an_exclusion_of_nothing_are_refused_where_they_stand() {
        let of = |topics: &str, exclude: &str| {
            let agent = format!("name = \"a\"\ntopics = [{topics}]\nexclude = [{exclude}]\n");
            format!("[[topic]]\nname = \"air.readings\"\n[[agent]]\n{agent}devices = []\n")
        };

        for (topics, exclude) in
            [("\"air.*\"", ""), ("\"*\"", "\"air.*\""), ("\"*\", \"alerts\"", "\"alerts\"")]
        {
            let text = format!("{HEAD}{}", of(topics, exclude));
            assert!(parse(Path::new("hub.toml"), text).is_ok(), "{topics} without {exclude}");
        }
        assert_eq!(
            refusal(&of("\"air.readings\", \"water.*\"", "")),
            "hub.toml:11:27: no [[topic]] fits water.*; there are air.readings"
        );
        assert_eq!(
            refusal(&of("\"air.*\"", "\"air.raedings\"")),
            "hub.toml:12:12: exclude has air.raedings, and topics grant nothing that fits it"
        );
    }
}
