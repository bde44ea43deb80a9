//! What the server says of itself and of who asks: its version, its groups, its CRDs, reviews of permissions.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use transom::api::Kind;

use super::{ApiServer, Asked, Body, fault, response};

/// CRDs are objects like others.
const CRDS: &str = "customresourcedefinitions";

impl ApiServer {
    /// Address of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who asks may not do this any more: `list` on `secrets`, `patch` on `gateways/status`, `*` for every verb.
    pub fn deny(&self, verb: &str, resource: &str) {
        self.lock().denied.insert((verb.into(), resource.into()));
    }

    /// The CRD of a kind, of a bundle; `rule` has the fields of `spec.rules[]`.
    pub fn define(&self, kind: Kind, bundle: &str, channel: &str, rule: &Value) {
        let schema = json!({"properties": {"spec": {"properties": {"rules": {"items": {"properties": rule}}}}}});
        let annotations = json!({
            "gateway.networking.k8s.io/bundle-version": bundle,
            "gateway.networking.k8s.io/channel": channel,
        });
        let version = json!({"name": kind.versions()[0], "served": true, "schema": {"openAPIV3Schema": schema}});
        self.define_as(json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", kind.plural(), kind.group()), "annotations": annotations},
            "spec": {"versions": [version]},
        }));
    }

    /// A CRD as it is written.
    pub fn define_as(&self, crd: Value) {
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let mut state = self.lock();
        state.served.entry("apiextensions.k8s.io/v1".into()).or_default().insert(CRDS.into());
        state.put((CRDS.into(), String::new(), name), crd);
    }

    /// Answers what is not about objects, and refuses what is denied.
    pub(super) fn about(&self, asked: &Asked) -> Option<Response<Body>> {
        let posted = asked.method == Method::POST;
        match asked.path.as_str() {
            "/version" => {
                let known = ["buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform"];
                let mut version: Value = known.iter().map(|field| ((*field).to_owned(), json!(""))).collect();
                version["major"] = json!("1");
                version["minor"] = json!("36");
                version["gitVersion"] = json!("v1.36.3");
                Some(response(StatusCode::OK, &version))
            }
            "/apis" => Some(response(StatusCode::OK, &self.groups())),
            "/apis/authentication.k8s.io/v1/selfsubjectreviews" if posted => {
                let mut review = asked.body.clone();
                review["status"] = json!({"userInfo": {"username": "jane"}});
                Some(response(StatusCode::CREATED, &review))
            }
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" if posted => {
                let mut review = asked.body.clone();
                let attributes = &review["spec"]["resourceAttributes"];
                let text = |field: &str| attributes[field].as_str().unwrap_or_default();
                let resource = match text("subresource") {
                    "" => text("resource").to_owned(),
                    subresource => format!("{}/{subresource}", text("resource")),
                };
                let allowed = !self.denies(text("verb"), &resource);
                review["status"] = json!({"allowed": allowed});
                Some(response(StatusCode::CREATED, &review))
            }
            path => {
                let plural = path.rsplit('/').next().unwrap_or_default();
                let verb = if asked.query.contains("watch=") { "watch" } else { "list" };
                let reads = asked.method == Method::GET && self.denies(verb, plural);
                let gets = path.contains(&format!("/{CRDS}/")) && self.denies("get", CRDS);
                (reads || gets).then(|| fault(StatusCode::FORBIDDEN))
            }
        }
    }

    fn denies(&self, verb: &str, resource: &str) -> bool {
        let state = self.lock();
        [verb, "*"].iter().any(|verb| state.denied.contains(&((*verb).to_owned(), resource.to_owned())))
    }

    fn groups(&self) -> Value {
        let state = self.lock();
        let mut groups: Vec<Value> = Vec::new();
        for (served, plurals) in &state.served {
            let Some((group, version)) = served.split_once('/').filter(|_| !plurals.is_empty()) else { continue };
            let version = json!({"groupVersion": served, "version": version});
            match groups.iter_mut().find(|known| known["name"] == group) {
                Some(known) => known["versions"].as_array_mut().unwrap().push(version),
                None => groups.push(json!({"name": group, "versions": [version]})),
            }
        }
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }
}
