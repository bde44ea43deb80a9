//! Who leads: a Lease that one of several processes holds and renews.
//!
//! A process that ends well gives the Lease back; one that dies loses it after its duration. One that cannot renew
//! steps down before anybody else may step up.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// For one request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who wants to lead, and by which Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name, one for each controllerName.
    pub name: String,
    /// Name of this process: the pod's.
    pub identity: String,
}

/// By when things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// For how long a Lease is good without being renewed; in the Lease it is whole seconds, rounded up.
    pub duration: Duration,
    /// After how long without renewal the holder steps down; less than `duration`.
    pub deadline: Duration,
    /// Between two tries; less than `deadline`.
    pub every: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Terms { duration: Duration::from_secs(15), deadline: Duration::from_secs(10), every: Duration::from_secs(2) }
    }
}

/// What was seen of another holder: its Lease is stale once it has not changed for its duration by *our* clock, so
/// that clocks need not agree.
#[derive(Debug)]
struct Watched {
    version: String,
    since: Instant,
}

/// Tries to lead until `stop`, telling `leading` how it stands.
pub async fn lead(
    client: Client,
    candidate: Candidate,
    terms: Terms,
    leading: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let leases: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let mut watched = None;
    let mut renewed: Option<Instant> = None;
    while !stop.is_cancelled() {
        // others count from when they see the renewal, which is after it was asked for; so we count from before
        let asked = Instant::now();
        let left = renewed.map(|at| terms.deadline.saturating_sub(at.elapsed())).filter(|left| !left.is_zero());
        let patience = left.map_or(PATIENCE, |left| left.min(PATIENCE));
        match timeout(patience, hold(&leases, &candidate, terms, &mut watched)).await {
            Ok(Ok(true)) => renewed = Some(asked),
            Ok(Ok(false)) => renewed = None,
            Ok(Err(error)) => tracing::warn!(%error, lease = candidate.name, "the Lease cannot be had or renewed"),
            Err(_) => tracing::warn!(lease = candidate.name, "the Lease cannot be had or renewed in time"),
        }
        let leads = renewed.is_some_and(|at| at.elapsed() < terms.deadline);
        if leading.send_if_modified(|before| std::mem::replace(before, leads) != leads) {
            tracing::info!(leads, identity = candidate.identity, "leadership");
        }
        let left = renewed.filter(|_| leads).map(|at| terms.deadline.saturating_sub(at.elapsed()));
        let pause = left.map_or(terms.every, |left| left.min(terms.every));
        let _ = stop.run_until_cancelled(sleep(pause)).await;
    }
    leading.send_replace(false);
    if renewed.is_some() {
        let _ = timeout(PATIENCE, give_back(&leases, &candidate)).await;
    }
}

/// Holds the Lease, if it is free, stale or ours; whether it is held now.
async fn hold(
    leases: &Api<Lease>,
    candidate: &Candidate,
    terms: Terms,
    watched: &mut Option<Watched>,
) -> Result<bool, Error> {
    let found = match leases.get(&candidate.name).await {
        Err(Error::Api(status)) if status.code == 404 => None,
        found => Some(found?),
    };
    let Some(mut lease) = found else {
        let metadata = ObjectMeta { name: Some(candidate.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(held(candidate, terms, None)) };
        return won(leases.create(&PostParams::default(), &lease).await);
    };
    let before = lease.spec.take().unwrap_or_default();
    let holder = before.holder_identity.as_deref().unwrap_or_default();
    if !holder.is_empty() && holder != candidate.identity && !is_stale(&lease, &before, terms, watched) {
        return Ok(false);
    }
    lease.spec = Some(held(candidate, terms, Some(&before)));
    // the resourceVersion that was read goes along: of two candidates one wins
    won(leases.replace(&candidate.name, &PostParams::default(), &lease).await)
}

fn is_stale(lease: &Lease, spec: &LeaseSpec, terms: Terms, watched: &mut Option<Watched>) -> bool {
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(terms.duration, Duration::from_secs);
    match watched {
        Some(seen) if seen.version == version => seen.since.elapsed() > duration,
        _ => {
            *watched = Some(Watched { version, since: Instant::now() });
            false
        }
    }
}

fn held(candidate: &Candidate, terms: Terms, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let seconds = terms.duration.as_secs() + u64::from(terms.duration.subsec_nanos() > 0);
    let same = before.filter(|spec| spec.holder_identity.as_deref() == Some(candidate.identity.as_str()));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(candidate.identity.clone()),
        lease_duration_seconds: i32::try_from(seconds).ok(),
        acquire_time: same.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(if before.is_some() && same.is_none() {
            transitions.saturating_add(1)
        } else {
            transitions
        }),
        ..LeaseSpec::default()
    }
}

fn won(answer: Result<Lease, Error>) -> Result<bool, Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn give_back(leases: &Api<Lease>, candidate: &Candidate) -> Result<(), Error> {
    let mut lease = leases.get(&candidate.name).await?;
    if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&candidate.identity))
    {
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        leases.replace(&candidate.name, &PostParams::default(), &lease).await?;
    }
    Ok(())
}
