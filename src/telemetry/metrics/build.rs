//! What this binary is, for as long as it runs.

use prometheus::{IntGaugeVec, Registry};

use super::family::Family;
use super::register;

const INFO: Family = Family::gauge(
    "transom_build_info",
    &["version", "commit", "gateway_api"],
    "Always 1; the labels say what this binary is.",
);

pub(super) const FAMILIES: &[Family] = &[INFO];

/// What this binary is: the labels of `transom_build_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildLabels<'a> {
    /// Transom's version.
    pub version: &'a str,
    /// Git commit, empty if unknown.
    pub commit: &'a str,
    /// Version of the Gateway API that is served.
    pub gateway_api: &'a str,
}

impl BuildLabels<'_> {
    pub(super) fn register(&self, registry: &Registry) {
        let info = IntGaugeVec::new(INFO.opts(), INFO.labels).ok();
        if let Some(info) = &info {
            info.with_label_values(&[self.version, self.commit, self.gateway_api]).set(1);
        }
        register(registry, info);
    }
}
