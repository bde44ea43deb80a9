//! Mirrors: who gets a copy, and of how many requests.

use super::backend::UpstreamRef;
use super::filter_fault::{FilterFault, FilterPlace};
use super::problem::RefPlace;
use super::reading::Reading;
use crate::api::http_route::{Fraction, HttpRequestMirrorFilter};

/// A mirror whose reference resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorNode {
    /// Who gets the copy.
    pub upstream: UpstreamRef,
    /// Of so many requests …
    pub numerator: u32,
    /// … of so many.
    pub denominator: u32,
}

/// Reads a mirror; `None` mirrors nothing: its reference does not resolve, or its part is none.
///
/// "If the referent cannot be found, this BackendRef is invalid and must be dropped from the Gateway": that is said
/// of the reference, and the primary is served without it.
pub fn read<'a>(
    asked: &'a HttpRequestMirrorFilter,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> Option<MirrorNode> {
    let reference = RefPlace::Mirror { list: place.list, index: place.index };
    let upstream = reading.backend(reference, &asked.backend_ref);
    match part(asked) {
        Err(fault) => {
            reading.fault(place, fault);
            None
        }
        Ok((0, _)) => None,
        Ok((numerator, denominator)) => upstream.map(|upstream| MirrorNode { upstream, numerator, denominator }),
    }
}

/// "If neither field is specified, 100% of requests will be mirrored."
fn part(asked: &HttpRequestMirrorFilter) -> Result<(u32, u32), FilterFault<'_>> {
    match (asked.percent, &asked.fraction) {
        (None, None) => Ok((100, 100)),
        (Some(found), None) => {
            let percent = u32::try_from(found).ok().filter(|percent| *percent <= 100);
            percent.map(|percent| (percent, 100)).ok_or(FilterFault::Percent(found))
        }
        (None, Some(found)) => fraction(found).ok_or(FilterFault::Fraction(found)),
        (Some(_), Some(_)) => Err(FilterFault::PercentAndFraction),
    }
}

fn fraction(found: &Fraction) -> Option<(u32, u32)> {
    let (numerator, denominator) = (u32::try_from(found.numerator).ok()?, u32::try_from(found.denominator).ok()?);
    (denominator > 0 && numerator <= denominator).then_some((numerator, denominator))
}
