//! Transom: a Kubernetes Gateway API implementation on Cloudflare's Pingora. This page is the map.
#![warn(missing_docs)]

pub mod api;
pub mod lifecycle;
pub mod router;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod translate;
