//! What a cluster has: its version, who asks, which kinds it serves in which versions, and what the CRDs of the
//! Gateway API say of themselves. Plain facts; what follows from them is for others to say.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use serde_json::Value;

use super::once::{AT_ONCE, Connection, Unreachable};
use super::served::is_not_found;
use crate::api::Kind;
use crate::api::kind::{GATEWAY_GROUP, GATEWAY_X_GROUP, TRANSOM_GROUP};

/// Annotation of the Gateway API's CRDs: the release they are of.
const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// Annotation of the Gateway API's CRDs: the channel they are of.
const CHANNEL: &str = "gateway.networking.k8s.io/channel";

/// Facts about a cluster.
#[derive(Debug, Default)]
pub struct Survey {
    /// Version of the API server, `v1.37.0`; none if it does not say.
    pub version: Option<String>,
    /// The user that asks; none if the API server does not say.
    pub user: Option<String>,
    /// Kinds of the Gateway API's groups and of our own that the cluster serves, by group and name, each with its
    /// versions in the API server's order.
    pub served: BTreeMap<(String, String), Vec<String>>,
    /// The CRDs of the kinds that Transom knows.
    pub definitions: BTreeMap<Kind, Definition>,
    /// Why CRDs cannot be read, if they cannot: nothing is known of bundles then.
    pub unread: Option<String>,
}

/// A CRD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// The release of the Gateway API it is of, as it is written: `v1.7.0`.
    pub bundle: Option<String>,
    /// `standard` or `experimental`.
    pub channel: Option<String>,
    /// Paths of the fields that the API server keeps, as `spec.rules[].retry`, in the version that Transom asks for.
    pub fields: BTreeSet<String>,
}

impl Survey {
    /// Whether the cluster serves a kind in a version that Transom understands.
    #[must_use]
    pub fn serves(&self, kind: Kind) -> bool {
        let key = (kind.group().to_owned(), kind.name().to_owned());
        self.served.get(&key).is_some_and(|versions| versions.iter().any(|v| kind.versions().contains(&v.as_str())))
    }
}

impl Connection {
    /// Surveys the cluster.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn survey(&self) -> Result<Survey, Unreachable> {
        let told = |error: Error| self.unreachable(&error);
        let version = allowed(self.client.apiserver_version().await).map_err(told)?;
        let mut survey = Survey {
            version: version.map(|version| version.git_version),
            user: user(&self.client).await.map_err(told)?,
            served: served(&self.client).await.map_err(told)?,
            ..Survey::default()
        };
        let defined = Kind::ALL.into_iter().filter(|kind| [GATEWAY_GROUP, TRANSOM_GROUP].contains(&kind.group()));
        let read = stream::iter(defined.map(|kind| async move { (kind, definition(&self.client, kind).await) }));
        let read: Vec<_> = read.buffered(AT_ONCE).collect().await;
        for (kind, outcome) in read {
            match outcome {
                Ok(definition) => survey.definitions.extend(definition.map(|definition| (kind, definition))),
                Err(Error::Api(status)) if status.code == 403 => survey.unread = Some(status.message),
                Err(error) => return Err(told(error)),
            }
        }
        Ok(survey)
    }
}

/// An answer that may be refused without a loss.
fn allowed<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn user(client: &Client) -> Result<Option<String>, Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = allowed(reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await)?;
    Ok(review.and_then(|review| review.status?.user_info?.username))
}

async fn served(client: &Client) -> Result<BTreeMap<(String, String), Vec<String>>, Error> {
    let ours = client
        .list_api_groups()
        .await?
        .groups
        .into_iter()
        .filter(|group| [GATEWAY_GROUP, GATEWAY_X_GROUP, TRANSOM_GROUP].contains(&group.name.as_str()));
    let versions: Vec<_> =
        ours.flat_map(|group| group.versions.into_iter().map(move |v| (group.name.clone(), v))).collect();
    let lists = stream::iter(versions.into_iter().map(|(group, version)| async move {
        let resources = allowed(client.list_api_group_resources(&version.group_version).await)?;
        Ok::<_, Error>((group, version.version, resources.map(|list| list.resources).unwrap_or_default()))
    }));
    let lists: Vec<_> = lists.buffered(AT_ONCE).try_collect().await?;
    let mut served: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (group, version, resources) in lists {
        for resource in resources.into_iter().filter(|resource| !resource.name.contains('/')) {
            served.entry((group.clone(), resource.kind)).or_default().push(version.clone());
        }
    }
    Ok(served)
}

async fn definition(client: &Client, kind: Kind) -> Result<Option<Definition>, Error> {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let crds: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, "customresourcedefinitions"));
    match crds.get(&format!("{}.{}", kind.plural(), kind.group())).await {
        Ok(crd) => {
            let annotations = crd.metadata.annotations.unwrap_or_default();
            Ok(Some(Definition {
                bundle: annotations.get(BUNDLE_VERSION).cloned(),
                channel: annotations.get(CHANNEL).cloned(),
                fields: kept(&crd.data, kind),
            }))
        }
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fields of the best version that the CRD serves and Transom understands.
fn kept(crd: &Value, kind: Kind) -> BTreeSet<String> {
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = |name: &str| {
        let is = |version: &&Value| version.get("name").and_then(Value::as_str) == Some(name);
        let serves = |version: &&Value| version.get("served").and_then(Value::as_bool) == Some(true);
        versions.iter().find(|version| is(version) && serves(version))
    };
    let best = kind.versions().iter().find_map(|name| named(name));
    best.and_then(|version| version.pointer("/schema/openAPIV3Schema")).map(fields).unwrap_or_default()
}

/// The paths of every field of an `OpenAPI` schema, as `spec.rules[].name`.
#[must_use]
pub fn fields(schema: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    add_fields(schema, "", &mut paths);
    paths
}

fn add_fields(schema: &Value, path: &str, paths: &mut BTreeSet<String>) {
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        add_fields(field, &path, paths);
        paths.insert(path);
    }
    if let Some(items) = schema.get("items") {
        add_fields(items, &format!("{path}[]"), paths);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_those_of_the_best_version_that_is_served_and_understood() {
        let version = |name: &str, served: bool, field: &str| {
            let schema =
                json!({"properties": {"spec": {"properties": {"rules": {"items": {"properties": {field: {}}}}}}}});
            json!({"name": name, "served": served, "schema": {"openAPIV3Schema": schema}})
        };
        let crd = json!({"spec": {"versions": [
            version("v2", true, "later"), version("v1beta1", true, "old"), version("v1", true, "retry")]}});
        let told: Vec<String> = kept(&crd, Kind::HttpRoute).into_iter().collect();
        assert_eq!(told, ["spec", "spec.rules", "spec.rules[].retry"]);
        let crd = json!({"spec": {"versions": [version("v1beta1", true, "old"), version("v1", false, "retry")]}});
        assert!(kept(&crd, Kind::HttpRoute).contains("spec.rules[].old"));
        assert!(kept(&json!({}), Kind::HttpRoute).is_empty());
    }
}
