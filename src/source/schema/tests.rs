//! Each kind of constraint, each family of rules, and that everything embedded can be read.

use serde_json::{Value, json};

use super::*;

#[test]
fn every_embedded_schema_is_read_whole() {
    assert!(serde_json::from_str::<Bundle>(GATEWAY_API).is_ok() && serde_json::from_str::<Bundle>(CORE).is_ok());
    assert_eq!(kinds().len(), 19);
    Node::read(include_str!("../../../config/schema/metadata.json")).unwrap();
    for kind in kinds() {
        assert!(kind.versions().count() > 0, "{}", kind.kind);
        for source in &kind.sources {
            let node = Node::read(source.json).unwrap_or_else(|e| panic!("{}: {e}", kind.kind));
            assert!(!node.properties.is_empty(), "{}", kind.kind);
        }
    }
}
