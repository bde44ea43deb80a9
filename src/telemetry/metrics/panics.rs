//! How often the program panicked.

use std::io::{self, Write};

use super::family::Family;
use super::text::{Labels, family, sample};
use crate::telemetry::panics;

const PANICS: Family =
    Family::counter("transom_panics_total", &[], "Panics of any thread. One in a request ends that request alone.");

pub(super) const FAMILIES: &[Family] = &[PANICS];

pub(super) fn write(out: &mut dyn Write) -> io::Result<()> {
    family(out, &PANICS)?;
    sample(out, &PANICS, "", &Labels::default(), panics::count())
}
