//! Towards the endpoints: which one, over which connection, with which headers. An endpoint is chosen by work in
//! flight; pools are apart for each upstream. Nothing here knows why a request goes to an upstream.

pub mod balance;
pub mod headers;
pub mod peer;

pub use balance::{Choice, Pick, Ticket, UpstreamLoad};
