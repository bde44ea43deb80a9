//! An API server as small as kube's client lets it be: discovery, lists, watches, status patches with preconditions.
//! It keeps objects as they were written, knows no schema, and records what it was asked.
#![allow(dead_code, reason = "each test uses its part")]

mod about;
mod applying;
mod objects;
mod selector;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use transom::api::{Kind, Object};
use transom::store::{Change as StoreChange, Event, Resources};

use objects::{Change, Key, State, Streaming, Target};
use selector::Selector;

type Body = BoxBody<Bytes, io::Error>;

/// The server; it ends with the runtime of the test.
#[derive(Clone)]
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    away: watch::Sender<bool>,
}

/// How open watches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// As after the server's own timeout.
    Clean,
    /// In the middle of a chunk.
    Torn,
    /// With the error "410 Gone".
    Gone,
}

/// What the server was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    /// Decoded.
    pub query: String,
    pub body: Value,
    /// Who is asked as, if not as oneself.
    pub user: String,
}

struct Watching {
    server: ApiServer,
    plural: String,
    namespace: Option<String>,
    selector: Selector,
    ready: Vec<Value>,
    from: u64,
    cut: u64,
    changed: watch::Receiver<u64>,
    ended: bool,
}

impl ApiServer {
    /// Serves every kind that Transom knows, each in its best version, and Leases.
    pub async fn start() -> ApiServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = ApiServer {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            changed: watch::Sender::new(0),
            away: watch::Sender::new(false),
        };
        for kind in Kind::ALL {
            server.serve(kind, kind.versions()[0]);
        }
        server.lock().served.entry("coordination.k8s.io/v1".into()).or_default().insert("leases".into());
        server.lock().revision = 100;
        tokio::spawn(server.clone().accept(listener));
        server
    }

    /// Accepts until the server goes away.
    async fn accept(self, listener: TcpListener) {
        let mut away = self.away.subscribe();
        loop {
            let socket = tokio::select! {
                _ = away.wait_for(|away| *away) => return,
                accepted = listener.accept() => accepted.unwrap().0,
            };
            let server = self.clone();
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let mut away = self.away.subscribe();
            tokio::spawn(async move {
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                tokio::select! {
                    _ = serving => {}
                    _ = away.wait_for(|away| *away) => {}
                }
            });
        }
    }

    /// The process ends: connections are cut, new ones refused. What it held stays, as in etcd.
    pub async fn go_away(&self) {
        self.away.send_replace(true);
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Another process serves the same, on the same port.
    pub async fn come_back(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.away.send_replace(false);
        tokio::spawn(self.clone().accept(listener));
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        let server = format!("http://{}", self.address);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }

    pub fn client(&self) -> kube::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    pub fn serve(&self, kind: Kind, version: &str) {
        let mut state = self.lock();
        state.served.entry(group_version(kind, version)).or_default().insert(kind.plural().into());
    }

    /// The CRD goes: its objects with it, its watches end, and nothing more is said of it.
    pub fn withdraw(&self, kind: Kind) {
        {
            let mut state = self.lock();
            for plurals in state.served.values_mut() {
                plurals.remove(kind.plural());
            }
            state.objects.retain(|(plural, ..), _| plural != kind.plural());
        }
        self.cut(kind, Cut::Clean);
    }

    /// Leases cannot be had, read or written from now on.
    pub fn without_leases(&self) {
        self.lock().served.remove("coordination.k8s.io/v1");
    }

    pub fn without_streaming_lists(&self, page: usize) {
        let mut state = self.lock();
        (state.streaming, state.page) = (Streaming::Refused, Some(page));
    }

    /// `sendInitialEvents` is a parameter that the server does not know.
    pub fn ignoring_streaming_lists(&self) {
        self.lock().streaming = Streaming::Ignored;
    }

    /// Watches of a kind end as soon as they have told what there is.
    pub fn brief(&self, kind: Kind) {
        self.lock().brief.insert(kind.plural().into());
        self.tick();
    }

    /// Lists and watches of a kind wait until it is released.
    pub fn hold(&self, kind: Kind) {
        self.lock().held.insert(kind.plural().into());
    }

    pub fn release(&self, kind: Kind) {
        self.lock().held.remove(kind.plural());
        self.tick();
    }

    /// The next `times` lists and watches of a kind are answered with 503.
    pub fn fail(&self, kind: Kind, times: usize) {
        self.lock().failing.insert(kind.plural().into(), times);
    }

    /// A field of statuses that is not kept, or one of the entries of a list: `addresses.routability`.
    pub fn prune(&self, field: &str) {
        self.lock().pruned.insert(field.into());
    }

    /// The next status patches are answered so, the last one first.
    pub fn refuse(&self, codes: &[StatusCode]) {
        self.lock().refusals = codes.to_vec();
    }

    pub fn cut(&self, kind: Kind, how: Cut) {
        let mut state = self.lock();
        let revision = state.revision;
        let cut = state.cuts.entry(kind.plural().into()).or_default();
        *cut = (cut.0 + 1, Some(how), revision);
        drop(state);
        self.tick();
    }

    /// Writes an object, status included, as somebody else would.
    pub fn apply(&self, kind: Kind, namespace: &str, name: &str, mut object: Value) -> String {
        object["apiVersion"] = json!(group_version(kind, kind.versions()[0]));
        object["kind"] = json!(kind.name());
        object["metadata"]["name"] = json!(name);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let written = self.lock().put(key(kind, namespace, name), object);
        self.tick();
        version_of(&written)
    }

    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.lock().remove(&key(kind, namespace, name));
        self.tick();
    }

    /// The object goes without a word to the watches.
    pub fn vanish(&self, kind: Kind, namespace: &str, name: &str) {
        let mut state = self.lock();
        state.revision += 1;
        state.objects.remove(&key(kind, namespace, name)).unwrap();
    }

    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&key(kind, namespace, name)).cloned()
    }

    /// Everything that is here, as a source would show it.
    pub fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for ((plural, ..), object) in &self.lock().objects {
            let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural);
            let object = kind.and_then(|kind| Object::from_value(kind, object.clone()).ok());
            if let Some(object) = object {
                resources.apply(Event::Apply(object), &mut StoreChange::default());
            }
        }
        resources
    }

    pub fn lease(&self, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&("leases".into(), namespace.into(), name.into())).cloned()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    pub fn patches(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.method == Method::PATCH).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tick(&self) {
        self.changed.send_modify(|tick| *tick += 1);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let asked = Asked {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: decoded(head.uri.query().unwrap_or_default()),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            user: head.headers.get("impersonate-user").map_or("", |user| user.to_str().unwrap()).to_owned(),
        };
        self.lock().asked.push(asked.clone());
        if let Some(answer) = self.about(&asked) {
            return answer;
        }
        let Some(target) = Target::parse(&asked.path) else { return self.discover(&asked.path) };
        if !self.lock().served.get(&target.served_as).is_some_and(|plurals| plurals.contains(&target.plural)) {
            return fault(StatusCode::NOT_FOUND);
        }
        let mut changed = self.changed.subscribe();
        while target.name.is_none() && self.lock().held.contains(&target.plural) {
            let _ = changed.changed().await;
        }
        if target.name.is_none() && self.lock().fails(&target.plural) {
            return fault(StatusCode::SERVICE_UNAVAILABLE);
        }
        let parameter = |name: &str| {
            let pair = asked.query.split('&').filter_map(|pair| pair.split_once('='));
            pair.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        let selector = Selector::parse(&parameter("labelSelector").unwrap_or_default());
        let answer = match (asked.method.as_str(), &target.name) {
            ("GET", None) if parameter("watch").is_some() => {
                let initial = parameter("sendInitialEvents").is_some();
                let from = parameter("resourceVersion").and_then(|version| version.parse().ok());
                return self.watch(target, selector, initial, from);
            }
            ("GET", None) => Ok(self.lock().list(&target, &selector, parameter("limit"), parameter("continue"))),
            ("GET", Some(_)) => self.lock().objects.get(&target.key()).cloned().ok_or(StatusCode::NOT_FOUND),
            ("PATCH", Some(_)) if parameter("force").is_some() => {
                self.lock().apply(&target, &parameter("fieldManager").unwrap_or_default(), asked.body)
            }
            ("DELETE", Some(_)) => self.lock().delete(&target, &asked.body),
            (method, _) => self.lock().write(method, &target, asked.body),
        };
        self.tick();
        match answer {
            Ok(value) => response(StatusCode::OK, &value),
            Err(code) => fault(code),
        }
    }

    fn discover(&self, path: &str) -> Response<Body> {
        let group_version = path.trim_start_matches("/apis/").trim_start_matches("/api/");
        match self.lock().served.get(group_version) {
            None => fault(StatusCode::NOT_FOUND),
            Some(plurals) => {
                let kind =
                    |plural: &str| Kind::ALL.into_iter().find(|kind| kind.plural() == plural).map_or("K", Kind::name);
                let resource = |plural: &String| json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind(plural), "verbs": ["list"]});
                let resources: Vec<Value> = plurals.iter().map(resource).collect();
                response(
                    StatusCode::OK,
                    &json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}),
                )
            }
        }
    }

    fn watch(&self, target: Target, selector: Selector, initial: bool, from: Option<u64>) -> Response<Body> {
        let changed = self.changed.subscribe();
        let state = self.lock();
        if initial && state.streaming == Streaming::Refused {
            return fault(StatusCode::UNPROCESSABLE_ENTITY);
        }
        let mut ready = Vec::new();
        // "Get State and Start at Any": without a version a watch begins with everything too
        let initial = initial || from.is_none_or(|from| from == 0);
        if initial {
            let added = state.of(&target.plural, target.namespace.as_deref());
            let added = added.filter(|object| selector.selects(object));
            ready.extend(added.map(|object| json!({"type": "ADDED", "object": object})));
        }
        if initial && state.streaming == Streaming::Served {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            let metadata = json!({"resourceVersion": state.revision.to_string(), "annotations": annotations});
            ready.push(json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "K", "metadata": metadata}}));
        }
        let watching = Watching {
            server: self.clone(),
            ready,
            from: if initial { state.revision } else { from.unwrap_or(state.revision) },
            cut: state.cuts.get(&target.plural).map_or(0, |cut| cut.0),
            plural: target.plural,
            namespace: target.namespace,
            selector,
            changed,
            ended: false,
        };
        let lines = stream::unfold(watching, |mut watching| async move {
            let frame = watching.next().await?;
            Some((frame, watching))
        });
        let body = StreamBody::new(lines).boxed();
        Response::builder().header("content-type", "application/json").body(body).unwrap()
    }
}

