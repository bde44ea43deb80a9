//! What an API server judges beyond a schema: names, labels, and the core kinds' own rules.
//!
//! One rule of an API server is left out on purpose: endpoints on loopback addresses, which it refuses, are how
//! a laptop is served.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::ByteString;
use serde_json::{Map, Value};

use crate::api::{Kind, Object};
use crate::source::schema::name::{
    is_dns_1035_label, is_dns_label, is_dns_subdomain, is_label_value, is_port_name, is_qualified_name,
};
use crate::source::schema::{Finding, KindSchema, Weight};

/// Most bytes of the values of a Secret or ConfigMap.
const MAX_DATA: usize = 1 << 20;
/// Most bytes of all annotations of an object.
const MAX_ANNOTATIONS: usize = 256 << 10;

fn refused(field: impl Into<String>, message: impl Into<String>) -> Finding {
    Finding { field: field.into(), message: message.into(), weight: Weight::Refused }
}

/// Gives an object its namespace: `default` where none is named, none where its kind has none.
pub fn place(metadata: &mut Map<String, Value>, kind: &KindSchema) -> Option<Finding> {
    let absent = metadata.get("namespace").is_none_or(|n| n.is_null() || n.as_str() == Some(""));
    if kind.namespaced {
        if absent {
            metadata.insert("namespace".to_owned(), "default".into());
        }
        return None;
    }
    // One that is no text stays, to be refused for its type.
    if !absent && !metadata.get("namespace").is_some_and(Value::is_string) {
        return None;
    }
    let namespace = metadata.shift_remove("namespace")?;
    (!absent).then(|| Finding {
        field: "metadata.namespace".to_owned(),
        message: format!("found {namespace}, allowed none: a {} belongs to no namespace", kind.kind),
        weight: Weight::UnknownField,
    })
}

/// Judges an object's names, labels and annotations.
pub fn names(object: &Value, kind: &KindSchema) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(Value::Object(metadata)) = object.get("metadata") else { return findings };
    match metadata.get("name") {
        Some(Value::String(name)) => {
            let (fits, allowed): (bool, _) = match kind.kind {
                "Service" => {
                    (is_dns_1035_label(name), "at most 63 lower-case letters, digits and -, beginning with a letter")
                }
                "Namespace" => (is_dns_label(name), "at most 63 lower-case letters, digits and -"),
                _ => (
                    is_dns_subdomain(name),
                    "at most 253 lower-case letters, digits, - and dots, a letter or digit at both ends",
                ),
            };
            if !fits {
                findings.push(refused("metadata.name", format!("found {name:?}, allowed {allowed}")));
            }
        }
        Some(_) => {}
        None => findings
            .push(refused("metadata.name", "found none, allowed a name of lower-case letters, digits, - and dots")),
    }
    if let Some(namespace) = metadata.get("namespace").and_then(Value::as_str)
        && !is_dns_label(namespace)
    {
        let allowed = "at most 63 lower-case letters, digits and -";
        findings.push(refused("metadata.namespace", format!("found {namespace:?}, allowed {allowed}")));
    }
    if let Some(Value::Object(labels)) = metadata.get("labels") {
        label_findings("metadata.labels", labels, &mut findings);
    }
    if let Some(Value::Object(annotations)) = metadata.get("annotations") {
        let keys = annotations.keys().filter(|key| !is_qualified_name(&key.to_lowercase()));
        findings.extend(keys.map(|key| bad_key("metadata.annotations", key)));
        let size: usize = annotations.iter().map(|(key, text)| key.len() + text.as_str().map_or(0, str::len)).sum();
        if size > MAX_ANNOTATIONS {
            let message = format!("found {size} bytes, allowed at most {MAX_ANNOTATIONS}");
            findings.push(refused("metadata.annotations", message));
        }
    }
    findings
}

