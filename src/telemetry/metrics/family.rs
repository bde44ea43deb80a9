//! Small makers of what the registry is shown, for the collectors that count by themselves.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

/// `None` only for a name or label that Prometheus does not allow; ours are constants.
pub(super) fn description(name: &str, help: &str, labels: &[&str]) -> Option<Desc> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new()).ok()
}

pub(super) fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

pub(super) fn pair(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}

pub(super) fn counter_of(count: u64) -> Counter {
    let mut counter = Counter::default();
    counter.set_value(to_f64(count));
    counter
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus has no other numbers; exact up to 2^53")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}
