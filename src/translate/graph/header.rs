//! Header modifiers: names parsed, values checked, one entry a name in each list. What would break framing or the
//! connection is refused, whether it is set, added to or removed.

use http::{HeaderName, HeaderValue};

use super::filter_fault::{FilterFault, FilterPlace, HeaderFault, HeaderList};
use super::problem::Remark;
use super::reading::Reading;
use crate::api::http_route::{HttpHeader, HttpHeaderFilter};
use crate::router::hostname::normalise_host;
use crate::snapshot::filter::{HeaderChanges, is_framing};

/// Whose headers are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request's: `Host` says who is asked, so it is set or left alone.
    Request,
    /// The answer's: `Host` means nothing.
    Response,
}

/// Reads a header modifier.
pub fn changes<'a>(
    asked: &'a HttpHeaderFilter,
    of: Message,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> HeaderChanges {
    HeaderChanges {
        set: pairs(&asked.set, (of, HeaderList::Set), place, reading),
        add: pairs(&asked.add, (of, HeaderList::Add), place, reading),
        remove: names(&asked.remove, of, place, reading),
    }
}

/// "If multiple entries specify equivalent header names, the first entry with an equivalent name MUST be
/// considered [...]. Subsequent entries with an equivalent header name MUST be ignored."
fn pairs<'a>(
    asked: &'a [HttpHeader],
    (of, list): (Message, HeaderList),
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> Box<[(HeaderName, HeaderValue)]> {
    let mut pairs: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(asked.len());
    for (index, header) in asked.iter().enumerate() {
        match name(&header.name, of, list).and_then(|name| Ok((value(header, &name, of)?, name))) {
            Err(why) => reading.fault(place, FilterFault::Header { list, index, why }),
            Ok((_, name)) if pairs.iter().any(|(known, _)| *known == name) => {
                repeated(list, index, &header.name, place, reading);
            }
            Ok((value, name)) => pairs.push((name, value)),
        }
    }
    pairs.into()
}

fn names<'a>(
    asked: &'a [String],
    of: Message,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> Box<[HeaderName]> {
    let list = HeaderList::Remove;
    let mut names: Vec<HeaderName> = Vec::with_capacity(asked.len());
    for (index, text) in asked.iter().enumerate() {
        match name(text, of, list) {
            Err(why) => reading.fault(place, FilterFault::Header { list, index, why }),
            Ok(name) if names.contains(&name) => repeated(list, index, text, place, reading),
            Ok(name) => names.push(name),
        }
    }
    names.into()
}

fn name(text: &str, of: Message, list: HeaderList) -> Result<HeaderName, HeaderFault<'_>> {
    // HTTP/2 pseudo-header fields (RFC 9113 8.3) are no fields to change.
    if text.starts_with(':') || is_framing(text) {
        return Err(HeaderFault::Framing(text));
    }
    match HeaderName::from_bytes(text.as_bytes()) {
        Err(_) => Err(HeaderFault::Name(text)),
        Ok(name) if name == http::header::HOST && of == Message::Request && list != HeaderList::Set => {
            Err(HeaderFault::Host)
        }
        Ok(name) => Ok(name),
    }
}

fn value<'a>(header: &'a HttpHeader, name: &HeaderName, of: Message) -> Result<HeaderValue, HeaderFault<'a>> {
    let text = header.value.as_str();
    // RFC 9113 8.2.1: "A field value MUST NOT start or end with an ASCII whitespace character"; a backend may take
    // one that does as a malformed request.
    let trimmed = text.trim_matches([' ', '\t']) == text && !text.is_empty();
    let value = HeaderValue::from_str(text).ok().filter(|_| trimmed).ok_or(HeaderFault::Value(&header.name))?;
    if of == Message::Request && *name == http::header::HOST && normalise_host(text).is_err() {
        return Err(HeaderFault::HostValue(text));
    }
    Ok(value)
}

fn repeated<'a>(list: HeaderList, index: usize, name: &'a str, place: FilterPlace<'a>, reading: &mut Reading<'_, 'a>) {
    reading.remarks.add(reading.kind, reading.key, Remark::RepeatedHeader { place, list, index, name });
}