fn label_findings(field: &str, labels: &Map<String, Value>, findings: &mut Vec<Finding>) {
    for (key, value) in labels {
        if !is_qualified_name(key) {
            findings.push(bad_key(field, key));
        }
        if let Some(value) = value.as_str()
            && !is_label_value(value)
        {
            let allowed = "at most 63 letters, digits, -, _ and dots, a letter or digit at both ends";
            findings.push(refused(format!("{field}[{key}]"), format!("found {value:?}, allowed {allowed}")));
        }
    }
}

fn bad_key(field: &str, key: &str) -> Finding {
    let allowed = "an optional DNS name and /, then at most 63 letters, digits, -, _ and dots";
    refused(format!("{field}[{key}]"), format!("found the key {key:?}, allowed {allowed}"))
}

/// Judges an object of a core kind by the rules of that kind; what `known` already names is left out.
pub fn rules(kind: Kind, object: &Value, known: &[Finding]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if known.iter().any(|finding| finding.weight == Weight::Refused) {
        return findings;
    }
    match kind {
        Kind::Service => service(object, &mut findings),
        Kind::EndpointSlice => endpoint_slice(object, &mut findings),
        Kind::Secret => secret(object, &mut findings),
        Kind::ConfigMap => config_map(object, &mut findings),
        _ => {}
    }
    findings
}

/// What an API server writes into a new object of a core kind: `stringData` into `data`, the label of a
/// Namespace.
pub fn settle(object: &mut Object) {
    match object {
        Object::Secret(secret) => {
            for (key, text) in secret.string_data.take().unwrap_or_default() {
                secret.data.get_or_insert_default().insert(key, ByteString(text.into_bytes()));
            }
        }
        Object::Namespace(namespace) => {
            if let Some(name) = &namespace.metadata.name {
                let labels = namespace.metadata.labels.get_or_insert_default();
                labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
            }
        }
        _ => {}
    }
}

