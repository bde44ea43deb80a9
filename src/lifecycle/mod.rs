//! Becoming ready and going down. Imports nothing of ours.

pub mod readiness;
pub mod signals;

pub use readiness::{Readiness, ReadyTask};
pub use signals::{Shutdown, Signals};
