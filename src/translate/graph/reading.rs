//! What reading one route uses and adds to: compiled expressions and resolved backends that all routes share, and
//! the problems of this route.

use super::Remarks;
use super::backend::{Backends, UpstreamRef};
use super::filter_fault::{FilterFault, FilterPlace};
use super::matching::Patterns;
use super::problem::{BackendProblem, RefPlace, RouteProblem};
use crate::api::{BackendObjectReference, Kind, ObjectKey};

/// One route while it is read.
pub struct Reading<'r, 'a> {
    /// Kind of the route.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: &'a ObjectKey,
    /// Compiled regular expressions.
    pub patterns: &'r mut Patterns<'a>,
    /// Resolved backends.
    pub backends: &'r mut Backends<'a>,
    /// Things to say.
    pub remarks: &'r mut Remarks<'a>,
    /// What of the route is not as asked.
    pub problems: Vec<RouteProblem<'a>>,
    /// References that do not resolve.
    pub backend_problems: Vec<BackendProblem<'a>>,
}

impl<'a> Reading<'_, 'a> {
    /// The upstream of a reference; a problem if there is none.
    pub fn backend(&mut self, place: RefPlace, reference: &'a BackendObjectReference) -> Option<UpstreamRef> {
        let own = self.key.namespace.as_str();
        match self.backends.resolve(self.kind, own, reference, self.remarks) {
            Ok(upstream) => Some(upstream),
            Err(fault) => {
                let namespace = reference.namespace.as_deref().unwrap_or(own);
                self.backend_problems.push(BackendProblem { place, reference, namespace, fault });
                None
            }
        }
    }

    /// A filter that cannot be served as asked.
    pub fn fault(&mut self, place: FilterPlace<'a>, fault: FilterFault<'a>) {
        self.problems.push(RouteProblem::Filter { place, fault });
    }
}
