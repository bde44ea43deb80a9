//! What became of the lines of the access log, where there is one.

use std::io::{self, Write};

use super::family::Family;
use super::text::{Labels, family, sample};
use crate::telemetry::AccessLog;

const DROPPED: Family = Family::counter(
    "transom_access_log_dropped_total",
    &[],
    "Access log lines dropped because the writer could not keep up or the output was closed.",
);

pub(super) const FAMILIES: &[Family] = &[DROPPED];

/// Nothing where the log is off.
pub(super) fn write(log: &AccessLog, out: &mut dyn Write) -> io::Result<()> {
    let Some(dropped) = log.dropped() else { return Ok(()) };
    family(out, &DROPPED)?;
    sample(out, &DROPPED, "", &Labels::default(), dropped)
}
