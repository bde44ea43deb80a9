//! gRPC calls: what makes a request one, which service and method it asks for, and which of them a match takes.
//!
//! In come headers and a normalised path; out go a [`Call`] and whether a [`CallMatch`] takes it. Which of two matches
//! wins stands in [`precedence`](super::precedence).
//!
//! A match of a call takes no other request: "If no matches are specified, the implementation MUST match every gRPC
//! request" (GRPCRouteRule, matches), which leaves all else to the HTTPRoutes of the same host.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::route_match::{RequestParts, ValueMatch};

/// A request that is a gRPC call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'r> {
    /// Service and method; none if the path has not both.
    pub names: Option<(&'r str, &'r str)>,
}

/// Which calls: both parts must fit; one that is none takes all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallMatch {
    /// The service with its package, as `shop.v1.Cart`.
    pub service: Option<ValueMatch>,
    /// The method, as `Add`.
    pub method: Option<ValueMatch>,
}

/// Whether headers are those of a gRPC call: "Content-Type → "content-type" "application/grpc" [("+proto" / "+json" /
/// {custom})]" (gRPC over HTTP/2). gRPC-web is another protocol, with its trailers in the body.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"application/grpc";
    let sent = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().split_at_checked(KIND.len()));
    sent.is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(KIND) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
    })
}

impl<'r> Call<'r> {
    /// The call that a request is.
    #[must_use]
    pub fn of(request: &RequestParts<'r>) -> Option<Self> {
        is_grpc(request.headers).then(|| Call::at(request.path))?
    }

    /// The call of a path: "Path → ":path" "/" Service-Name "/" {method name}" (gRPC over HTTP/2). The method stands
    /// behind the last slash.
    fn at(path: &'r str) -> Option<Self> {
        let names = path.strip_prefix('/')?.rsplit_once('/');
        Some(Call { names: names.filter(|(service, method)| !service.is_empty() && !method.is_empty()) })
    }
}

impl CallMatch {
    /// Whether a call is one of these.
    #[must_use]
    pub fn takes(&self, call: Call<'_>) -> bool {
        match (&self.service, &self.method) {
            (None, None) => true,
            (service, method) => call.names.is_some_and(|(asked_service, asked_method)| {
                self.is_possible() && takes(service.as_ref(), asked_service) && takes(method.as_ref(), asked_method)
            }),
        }
    }

    /// Whether there can be such a call: exact names "MUST be syntactically valid: Must not contain `/` character", and
    /// are not empty. Others match nothing.
    pub(super) fn is_possible(&self) -> bool {
        let is_name = |value: &ValueMatch| match value {
            ValueMatch::Exact(name) => !name.is_empty() && !name.contains('/'),
            ValueMatch::Regex(_) => true,
        };
        self.service.iter().chain(&self.method).all(is_name)
    }
}

fn takes(wanted: Option<&ValueMatch>, found: &str) -> bool {
    match wanted {
        None => true,
        Some(ValueMatch::Exact(name)) => name == found,
        Some(ValueMatch::Regex(pattern)) => pattern.is_match(found),
    }
}

impl std::fmt::Display for CallMatch {
    /// `shop.v1.Cart/Add`, with `*` for what takes all.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (part, before) in [(&self.service, ""), (&self.method, "/")] {
            match part {
                Some(value) => write!(f, "{before}{value}")?,
                None => write!(f, "{before}*")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type() {
        let is = |kind: &'static str| is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]));
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;a=b", "Application/GRPC+json"] {
            assert!(is(kind), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grpcx", "application/grp", ""] {
            assert!(!is(kind), "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn the_method_stands_behind_the_last_slash() {
        let names = |path| Call::at(path).unwrap().names;
        assert_eq!(names("/shop.v1.Cart/Add"), Some(("shop.v1.Cart", "Add")));
        assert_eq!(names("/prefix/shop.Cart/Add"), Some(("prefix/shop.Cart", "Add")));
        for path in ["/", "/Add", "/Cart/"] {
            assert_eq!(names(path), None, "{path}");
        }
        assert_eq!(Call::at("*"), None);
    }
}
