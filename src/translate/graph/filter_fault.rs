//! Where filters stand, and why one cannot be served as asked. Facts only; the words stand in `report/filter.rs`.

use crate::api::common::LocalObjectReference;
use crate::api::http_route::Fraction;

/// A list of filters: a rule's, or that of one of its backendRefs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterList {
    /// Position of the rule.
    pub rule: usize,
    /// Position of the backendRef; none is the rule's own list.
    pub backend: Option<usize>,
}

/// A filter in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterPlace<'a> {
    /// The list.
    pub list: FilterList,
    /// Position in it.
    pub index: usize,
    /// Its type, as it is written.
    pub kind: &'a str,
}

/// Why a filter cannot be served as asked. Fields are named from the filter down, as `urlRewrite.path.type`.
#[derive(Debug, Clone)]
pub enum FilterFault<'a> {
    /// A type that is not known.
    UnknownType,
    /// A type that is known and not served.
    NotServed,
    /// `ExtensionRef`: no kind of extension is served.
    Extension(&'a LocalObjectReference),
    /// A type that is served at rules only.
    RuleOnly,
    /// A field that the type needs.
    Missing(&'static str),
    /// A field that belongs to another type.
    Stray(&'static str),
    /// A header that is not changed.
    Header { list: HeaderList, index: usize, why: HeaderFault<'a> },
    /// Neither `http` nor `https`.
    Scheme(&'a str),
    /// Not a hostname, or a wildcard, or an address.
    Hostname(&'a str),
    /// Not 1 to 65535.
    Port(i32),
    /// Not 301, 302, 303, 307 or 308.
    StatusCode(i32),
    /// Not a type of path modifier.
    PathType(&'a str),
    /// Not an absolute path.
    Path { field: &'static str, found: &'a str },
    /// `ReplacePrefixMatch` in a rule with a match that has no prefix.
    NoPrefix,
    /// Not 0 to 100.
    Percent(i32),
    /// Not a part of a whole.
    Fraction(&'a Fraction),
    /// Both `percent` and `fraction`.
    PercentAndFraction,
    /// Not an origin.
    Origin { index: usize, found: &'a str },
    /// Not a method.
    Method { index: usize, found: &'a str },
    /// Not a header name, in a list of a CORS filter.
    Name { field: &'static str, index: usize, found: &'a str },
    /// Not a number of seconds from 1.
    MaxAge(i32),
}

/// The lists of a header modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderList {
    /// Replaces.
    Set,
    /// Appends.
    Add,
    /// Drops.
    Remove,
}

/// Why a header is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault<'a> {
    /// Not a header name.
    Name(&'a str),
    /// A name on which framing or the connection rests.
    Framing(&'a str),
    /// `Host`, which can be set and nothing else.
    Host,
    /// Not a header value. The value itself is left unsaid: it may be a credential.
    Value(&'a str),
    /// `Host` with what is no host.
    HostValue(&'a str),
}

impl HeaderList {
    /// As the field is named.
    pub fn field(self) -> &'static str {
        match self {
            HeaderList::Set => "set",
            HeaderList::Add => "add",
            HeaderList::Remove => "remove",
        }
    }
}

impl std::fmt::Display for FilterList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.backend {
            None => write!(f, "spec.rules[{}].filters", self.rule),
            Some(backend) => write!(f, "spec.rules[{}].backendRefs[{backend}].filters", self.rule),
        }
    }
}

impl std::fmt::Display for FilterPlace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.list, self.index)
    }
}
