//! I/O out: statuses to the API server. The last translation's [`Statuses`](crate::translate::Statuses) and what
//! objects have now come in; patches go out, from the leader alone, only where something differs, and only over the
//! version that was looked at.
//!
//! `merge` (pure) says what a status becomes, `finalizer` (pure) whether a class may go, `live` holds what objects have, `writer` writes, `lease` says who leads.
//! It does not know how statuses are judged.

mod finalizer;
mod lease;
mod live;
pub mod merge;
mod writer;

pub use lease::{Candidate, Terms, lead};
pub use writer::{StatusWriter, Verdicts};