impl Watching {
    async fn next(&mut self) -> Option<io::Result<Frame<Bytes>>> {
        loop {
            if self.ended {
                return None;
            }
            if !self.ready.is_empty() {
                let line: String = self.ready.drain(..).map(|event| format!("{event}\n")).collect();
                return Some(Ok(Frame::data(line.into())));
            }
            let cut = {
                let state = self.server.lock();
                let cut = state.cuts.get(&self.plural).filter(|cut| cut.0 != self.cut).copied();
                let until = cut.map_or(state.revision, |cut| cut.2);
                let unseen = |change: &&Change| change.revision > self.from && change.revision <= until;
                for change in state.history.iter().filter(unseen) {
                    let place = change.object["metadata"]["namespace"].as_str();
                    let here = self.namespace.is_none() || self.namespace.as_deref() == place;
                    let seen = self.selector.sees(change).filter(|_| change.plural == self.plural && here);
                    self.ready.extend(seen.map(|event| json!({"type": event, "object": change.object})));
                }
                self.from = until.max(self.from);
                cut.and_then(|cut| cut.1)
            };
            if !self.ready.is_empty() {
                continue;
            }
            match cut {
                Some(Cut::Clean) => return None,
                None if self.server.lock().brief.contains(&self.plural) => return None,
                Some(Cut::Torn) => return Some(Err(io::Error::other("torn"))),
                Some(Cut::Gone) => {
                    self.ended = true;
                    let line = format!("{}\n", json!({"type": "ERROR", "object": status(StatusCode::GONE)}));
                    return Some(Ok(Frame::data(line.into())));
                }
                None => self.changed.changed().await.ok()?,
            }
        }
    }
}

/// Polls until `found` finds something, for ten seconds at most.
pub async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn group_version(kind: Kind, version: &str) -> String {
    if kind.group().is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group()) }
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    (kind.plural().to_owned(), namespace.to_owned(), name.to_owned())
}

fn version_of(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

fn status(code: StatusCode) -> Value {
    // in the API server's words: clients look at them, not at the code
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code.as_u16()})
}

fn fault(code: StatusCode) -> Response<Body> {
    response(code, &status(code))
}

fn response(code: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn decoded(query: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = query.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}
