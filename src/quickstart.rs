//! What stands in for a cluster in a standalone run: echo backends and certificates asked for by annotation.
//!
//! `transom.dev/echo: NAME` on a Service asks for a backend inside the process, which becomes an EndpointSlice of
//! the Service (`NAME, NAME` for as many backends); `transom.dev/self-signed: HOSTS` on a Secret without `tls.crt` asks for a certificate made at the
//! start. What comes in: batches from files, before they are applied. What goes out: the same batches with the
//! missing objects in them. This room opens no socket (whoever calls starts the backends) and is used for files
//! alone: in a cluster the annotations mean nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::ServerName;

use crate::api::{EndpointSlice, Kind, Object, ObjectKey, ObjectMeta, ObjectRef, Secret, Service, label};
use crate::store::{Batch, Event};

/// Annotation of a Service: the name by which its echo backend calls itself, or several, separated by commas, for as
/// many endpoints.
pub const ECHO_ANNOTATION: &str = "transom.dev/echo";
/// Annotation of a Secret: DNS names and IP addresses of its certificate, separated by commas.
pub const SELF_SIGNED_ANNOTATION: &str = "transom.dev/self-signed";
/// How the quick start's own manifest is named in messages, in place of a path.
pub const MANIFEST_NAME: &str = "quickstart.yaml";

const KUBERNETES_TLS: &str = "kubernetes.io/tls";

/// The objects of the quick start, as YAML.
#[must_use]
pub fn manifest_text() -> &'static str {
    include_str!("../config/quickstart.yaml")
}

/// An echo backend that a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EchoBackend {
    /// Its Service.
    pub service: ObjectKey,
    /// What it calls itself.
    pub name: String,
}

/// What an annotation asked for and did not get. The object is applied as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose annotation.
    pub object: ObjectRef,
    /// Which.
    pub annotation: &'static str,
    /// Why.
    pub message: String,
}

/// What was made so far: an object that is applied again keeps its backend and its certificate.
#[derive(Debug, Default)]
pub struct Standins {
    backends: BTreeMap<EchoBackend, SocketAddr>,
    slices: BTreeMap<ObjectKey, Vec<ObjectRef>>,
    certificates: BTreeMap<(ObjectKey, String), (ByteString, ByteString)>,
}

impl Standins {
    /// Nothing made yet.
    #[must_use]
    pub fn new() -> Standins {
        Standins::default()
    }

    /// Completes a batch: an EndpointSlice for each backend after the Service that asks for it, a certificate in each
    /// Secret that asks for one. `start` is called once for each new backend and gives the address that it accepts on.
    pub fn complete(
        &mut self,
        batch: &mut Batch,
        start: &mut dyn FnMut(&EchoBackend) -> std::io::Result<SocketAddr>,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut completed = Batch::with_capacity(batch.len());
        for mut event in batch.drain(..) {
            let mut slices = Vec::new();
            match &mut event {
                Event::Apply(Object::Service(service)) => match self.slices(service, start) {
                    Ok(changes) => slices = changes,
                    Err(refusal) => refusals.push(refusal),
                },
                Event::Apply(Object::Secret(secret)) => refusals.extend(self.certify(secret).err()),
                Event::Delete(ObjectRef { kind: Kind::Service, key }) => {
                    slices = self.slices.remove(key).into_iter().flatten().map(Event::Delete).collect();
                }
                _ => {}
            }
            completed.push(event);
            completed.extend(slices);
        }
        *batch = completed;
        refusals
    }

    /// The changes of the Service's own slices.
    fn slices(
        &mut self,
        service: &Service,
        start: &mut dyn FnMut(&EchoBackend) -> std::io::Result<SocketAddr>,
    ) -> Result<Vec<Event>, Refusal> {
        let key = key_of(&service.metadata);
        let mut slices = Vec::new();
        for name in names(&service.metadata) {
            let backend = EchoBackend { service: key.clone(), name };
            let address = match self.backends.get(&backend) {
                Some(address) => *address,
                None => start(&backend).map_err(|error| Refusal {
                    object: ObjectRef { kind: Kind::Service, key: key.clone() },
                    annotation: ECHO_ANNOTATION,
                    message: format!("the echo backend {:?} cannot be started: {error}", backend.name),
                })?,
            };
            self.backends.insert(backend, address);
            slices.push(Object::EndpointSlice(Box::new(endpoints(service, &key, slices.len(), address))));
        }
        let now: Vec<ObjectRef> = slices.iter().map(Object::object_ref).collect();
        let before = if now.is_empty() { self.slices.remove(&key) } else { self.slices.insert(key, now.clone()) };
        let gone = before.into_iter().flatten().filter(|slice| !now.contains(slice)).map(Event::Delete);
        Ok(slices.into_iter().map(Event::Apply).chain(gone).collect())
    }

