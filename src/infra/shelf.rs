//! Objects of one kind, kept as the API server shows them.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::reflector::{self, Lookup, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Wakes who looks at shelves.
pub type Tick = watch::Sender<()>;

/// The objects, of one namespace or several or all.
pub struct Shelf<K: Lookup + 'static>
where
    K::DynamicType: Hash + Eq,
{
    stores: Vec<Store<K>>,
}

/// What is needed to watch.
pub struct Watching<'a> {
    /// Asked.
    pub client: &'a Client,
    /// Told of each change.
    pub tick: &'a Tick,
    /// Owns the watches.
    pub tasks: &'a mut JoinSet<()>,
}

impl<K> Shelf<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// A shelf of these watches.
    fn of(apis: Vec<Api<K>>, labels: Option<&str>, watching: &mut Watching<'_>) -> Self {
        let stores = apis.into_iter().map(|api| {
            let (store, writer) = reflector::store();
            watching.tasks.spawn(follow(api, labels.map(str::to_owned), writer, watching.tick.clone()));
            store
        });
        Shelf { stores: stores.collect() }
    }

    /// Waits until every watch has shown everything once.
    pub async fn in_step(&self) {
        for store in &self.stores {
            // the watches live as long as their shelf: they have one owner
            let _ = store.wait_until_ready().await;
        }
    }

    /// Everything that is there.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.stores.iter().flat_map(Store::state).collect()
    }
}

impl<K> Shelf<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    /// Objects with these labels in these namespaces; none is all of them, with one watch.
    pub fn of_namespaces(namespaces: &[String], labels: &str, watching: &mut Watching<'_>) -> Self {
        let apis = if namespaces.is_empty() {
            vec![Api::all(watching.client.clone())]
        } else {
            namespaces.iter().map(|namespace| Api::namespaced(watching.client.clone(), namespace)).collect()
        };
        Shelf::of(apis, Some(labels), watching)
    }
}

impl<K> Shelf<K>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    /// Every object of a kind that has no namespace.
    pub fn of_cluster(watching: &mut Watching<'_>) -> Self {
        Shelf::of(vec![Api::all(watching.client.clone())], None, watching)
    }
}

async fn follow<K>(api: Api<K>, labels: Option<String>, writer: reflector::store::Writer<K>, tick: Tick)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let config = watcher::Config { label_selector: labels, ..watcher::Config::default() };
    let events = watcher(api, config).default_backoff().modify(|object| object.managed_fields_mut().clear());
    let mut events = std::pin::pin!(reflector::reflector(writer, events));
    let kind = K::kind(&());
    let mut told: Option<String> = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(_) => {
                if told.take().is_some() {
                    tracing::info!(%kind, "watched again");
                }
                tick.send_replace(());
            }
            // once for each reason, not for each try
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    tracing::warn!(%kind, %error, "watch of the infrastructure lost; what it had shown stays");
                }
                told = Some(error);
            }
        }
    }
}
