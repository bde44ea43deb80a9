//! What a configuration does in a cluster, and whether it may: one SelfSubjectAccessReview each.
//!
//! `needs` (pure) is the list of everything that Transom asks of an API server; a permission that is not in it is one
//! too many. Whether objects mean anything is not known here.

use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};

use super::once::{AT_ONCE, Connection, Unreachable};
use super::watch::Scope;
use crate::api::Kind;

/// What is done in a cluster beside watching it and writing statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undertaking {
    /// Namespaces that are watched; none is all of them.
    pub namespaces: Vec<String>,
    /// Where this install lives: its Lease and its pods.
    pub own_namespace: String,
    /// The Lease by which its pods choose who writes.
    pub lease: String,
    /// How listeners are reached.
    pub reached: Reached,
    /// Whether pods serve, which are found by their labels and asked what they serve; else this process alone does.
    pub fleet: bool,
}

/// How clients reach listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// On ports of machines, whose addresses are given or nobody's business.
    ByHost,
    /// On ports of nodes, whose addresses are read.
    ByNodes,
    /// By a Service for each Gateway, which is written.
    ByService,
}

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural, and a subresource behind a slash, as rules of RBAC write it.
    pub resource: String,
    /// Where; none is everywhere, or a resource without namespaces.
    pub namespace: Option<String>,
    /// One object alone.
    pub name: Option<String>,
    /// What it is for, in words that follow "to".
    pub purpose: &'static str,
    /// As rules of RBAC write it.
    pub verb: &'static str,
}

/// Whether it may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may.
    Allowed,
    /// It may not; in the words of the authorizer, which are often none.
    Denied(String),
    /// The API server does not say, in its words.
    Unsaid(String),
}

/// Everything that is asked of an API server.
#[must_use]
pub fn needs(undertaking: &Undertaking) -> Vec<Need> {
    let mut needs = Vec::new();
    let own = Some(undertaking.own_namespace.as_str());
    let mut add = |group, resource: &str, namespace: Option<&str>, purpose, verbs: &[&'static str]| {
        needs.extend(verbs.iter().map(|verb| Need {
            group,
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: None,
            purpose,
            verb,
        }));
    };
    for kind in Kind::ALL {
        for scope in Scope::all(kind, &undertaking.namespaces) {
            let namespace = scope.namespace();
            add(kind.group(), kind.plural(), namespace, "see what is to be served", &["list", "watch"]);
            if kind.has_status() {
                add(kind.group(), &format!("{}/status", kind.plural()), namespace, "write statuses", &["patch"]);
            }
            if kind == Kind::GatewayClass {
                add(kind.group(), kind.plural(), namespace, "hold classes that are in use", &["patch"]);
            }
            if undertaking.reached == Reached::ByService && matches!(kind, Kind::Service | Kind::EndpointSlice) {
                let purpose = "give each Gateway a Service and an address";
                add(kind.group(), kind.plural(), namespace, purpose, &["get", "create", "patch", "delete"]);
            }
        }
    }
    if undertaking.fleet {
        add("", "pods", own, "find the pods of this install", &["list", "watch"]);
        if undertaking.reached == Reached::ByNodes {
            add("", "nodes", None, "publish the addresses of nodes", &["list", "watch"]);
        }
    }
    let leases = ("coordination.k8s.io", "leases", "choose who writes statuses");
    add(leases.0, leases.1, own, leases.2, &["create"]);
    needs.extend(["get", "update"].map(|verb| Need {
        group: leases.0,
        resource: leases.1.to_owned(),
        namespace: own.map(str::to_owned),
        name: Some(undertaking.lease.clone()),
        purpose: leases.2,
        verb,
    }));
    needs
}

impl Connection {
    /// Asks whether each of `needs` may be done, by whoever asks.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn may(&self, needs: Vec<Need>) -> Result<Vec<(Need, Answer)>, Unreachable> {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answers = stream::iter(needs.into_iter().map(|need| {
            let reviews = &reviews;
            async move {
                let answer = match reviews.create(&PostParams::default(), &review(&need)).await {
                    Ok(review) => answer(review.status),
                    Err(kube::Error::Api(status)) if status.code != 401 => Answer::Unsaid(status.message),
                    Err(error) => return Err(self.unreachable(&error)),
                };
                Ok((need, answer))
            }
        }));
        answers.buffered(AT_ONCE).try_collect().await
    }
}

fn review(need: &Need) -> SelfSubjectAccessReview {
    let (resource, subresource) = match need.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (need.resource.as_str(), None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(need.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                namespace: need.namespace.clone(),
                name: need.name.clone(),
                verb: Some(need.verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

fn answer(status: Option<SubjectAccessReviewStatus>) -> Answer {
    match status {
        Some(status) if status.allowed => Answer::Allowed,
        Some(SubjectAccessReviewStatus { evaluation_error: Some(error), reason, .. }) if !error.is_empty() => {
            Answer::Denied(reason.filter(|reason| !reason.is_empty()).unwrap_or(error))
        }
        Some(status) => Answer::Denied(status.reason.unwrap_or_default()),
        None => Answer::Unsaid("the review has no answer in it".to_owned()),
    }
}