    /// Puts a certificate into a Secret that asks for one and has none.
    fn certify(&mut self, secret: &mut Secret) -> Result<(), Refusal> {
        let Some(hosts) = annotation(&secret.metadata, SELF_SIGNED_ANNOTATION).map(str::to_owned) else {
            return Ok(());
        };
        let given = |name: &str| {
            secret.data.as_ref().is_some_and(|data| data.contains_key(name))
                || secret.string_data.as_ref().is_some_and(|data| data.contains_key(name))
        };
        if given("tls.crt") || given("tls.key") {
            return Ok(());
        }
        let key = key_of(&secret.metadata);
        let made = match self.certificates.get(&(key.clone(), hosts.clone())) {
            Some(made) => made.clone(),
            None => self_signed(&hosts).map_err(|message| Refusal {
                object: ObjectRef { kind: Kind::Secret, key: key.clone() },
                annotation: SELF_SIGNED_ANNOTATION,
                message,
            })?,
        };
        self.certificates.insert((key, hosts), made.clone());
        let data = secret.data.get_or_insert_default();
        data.insert("tls.crt".to_owned(), made.0);
        data.insert("tls.key".to_owned(), made.1);
        secret.type_ = Some(KUBERNETES_TLS.to_owned());
        Ok(())
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The names of the backends that a Service asks for, each once.
fn names(metadata: &ObjectMeta) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in annotation(metadata, ECHO_ANNOTATION).into_iter().flat_map(|names| names.split(',')) {
        if !names.iter().any(|known| known == name.trim()) {
            names.push(name.trim().to_owned());
        }
    }
    names
}

fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    crate::api::object::key_of(metadata)
}

/// One endpoint that answers on every port of the Service.
fn endpoints(service: &Service, key: &ObjectKey, number: usize, address: SocketAddr) -> EndpointSlice {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let labels = [
        (label::SERVICE_NAME.to_owned(), key.name.clone()),
        ("endpointslice.kubernetes.io/managed-by".to_owned(), "transom.dev".to_owned()),
    ];
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.clone()),
            name: Some(match number {
                0 => format!("{}-transom-echo", key.name),
                more => format!("{}-transom-echo-{more}", key.name),
            }),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![address.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }]),
        ports: Some(
            ports
                .iter()
                .map(|port| EndpointPort {
                    name: Some(port.name.clone().unwrap_or_default()),
                    port: Some(i32::from(address.port())),
                    protocol: Some("TCP".to_owned()),
                    app_protocol: port.app_protocol.clone(),
                })
                .collect(),
        ),
    }
}

