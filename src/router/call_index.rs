//! From a host and a gRPC call to the entries that may take it.
//!
//! In come the runs of entries that share a host and, if they name one, a service and a method; out go runs again. Calls
//! that are named are found by hash; expressions and what takes every service stand in a list for each host, as
//! expressions of paths do. Headers are not known here.

use std::ops::Range;

use super::call::Call;
use super::path_index::{HostKey, PathIndex, Run};
use super::precedence::NameRank;

/// All matches of calls, of all hosts.
#[derive(Debug, Default)]
pub(super) struct CallIndex {
    /// Under `/service/method`, and under `/service` those that name no method.
    named: PathIndex,
    /// By the number of the host: where the entries lie that name no service.
    unnamed: Vec<Range<u32>>,
}

impl CallIndex {
    /// Room for so many runs that name a service.
    pub(super) fn with_room(named: usize) -> Self {
        CallIndex { named: PathIndex::with_room(named), unnamed: Vec::new() }
    }

    /// Adds a run: the entries of one service and method, those of one service without exact method, or those
    /// without exact service. `is_free` says that the first of them asks for nothing else.
    pub(super) fn push(&mut self, host: HostKey, names: (NameRank<'_>, NameRank<'_>), run: Range<u32>, is_free: bool) {
        let number = host.number as usize;
        if self.unnamed.len() <= number {
            self.unnamed.resize(number.saturating_add(1), 0..0);
        }
        match names {
            (NameRank::Exact(_, service), NameRank::Exact(_, method)) => {
                let end = if is_free { run.start } else { run.end };
                self.named.push_exact(host, &format!("/{service}/{method}"), run.start..end);
            }
            (NameRank::Exact(_, service), _) => self.named.push_exact(host, &format!("/{service}"), run),
            _ => {
                if let Some(unnamed) = self.unnamed.get_mut(number) {
                    *unnamed = run;
                }
            }
        }
    }

    /// No run is added any more.
    pub(super) fn close(&mut self) {
        self.named.close();
    }

    /// Whether no entry takes calls alone.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.unnamed.is_empty()
    }

    /// The run of this very service and method.
    #[inline]
    pub(super) fn method(&self, host: HostKey, call: Call<'_>, path: &str) -> Option<&Run> {
        call.names.and_then(|_| self.named.exact(host, path))
    }

    /// The entries of this very service whose method is an expression or any.
    #[inline]
    pub(super) fn service(&self, host: HostKey, call: Call<'_>, path: &str) -> Option<Range<u32>> {
        let (_, method) = call.names?;
        let service = path.get(..path.len().checked_sub(method.len() + 1)?)?;
        self.named.exact(host, service).map(|run| run.first..run.end)
    }

    /// The entries whose service is an expression or any.
    #[inline]
    pub(super) fn unnamed(&self, host: HostKey) -> Option<Range<u32>> {
        self.unnamed.get(host.number as usize).cloned()
    }
}
