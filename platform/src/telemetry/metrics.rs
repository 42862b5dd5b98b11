//! Metrics in Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Label names and values of one series.
pub type Labels = Vec<(String, String)>;

type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<i64>>;

/// A node's metrics. Series appear when first set; help texts come with the name.
///
/// Cheap to clone; all clones share the series.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    counters: BTreeMap<&'static str, Counters>,
    gauges: BTreeMap<&'static str, Gauges>,
}

impl Metrics {
    /// No series yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to a counter; `_total` is appended to its name.
    pub fn add(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)], by: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, counters, .. } = &mut *inner;
        let family = counters.entry(name).or_insert_with(|| {
            let family = Counters::default();
            registry.register(name, help, family.clone());
            family
        });
        family.get_or_create(&owned(labels)).inc_by(by);
    }

    /// Sets a gauge.
    pub fn set(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)], to: i64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, gauges, .. } = &mut *inner;
        let family = gauges.entry(name).or_insert_with(|| {
            let family = Gauges::default();
            registry.register(name, help, family.clone());
            family
        });
        family.get_or_create(&owned(labels)).set(to);
    }

    /// Every series in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string cannot fail; an encoder that says so leaves what it wrote.
        if encode(&mut text, &inner.registry).is_err() {
            tracing::warn!("metrics were encoded only in part");
        }
        text
    }
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_and_gauges_keep_the_last_value() {
        let metrics = Metrics::new();

        metrics.add("headland_records", "Records committed", &[("topic", "air")], 2);
        metrics.add("headland_records", "Records committed", &[("topic", "air")], 3);
        metrics.set("headland_lag_records", "Records behind", &[("peer", "us")], 9);
        metrics.set("headland_lag_records", "Records behind", &[("peer", "us")], 4);

        let text = metrics.render();
        assert!(text.contains("headland_records_total{topic=\"air\"} 5\n"), "{text}");
        assert!(text.contains("headland_lag_records{peer=\"us\"} 4\n"), "{text}");
        assert!(text.contains("# HELP headland_records Records committed.\n"), "{text}");
    }
}
