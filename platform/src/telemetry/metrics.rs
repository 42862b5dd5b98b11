//! Metrics in Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

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

/// What a node says of itself at one moment.
///
/// Made anew whenever it is asked for: what is not set is not said, so that the series of a group
/// that was deleted, or of damage that was mended, ends with it.
#[derive(Debug, Default)]
pub struct Metrics {
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

    /// Sets a counter, of what only grows while the node runs; `_total` is appended to its name.
    pub fn set_total(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        to: u64,
    ) {
        let family = family(&mut self.registry, &mut self.counters, (name, help));
        family.get_or_create(&owned(labels)).inner().store(to, Ordering::Relaxed);
    }

    /// Sets a gauge, of what may fall as well.
    pub fn set(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        to: i64,
    ) {
        let family = family(&mut self.registry, &mut self.gauges, (name, help));
        family.get_or_create(&owned(labels)).set(to);
    }

    /// Sets a histogram.
    pub fn set_histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        to: Histogram,
    ) {
        let family = family(&mut self.registry, &mut self.histograms, (name, help));
        let counted = family.get_or_create(&owned(labels));
        *counted.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Every series in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; an encoder that says so leaves what it wrote.
        if encode(&mut text, &self.registry).is_err() {
            tracing::warn!("metrics were encoded only in part");
        }
        text
    }
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The family of a name, registered when it is met first.
fn family<'a, F: Metric + Clone + Default>(
    registry: &mut Registry,
    known: &'a mut BTreeMap<&'static str, F>,
    (name, help): (&'static str, &'static str),
) -> &'a F {
    known.entry(name).or_insert_with(|| {
        let family = F::default();
        registry.register(name, help, family.clone());
        family
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_and_a_gauge_are_what_they_were_set_to_last() {
        let mut metrics = Metrics::new();

        for count in [2, 5] {
            let topic = [("topic", "air")];
            metrics.set_total("headland_records", "Records committed", &topic, count);
        }
        for behind in [9, 4] {
            metrics.set("headland_lag_records", "Records behind", &[("peer", "us")], behind);
        }

        let text = metrics.render();
        for line in [
            "# HELP headland_records Records committed.",
            "# TYPE headland_records counter",
            "headland_records_total{topic=\"air\"} 5",
            "# TYPE headland_lag_records gauge",
            "headland_lag_records{peer=\"us\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
    }

    #[test]
    fn a_histogram_is_what_it_was_set_to_last_and_its_buckets_add_up() {
        let mut metrics = Metrics::new();
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
