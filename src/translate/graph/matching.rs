//! HTTPRouteMatch and GRPCRouteMatch -> RouteMatch. A match that cannot be compiled is none: it never matches, and never matches *more*.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use http::{HeaderName, HeaderValue, Method};

use super::problem::MatchFault;
use crate::api::grpc_route::{GrpcMethodMatch, GrpcRouteMatch};
use crate::api::http_route::{HttpPathMatch, HttpRouteMatch, PathMatchType, ValueMatchType};
use crate::router::path;
use crate::router::{CallMatch, HeaderMatch, PathMatch, Pattern, QueryMatch, RouteMatch, ValueMatch};

/// Longest path of the specification, in bytes.
const MAX_PATH: usize = 1024;
/// Longest service or method of the specification, in bytes.
const MAX_NAME: usize = 1024;

/// Regular expressions, each compiled once however many matches have it.
#[derive(Debug, Default)]
pub struct Patterns<'a>(HashMap<&'a str, Result<Pattern, String>, FixedState>);

impl<'a> Patterns<'a> {
    fn compile(&mut self, field: &'static str, text: &'a str) -> Result<Pattern, MatchFault<'a>> {
        let compiled = self.0.entry(text).or_insert_with(|| Pattern::new(text).map_err(|error| error.to_string()));
        compiled.clone().map_err(|fault| MatchFault::Pattern { field, found: text, fault })
    }

    /// Compiles one match of a rule.
    pub fn route_match(&mut self, asked: &'a HttpRouteMatch) -> Result<RouteMatch, MatchFault<'a>> {
        let path = match &asked.path {
            None => PathMatch::Prefix("/".to_owned()),
            Some(path) => self.path(path)?,
        };
        let method = asked.method.as_deref().map(method).transpose()?;

        let headers = asked.headers.iter().map(|header| self.header(&header.kind, &header.name, &header.value));
        let headers = headers.collect::<Result<_, _>>()?;

        let mut query = Vec::with_capacity(asked.query_params.len());
        for param in &asked.query_params {
            if param.name.is_empty() {
                return Err(MatchFault::QueryName);
            }
            let value = self.value("queryParams", &param.kind, &param.value)?;
            query.push(QueryMatch { name: param.name.clone(), value });
        }
        let mut compiled = RouteMatch { path, method, headers, query };
        compiled.drop_repeated_names();
        Ok(compiled)
    }

    /// Compiles one match of a rule of a GRPCRoute.
    pub fn call_match(&mut self, asked: &'a GrpcRouteMatch) -> Result<RouteMatch, MatchFault<'a>> {
        let call = asked.method.as_ref().map_or(Ok(CallMatch::default()), |method| self.call(method))?;
        let headers = asked.headers.iter().map(|header| self.header(&header.kind, &header.name, &header.value));
        let headers = headers.collect::<Result<_, _>>()?;
        let mut compiled = RouteMatch { headers, ..every_call() };
        compiled.path = PathMatch::Call(call);
        compiled.drop_repeated_names();
        Ok(compiled)
    }

    /// "Value of the service to match against. If left empty or omitted, will match any service"; but "at least one of
    /// Service and Method MUST be a non-empty string".
    fn call(&mut self, asked: &'a GrpcMethodMatch) -> Result<CallMatch, MatchFault<'a>> {
        if let ValueMatchType::Other(found) = &asked.kind {
            return Err(MatchFault::ValueType { field: "method.type", found });
        }
        let given = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        let (service, method) = (given(&asked.service), given(&asked.method));
        if service.is_none() && method.is_none() {
            return Err(MatchFault::CallEmpty);
        }
        if asked.kind == ValueMatchType::Exact {
            let no_name = |text: &&str| !text.split('.').all(is_identifier) || text.len() > MAX_NAME;
            // A name may be written as Protocol Buffers write a full one, with a dot before it; no call has such.
            if let Some(found) = service.filter(|text| no_name(&text.strip_prefix('.').unwrap_or(text))) {
                return Err(MatchFault::Service(found));
            }
            if let Some(found) = method.filter(|text| no_name(text) || text.contains('.')) {
                return Err(MatchFault::CallMethod(found));
            }
        }
        let service = service.map(|text| self.value("method.service", &asked.kind, text)).transpose()?;
        let method = method.map(|text| self.value("method.method", &asked.kind, text)).transpose()?;
        Ok(CallMatch { service, method })
    }

    fn header(
        &mut self,
        kind: &'a ValueMatchType,
        name: &'a str,
        text: &'a str,
    ) -> Result<HeaderMatch, MatchFault<'a>> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MatchFault::HeaderName(name))?;
        let value = self.value("headers", kind, text)?;
        if matches!(value, ValueMatch::Exact(_)) && HeaderValue::from_str(text).is_err() {
            return Err(MatchFault::HeaderValue(text));
        }
        Ok(HeaderMatch { name, value })
    }

    fn path(&mut self, asked: &'a HttpPathMatch) -> Result<PathMatch, MatchFault<'a>> {
        let text = asked.value.as_str();
        match &asked.kind {
            PathMatchType::RegularExpression => self.compile("path", text).map(PathMatch::Regex),
            PathMatchType::Other(found) => Err(MatchFault::PathType(found)),
            _ if !sound_path(text) => Err(MatchFault::Path(text)),
            PathMatchType::Exact => Ok(PathMatch::Exact(text.to_owned())),
            PathMatchType::PathPrefix => Ok(PathMatch::Prefix(text.to_owned())),
        }
    }

    fn value(
        &mut self,
        field: &'static str,
        kind: &'a ValueMatchType,
        text: &'a str,
    ) -> Result<ValueMatch, MatchFault<'a>> {
        match kind {
            ValueMatchType::Exact => Ok(ValueMatch::Exact(text.to_owned())),
            ValueMatchType::RegularExpression => self.compile(field, text).map(ValueMatch::Regex),
            ValueMatchType::Other(found) => Err(MatchFault::ValueType { field, found }),
        }
    }
}

/// What takes every gRPC call.
pub fn every_call() -> RouteMatch {
    RouteMatch { path: PathMatch::Call(CallMatch::default()), method: None, headers: Vec::new(), query: Vec::new() }
}

/// The rule of the CRD for a method, and for each part of a service: `[A-Za-z_][A-Za-z_0-9]*`.
fn is_identifier(text: &str) -> bool {
    let is_first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    text.bytes().next().is_some_and(is_first) && text.bytes().all(|b| is_first(b) || b.is_ascii_digit())
}

/// The rules of the CRD: absolute, no `//`, `/./`, `/../`, `%2f` or `#`, not ending in `/.` or `/..`. Put shortly:
/// a path that a request can have, which is one that normalising leaves as it is.
fn sound_path(text: &str) -> bool {
    let normal = path::normalise(text).is_ok_and(|normal| normal == text);
    let slash = text.as_bytes().windows(3).any(|three| three.eq_ignore_ascii_case(b"%2f"));
    normal && !slash && text.starts_with('/') && text.len() <= MAX_PATH && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `HTTPMethod`: a closed list, in upper case.
fn method(text: &str) -> Result<Method, MatchFault<'_>> {
    Ok(match text {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "DELETE" => Method::DELETE,
        "CONNECT" => Method::CONNECT,
        "OPTIONS" => Method::OPTIONS,
        "TRACE" => Method::TRACE,
        "PATCH" => Method::PATCH,
        other => return Err(MatchFault::Method(other)),
    })
}
