//! HTTPRouteMatch -> RouteMatch. A match that cannot be compiled is none: it never matches, and never matches *more*.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use http::{HeaderName, HeaderValue, Method};

use super::problem::MatchFault;
use crate::api::http_route::{HttpPathMatch, HttpRouteMatch, PathMatchType, ValueMatchType};
use crate::router::path;
use crate::router::{HeaderMatch, PathMatch, Pattern, QueryMatch, RouteMatch, ValueMatch};

/// Longest path of the specification, in bytes.
const MAX_PATH: usize = 1024;

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

        let mut headers = Vec::with_capacity(asked.headers.len());
        for header in &asked.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| MatchFault::HeaderName(header.name.as_str()))?;
            let value = self.value("headers", &header.kind, &header.value)?;
            if matches!(value, ValueMatch::Exact(_)) && HeaderValue::from_str(&header.value).is_err() {
                return Err(MatchFault::HeaderValue(&header.value));
            }
            headers.push(HeaderMatch { name, value });
        }

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
