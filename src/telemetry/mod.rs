//! What an operator sees: logs, metrics, and the one vocabulary of local answers. Imports nothing of ours.

pub mod reason;
pub mod request;

pub use reason::Reason;
pub use request::{ListenerLabels, RequestRecord, RouteLabels};