/// A certificate (ECDSA P-256) and its key, as PEM, for the hosts of an annotation.
fn self_signed(hosts: &str) -> Result<(ByteString, ByteString), String> {
    let names: Vec<String> = hosts.split(',').map(|host| host.trim().to_owned()).filter(|h| !h.is_empty()).collect();
    let allowed = "DNS names (*.a.example too) and IP addresses, separated by commas";
    if names.is_empty() {
        return Err(format!("names no host; allowed: {allowed}"));
    }
    let is_host = |name: &&String| ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok();
    if let Some(bad) = names.iter().find(|name| !is_host(name)) {
        return Err(format!("found {bad:?}, allowed: {allowed}"));
    }
    let made = || -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Transom self-signed");
        Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    let (certificate, key) = made().map_err(|error| format!("no certificate for {hosts:?}: {error}"))?;
    Ok((ByteString(certificate.into_bytes()), ByteString(key.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tls::Certificate;
    use serde_json::json;

    fn object(kind: Kind, value: serde_json::Value) -> Object {
        Object::from_value(kind, value).unwrap()
    }

    fn service(annotations: &serde_json::Value) -> Event {
        Event::Apply(object(
            Kind::Service,
            json!({"metadata": {"namespace": "n", "name": "s", "annotations": annotations},
                   "spec": {"ports": [{"port": 80}, {"name": "h2c", "port": 81, "appProtocol": "kubernetes.io/h2c"}]}}),
        ))
    }

    fn secret(value: serde_json::Value) -> Event {
        Event::Apply(object(Kind::Secret, value))
    }

    fn never(_: &EchoBackend) -> std::io::Result<SocketAddr> {
        panic!("no backend was to be started")
    }

    fn pem(event: &Event) -> (Vec<u8>, Vec<u8>) {
        let Event::Apply(Object::Secret(secret)) = event else { panic!("{event:?}") };
        let data = secret.data.as_ref().unwrap();
        (data["tls.crt"].0.clone(), data["tls.key"].0.clone())
    }

    #[test]
    fn an_annotated_service_gets_one_backend_that_answers_on_each_of_its_ports() {
        let mut standins = Standins::new();
        let mut started = Vec::new();
        let mut start = |backend: &EchoBackend| {
            started.push(backend.clone());
            Ok("127.0.0.1:4242".parse().unwrap())
        };
        let mut batch = vec![service(&json!({ECHO_ANNOTATION: "v1"}))];
        assert!(standins.complete(&mut batch, &mut start).is_empty());
        let mut again = batch[..1].to_vec();
        standins.complete(&mut again, &mut start);
        assert_eq!(started, [EchoBackend { service: ObjectKey::new("n", "s"), name: "v1".into() }]);
        assert_eq!(batch, again);

        let [_, Event::Apply(Object::EndpointSlice(slice))] = &batch[..] else { panic!("{batch:?}") };
        assert_eq!(crate::store::service_of(slice), Some(ObjectKey::new("n", "s")));
        let ports = slice.ports.as_ref().unwrap();
        let named: Vec<_> = ports.iter().map(|p| (p.name.as_deref().unwrap(), p.port.unwrap())).collect();
        assert_eq!(named, [("", 4242), ("h2c", 4242)]);
        assert_eq!(slice.endpoints.as_ref().unwrap()[0].addresses, ["127.0.0.1"]);
    }

    #[test]
    fn a_service_that_is_deleted_or_no_longer_annotated_loses_its_endpoints() {
        let standing = || {
            let mut standins = Standins::new();
            let mut batch = vec![service(&json!({ECHO_ANNOTATION: "v1"}))];
            standins.complete(&mut batch, &mut |_| Ok("127.0.0.1:1".parse().unwrap()));
            standins
        };
        let key = ObjectKey::new("n", "s");
        for event in [service(&json!({})), Event::Delete(ObjectRef { kind: Kind::Service, key })] {
            let mut batch = vec![event];
            standing().complete(&mut batch, &mut never);
            let slice = ObjectRef { kind: Kind::EndpointSlice, key: ObjectKey::new("n", "s-transom-echo") };
            assert_eq!(batch[1..], [Event::Delete(slice)]);
        }
    }

    #[test]
    fn several_names_are_as_many_backends_and_what_is_no_longer_named_goes() {
        let mut standins = Standins::new();
        let mut port = 0;
        let mut start = |_: &EchoBackend| {
            port += 1;
            Ok(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let mut batch = vec![service(&json!({ECHO_ANNOTATION: "a, b,a"}))];
        standins.complete(&mut batch, &mut start);
        let [_, Event::Apply(Object::EndpointSlice(first)), Event::Apply(Object::EndpointSlice(second))] = &batch[..]
        else {
            panic!("{batch:?}")
        };
        let port_of = |slice: &EndpointSlice| slice.ports.as_ref().unwrap()[0].port;
        assert_eq!((port_of(first), port_of(second)), (Some(1), Some(2)));
        let mut batch = vec![service(&json!({ECHO_ANNOTATION: "b"}))];
        standins.complete(&mut batch, &mut never);
        let [_, Event::Apply(Object::EndpointSlice(only)), Event::Delete(gone)] = &batch[..] else {
            panic!("{batch:?}")
        };
        assert_eq!((port_of(only), gone.key.name.as_str()), (Some(2), "s-transom-echo-1"));
    }

    #[test]
    fn a_backend_that_cannot_be_started_is_told_and_the_service_is_applied_without_it() {
        let mut batch = vec![service(&json!({ECHO_ANNOTATION: "v1"}))];
        let refusals = Standins::new().complete(&mut batch, &mut |_| Err(std::io::ErrorKind::AddrInUse.into()));
        assert_eq!(batch.len(), 1);
        assert_eq!(refusals[0].annotation, ECHO_ANNOTATION);
    }

    #[test]
    fn an_annotated_secret_gets_a_certificate_for_its_hosts_and_keeps_it() {
        let asked = || {
            vec![secret(json!({"metadata": {"namespace": "n", "name": "c",
                "annotations": {SELF_SIGNED_ANNOTATION: "localhost, *.localhost,127.0.0.1"}}}))]
        };
        let mut standins = Standins::new();
        let (mut first, mut second) = (asked(), asked());
        assert!(standins.complete(&mut first, &mut never).is_empty());
        standins.complete(&mut second, &mut never);
        assert_eq!(pem(&first[0]), pem(&second[0]));
        let (chain, key) = pem(&first[0]);
        let certificate = Certificate::from_pem(&chain, &key).unwrap();
        assert_eq!(certificate.names, ["localhost", "*.localhost", "127.0.0.1"]);
    }

    #[test]
    fn a_secret_with_a_certificate_of_its_own_is_left_alone() {
        let own = secret(json!({"metadata": {"name": "c", "annotations": {SELF_SIGNED_ANNOTATION: "a"}},
            "data": {"tls.crt": "YQ==", "tls.key": "Yg=="}}));
        let mut batch = vec![own.clone()];
        Standins::new().complete(&mut batch, &mut never);
        assert_eq!(batch, [own]);
    }

    #[test]
    fn hosts_that_no_certificate_can_have_are_refused() {
        for hosts in ["", " , ", "naïve.localhost", "a b", "localhost, *", "a.*.b"] {
            let mut batch = vec![secret(json!({"metadata": {"name": "c",
                "annotations": {SELF_SIGNED_ANNOTATION: hosts}}}))];
            let refusals = Standins::new().complete(&mut batch, &mut never);
            assert_eq!(refusals.len(), 1, "{hosts:?}");
        }
    }
}
