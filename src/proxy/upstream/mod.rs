//! Towards the endpoints: which one, over which connection, with which headers. An endpoint is chosen by work in
//! flight, in turn, or by a key; those that checks or requests found wanting are left out; pools are apart for each
//! upstream. Nothing here knows why a request goes to an upstream.

pub mod balance;
pub mod check;
pub mod headers;
pub mod keeper;
pub mod key;
pub mod peer;
pub mod ring;
mod search;
pub mod seat;
#[cfg(test)]
mod tests;

pub use balance::{Nobody, Pick, Ticket, UpstreamLoad};
pub use key::key;
pub use seat::Choice;
