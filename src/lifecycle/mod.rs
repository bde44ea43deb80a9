//! Becoming ready and going down. Imports nothing of ours.

pub mod readiness;

pub use readiness::{Readiness, ReadyTask};
