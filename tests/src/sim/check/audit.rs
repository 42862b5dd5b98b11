//! What hubs hold is what was written, by their own audit.

use serde_json::Value;

use super::ensure;
use crate::sim::evidence::{Evidence, records_of, text};

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for (hub, of_hub) in evidence.hubs.iter().enumerate() {
        let alerts = of_hub.log.iter().filter(|(at, _)| at.topic.as_str() == "alerts");
        for record in alerts.flat_map(|(_, entries)| records_of(entries)) {
            let value = text(record.value.as_ref());
            let alert: Value = serde_json::from_str(&value).unwrap();
            let is_false_alarm = alert["rule"] == "audit" || alert["rule"] == "log_went_back";
            ensure(!is_false_alarm, || format!("hub {hub} raised {value}"))?;
        }
    }
    Ok(())
}