fn elements<'v>(object: &'v Value, field: &str) -> impl Iterator<Item = (usize, &'v Value)> {
    object.get(field).and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn service(object: &Value, findings: &mut Vec<Finding>) {
    let Some(spec) = object.get("spec") else { return };
    let external = text(spec, "type") == "ExternalName";
    let count = elements(spec, "ports").count();
    if count == 0 && !external && text(spec, "clusterIP") != "None" {
        findings.push(refused("spec.ports", "found none, allowed at least one, unless clusterIP is None"));
    }
    if external && !is_dns_subdomain(text(spec, "externalName").trim_end_matches('.')) {
        let found = text(spec, "externalName");
        findings.push(refused("spec.externalName", format!("found {found:?}, allowed a DNS name")));
    }
    let address = text(spec, "clusterIP");
    if !matches!(address, "" | "None") && address.parse::<IpAddr>().is_err() {
        findings.push(refused("spec.clusterIP", format!("found {address:?}, allowed an IP address, None or nothing")));
    }
    if let Some(Value::Object(selector)) = spec.get("selector") {
        label_findings("spec.selector", selector, findings);
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (at, port) in elements(spec, "ports") {
        let field = format!("spec.ports[{at}]");
        let name = text(port, "name");
        if name.is_empty() && count > 1 {
            findings.push(refused(format!("{field}.name"), "found none, allowed a name: there are several ports"));
        } else if !name.is_empty() && !is_dns_label(name) {
            let allowed = "at most 63 lower-case letters, digits and -";
            findings.push(refused(format!("{field}.name"), format!("found {name:?}, allowed {allowed}")));
        } else if !name.is_empty() && !names.insert(name) {
            findings.push(refused(format!("{field}.name"), format!("found {name:?} again, allowed once")));
        }
        let (number, protocol) = (port.get("port").and_then(Value::as_i64), text(port, "protocol"));
        if !numbers.insert((number, protocol)) {
            let found = number.unwrap_or_default();
            findings
                .push(refused(format!("{field}.port"), format!("found {found} again for {protocol}, allowed once")));
        }
        match port.get("targetPort") {
            Some(Value::Number(number)) if !number.as_i64().is_some_and(|n| (1..=65535).contains(&n)) => {
                let message = format!("found {number}, allowed 1 to 65535 or the name of a port");
                findings.push(refused(format!("{field}.targetPort"), message));
            }
            Some(Value::String(name)) if !is_port_name(name) => {
                let allowed = "at most 15 lower-case letters, digits and -, or 1 to 65535 as a number";
                findings.push(refused(format!("{field}.targetPort"), format!("found {name:?}, allowed {allowed}")));
            }
            _ => {}
        }
    }
}

fn endpoint_slice(object: &Value, findings: &mut Vec<Finding>) {
    let family = text(object, "addressType");
    for (at, endpoint) in elements(object, "endpoints") {
        for (index, address) in elements(endpoint, "addresses") {
            let Some(address) = address.as_str() else { continue };
            let (fits, allowed) = match family {
                "IPv4" => (address.parse::<Ipv4Addr>().is_ok_and(|ip| !ip.is_unspecified()), "an IPv4 address"),
                "IPv6" => (address.parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_unspecified()), "an IPv6 address"),
                _ => (is_dns_subdomain(address), "a DNS name"),
            };
            if !fits {
                let field = format!("endpoints[{at}].addresses[{index}]");
                let message = format!("found {address:?}, allowed {allowed}, as addressType is {family}");
                findings.push(refused(field, message));
            }
        }
        let hostname = text(endpoint, "hostname");
        if !hostname.is_empty() && !is_dns_label(hostname) {
            let allowed = "at most 63 lower-case letters, digits and -";
            findings
                .push(refused(format!("endpoints[{at}].hostname"), format!("found {hostname:?}, allowed {allowed}")));
        }
    }
    let mut names = HashSet::new();
    for (at, port) in elements(object, "ports") {
        let name = text(port, "name");
        if !name.is_empty() && !is_dns_label(name) {
            let allowed = "at most 63 lower-case letters, digits and -, or nothing";
            findings.push(refused(format!("ports[{at}].name"), format!("found {name:?}, allowed {allowed}")));
        } else if !names.insert(name) {
            findings.push(refused(format!("ports[{at}].name"), format!("found {name:?} again, allowed once")));
        }
    }
}

fn secret(object: &Value, findings: &mut Vec<Finding>) {
    data_findings(object, &["data", "stringData"], findings);
    let has =
        |key: &str| ["data", "stringData"].iter().any(|part| object.get(part).and_then(|data| data.get(key)).is_some());
    let needed: &[&str] = match text(object, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|key| !has(key)) {
        let message = format!("found none, allowed a value: type {} needs it", text(object, "type"));
        findings.push(refused(format!("data[{key}]"), message));
    }
}

fn config_map(object: &Value, findings: &mut Vec<Finding>) {
    data_findings(object, &["data", "binaryData"], findings);
    let both = |key: &&String| object.get("data").is_some_and(|data| data.get(key.as_str()).is_some());
    if let Some(Value::Object(binary)) = object.get("binaryData") {
        for key in binary.keys().filter(both) {
            findings.push(refused(format!("binaryData[{key}]"), "found the key in data too, allowed in one of them"));
        }
    }
}

/// Keys and size of the values of a Secret or ConfigMap. No value is in a message.
fn data_findings(object: &Value, parts: &[&str], findings: &mut Vec<Finding>) {
    let mut size = 0;
    for part in parts {
        let Some(Value::Object(entries)) = object.get(part) else { continue };
        for (key, value) in entries {
            size += value.as_str().map_or(0, str::len);
            let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if key.is_empty() || key.len() > 253 || !plain || key == "." || key.starts_with("..") {
                let message = format!("found the key {key:?}, allowed at most 253 letters, digits, -, _ and dots");
                findings.push(refused(format!("{part}[{key}]"), message));
            }
        }
    }
    if size > MAX_DATA {
        let field = parts.first().copied().unwrap_or_default();
        findings.push(refused(field, format!("found {size} bytes of values, allowed at most {MAX_DATA}")));
    }
}
