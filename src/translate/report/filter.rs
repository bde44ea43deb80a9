//! The words for filters that cannot be served as asked: what was found, what is allowed, what is answered.

use super::condition::{ACCEPTED, Telling, named};
use crate::snapshot::filter::FRAMING;
use crate::translate::graph::filter_fault::{FilterFault, FilterList, FilterPlace, HeaderFault, HeaderList};

/// Filters that cannot stand together.
pub fn incompatible(list: FilterList, first: &str, second: &str) -> Telling {
    let message = if first == second {
        format!("filter {first} stands more than once; allowed: once")
    } else {
        format!("{first} and {second} cannot stand together")
    };
    Telling::no(ACCEPTED, "IncompatibleFilters", list.to_string(), format!("{message}; {}", answers(list)))
}

/// A filter that cannot be served as asked.
pub fn fault(place: &FilterPlace<'_>, fault: &FilterFault<'_>) -> Telling {
    let (part, message) = words(place.kind, fault);
    let field = if part.is_empty() { place.to_string() } else { format!("{place}.{part}") };
    Telling::no(ACCEPTED, "UnsupportedValue", field, format!("{message}; {}", answers(place.list)))
}

/// Field of an entry of a header modifier, from the object down.
pub fn header_field(place: &FilterPlace<'_>, list: HeaderList, index: usize) -> String {
    format!("{place}.{}.{}[{index}]", modifier(place.kind), list.field())
}

fn answers(list: FilterList) -> &'static str {
    match list.backend {
        None => "the rule answers 500",
        Some(_) => "the share of this backend answers 500",
    }
}

fn modifier(kind: &str) -> &'static str {
    if kind == "ResponseHeaderModifier" { "responseHeaderModifier" } else { "requestHeaderModifier" }
}

/// The field of a filter that its type names.
fn part(kind: &str) -> &'static str {
    if kind == "RequestRedirect" { "requestRedirect" } else { "urlRewrite" }
}

/// The field from the filter down, and what is said of it.
fn words(kind: &str, fault: &FilterFault<'_>) -> (String, String) {
    let part = part(kind);
    match fault {
        FilterFault::UnknownType => (String::new(), format!("filter {kind} is not known to routes of this kind")),
        FilterFault::NotServed => (String::new(), format!("filter {kind} is not served by this version of Transom")),
        FilterFault::Extension(reference) => {
            let what = named(&reference.group, &reference.kind);
            let message = format!("{what} {} is not a filter; no kind of extension is supported", reference.name);
            ("extensionRef".to_owned(), message)
        }
        FilterFault::RuleOnly => {
            let message = format!("filter {kind} is not served at a backendRef; put it into the filters of the rule");
            (String::new(), message)
        }
        FilterFault::Missing(field) => ((*field).to_owned(), format!("filter {kind} needs it, and it is not given")),
        FilterFault::Stray(field) => (
            (*field).to_owned(),
            format!("it belongs to another type than {kind}; allowed: only the field of the type"),
        ),
        FilterFault::Header { list, index, why } => {
            let (field, message) = header(*why);
            (format!("{}.{}[{index}]{field}", modifier(kind), list.field()), message)
        }
        FilterFault::Scheme(found) => {
            (format!("{part}.scheme"), format!("{found:?} is not a scheme of redirects; allowed: http, https"))
        }
        FilterFault::Hostname(found) => {
            let allowed = "a DNS name such as a.example.com, without wildcard, and no IP address";
            (format!("{part}.hostname"), format!("{found:?} is not a precise hostname; allowed: {allowed}"))
        }
        FilterFault::Port(found) => (format!("{part}.port"), format!("{found} is out of range; allowed: 1 to 65535")),
        FilterFault::StatusCode(found) => {
            let message = format!("{found} is not a status of redirects; allowed: 301, 302, 303, 307, 308");
            (format!("{part}.statusCode"), message)
        }
        FilterFault::PathType(found) => {
            let message = format!("{found:?} is not known; allowed: ReplaceFullPath, ReplacePrefixMatch");
            (format!("{part}.path.type"), message)
        }
        FilterFault::Path { field, found } => {
            let allowed = "an absolute path in ASCII without ?, # and spaces, not above the root";
            ((*field).to_owned(), format!("{found:?} is not a path; allowed: {allowed}"))
        }
        FilterFault::NoPrefix => {
            let message = "ReplacePrefixMatch needs a prefix to replace; allowed: only where every match of the rule is \
                           a PathPrefix";
            (format!("{part}.path.type"), message.to_owned())
        }
        FilterFault::Percent(found) => {
            ("requestMirror.percent".to_owned(), format!("{found} is out of range; allowed: 0 to 100"))
        }
        FilterFault::Fraction(found) => {
            let allowed = "a numerator from 0 to the denominator, and a denominator from 1";
            let message = format!("{}/{} is not a part; allowed: {allowed}", found.numerator, found.denominator);
            ("requestMirror.fraction".to_owned(), message)
        }
        FilterFault::PercentAndFraction => {
            ("requestMirror".to_owned(), "both percent and fraction are given; allowed: one of them".to_owned())
        }
        FilterFault::Origin { index, found } => {
            let allowed = "* or http(s)://host[:port], where the host may be * or begin with *.";
            (format!("cors.allowOrigins[{index}]"), format!("{found:?} is not an origin; allowed: {allowed}"))
        }
        FilterFault::Method { index, found } => {
            let allowed = "*, GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH";
            (format!("cors.allowMethods[{index}]"), format!("{found:?} is not a method; allowed: {allowed}"))
        }
        FilterFault::Name { field, index, found } => {
            (format!("{field}[{index}]"), format!("{found:?} is not a header name; allowed: * or a name"))
        }
        FilterFault::MaxAge(found) => {
            ("cors.maxAge".to_owned(), format!("{found} is out of range; allowed: 1 and more seconds"))
        }
    }
}

fn header(why: HeaderFault<'_>) -> (&'static str, String) {
    match why {
        HeaderFault::Name(found) => ("", format!("{found:?} is not a header name")),
        HeaderFault::Framing(found) => {
            let names = FRAMING.join(", ");
            let why = "frames the message or belongs to one connection";
            ("", format!("{found:?} {why}; allowed: all names but {names} and those of HTTP/2 that begin with :"))
        }
        HeaderFault::Host => ("", "Host cannot be added to or removed; allowed: set".to_owned()),
        HeaderFault::Value(name) => (
            ".value",
            format!(
                "the value of {name:?} is not a header value; allowed: text without control characters, and without spaces at its ends"
            ),
        ),
        HeaderFault::HostValue(found) => {
            (".value", format!("{found:?} is not a host; allowed: a host, with or without port"))
        }
    }
}
