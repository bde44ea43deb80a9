//! `SessionPersistence` (experimental, GEP-1619), of HTTPRoute and GRPCRoute rules.

use serde::{Deserialize, Serialize};

use super::common::open_enum;

/// `SessionPersistence`: requests of one session go to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// GEP-2257 duration after which a session ends, however active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<String>,
    /// Default `Cookie`.
    #[serde(rename = "type", default = "cookie")]
    pub kind: SessionPersistenceType,
    /// Only with `Cookie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieConfig>,
    /// Only with `Header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderConfig>,
}

open_enum! {
    /// `SessionPersistenceType`.
    SessionPersistenceType { Cookie = "Cookie", Header = "Header" }
}

/// `CookieConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieConfig {
    /// Default: the implementation's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Default `/`.
    #[serde(default = "slash")]
    pub path: String,
    /// Default `Session`.
    #[serde(default = "session")]
    pub lifetime_type: CookieLifetimeType,
}

open_enum! {
    /// `CookieLifetimeType`: until the client forgets, or for `absoluteTimeout`.
    CookieLifetimeType { Session = "Session", Permanent = "Permanent" }
}

/// `HeaderConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderConfig {
    /// The header that carries the session.
    pub name: String,
}

fn cookie() -> SessionPersistenceType {
    SessionPersistenceType::Cookie
}

fn session() -> CookieLifetimeType {
    CookieLifetimeType::Session
}

fn slash() -> String {
    "/".to_owned()
}
