//! Snapshots for the tests of this room, out of YAML and by the real translator.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::api::{Kind, Object};
use crate::quickstart::Standins;
use crate::store::{Change, Event, Resources};
use crate::translate::{self, Binds, Exposure, Fleet, Origin, Settings, Translation};

/// Translates YAML documents of one namespace, `default`.
pub fn translate(yaml: &str, port_offset: u16) -> Translation {
    let mut batch = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let mut value = serde_json::Value::deserialize(document).unwrap();
        let Some(kind) = value["kind"].as_str().map(str::to_owned) else { continue };
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
        if kind.namespaced() {
            value["metadata"]["namespace"] = "default".into();
        }
        batch.push(Event::Apply(Object::from_value(kind, value).unwrap()));
    }
    let address: SocketAddr = "127.0.0.1:4000".parse().unwrap();
    assert_eq!(Standins::new().complete(&mut batch, &mut |_| Ok(address)), []);
    let mut resources = Resources::default();
    for event in batch {
        resources.apply(event, &mut Change::default());
    }
    let settings = Settings {
        controller_name: "transom.dev/gateway-controller".into(),
        origin: Origin::Files,
        binds: Binds::Assumed,
        port_offset,
        exposure: Exposure::Host,
        publish_addresses: Vec::new(),
        fleet: Fleet::Alone,
    };
    translate::translate(&resources, &settings)
}

/// The quick start, translated.
pub fn quickstart() -> Translation {
    translate(crate::quickstart::manifest_text(), 0)
}
