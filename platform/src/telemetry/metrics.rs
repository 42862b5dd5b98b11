//! Metrics in Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// Label names and values of one series.
pub type Labels = Vec<(String, String)>;

type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<i64>>;

type Histograms = Family<Labels, Counted>;

/// How many of something fell between which bounds, counted elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// How many lie above the bound before and not above this one, by rising bound; the last bound
    /// is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all that was counted.
    pub sum: f64,
}

/// A histogram as it was set last.
#[derive(Debug, Default)]
struct Counted(Mutex<Histogram>);

impl TypedMetric for Counted {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Histogram { buckets, sum } = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

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
    histograms: BTreeMap<&'static str, Histograms>,
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

    /// Sets a histogram.
    pub fn set_histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        to: Histogram,
    ) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, histograms, .. } = &mut *inner;
        let family = histograms.entry(name).or_insert_with(|| {
            let family = Histograms::default();
            registry.register(name, help, family.clone());
            family
        });
        let counted = family.get_or_create(&owned(labels));
        *counted.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
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

    #[test]
    fn a_histogram_is_what_it_was_set_to_last_and_its_buckets_add_up() {
        let metrics = Metrics::new();
        let of = |few: u64| {
            let buckets = vec![(1.0, few), (2.5, 4), (f64::INFINITY, 1)];
            Histogram { buckets, sum: 12.5 }
        };

        for few in [1, 3] {
            metrics.set_histogram("headland_wait", "How long", &[("peer", "us")], of(few));
        }

        let text = metrics.render();
        for line in [
            "# TYPE headland_wait histogram",
            "headland_wait_sum{peer=\"us\"} 12.5",
            "headland_wait_count{peer=\"us\"} 8",
            "headland_wait_bucket{le=\"1.0\",peer=\"us\"} 3",
            "headland_wait_bucket{le=\"2.5\",peer=\"us\"} 7",
            "headland_wait_bucket{le=\"+Inf\",peer=\"us\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
    }
}
