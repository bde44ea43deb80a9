//! The certificates that are served, told to those who must renew them: until when each is valid as a metric, and in
//! the log what no client will take. The clock is read here: what is made of objects does not depend on it.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::snapshot::tls::Certificate;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::{CertificateLabels, Telemetry};

/// What was told of.
#[derive(Debug, Default)]
pub struct Certificates {
    told: BTreeSet<(String, &'static str)>,
}

impl Certificates {
    /// Takes over those of a snapshot.
    pub fn follow(&mut self, snapshot: &Snapshot, telemetry: &Telemetry) {
        telemetry.certificates(served(snapshot).map(|(listener, one)| (labels(listener, one), one.not_after)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut invalid = BTreeSet::new();
        for (listener, certificate) in served(snapshot) {
            let Some(why) = invalidity(certificate, now) else { continue };
            let told = (certificate.fingerprint.clone(), why);
            if !self.told.contains(&told) && !invalid.contains(&told) {
                let id = &listener.id;
                let (namespace, gateway, listener) = (&id.namespace, &id.gateway, &id.listener);
                tracing::warn!(namespace, gateway, listener, names = ?certificate.names, "a certificate is {why}");
            }
            invalid.insert(told);
        }
        self.told = invalid;
    }
}

fn served(snapshot: &Snapshot) -> impl Iterator<Item = (&Listener, &Certificate)> {
    let listeners = snapshot.binds.values().flat_map(|bind| &bind.listeners);
    listeners.flat_map(|listener| {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        certificates.map(move |certificate| (listener, certificate))
    })
}

fn labels(listener: &Listener, certificate: &Certificate) -> CertificateLabels {
    CertificateLabels {
        gateway_namespace: listener.id.namespace.clone(),
        gateway: listener.id.gateway.clone(),
        listener: listener.id.listener.clone(),
        name: certificate.names.first().cloned().unwrap_or_default(),
    }
}

/// Why no client takes a certificate now.
fn invalidity(certificate: &Certificate, now: i64) -> Option<&'static str> {
    if certificate.not_after < now {
        Some("expired")
    } else if certificate.not_before > now {
        Some("not valid yet")
    } else {
        None
    }
}
