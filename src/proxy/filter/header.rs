//! Header modifiers. In come checked changes and a header of either side; out goes the changed header. What frames a
//! message or concerns one hop is left alone, whatever the changes say: the translator refuses such a filter, and a
//! request must not be smuggled by one that it overlooked.

use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::snapshot::filter::{HeaderChanges, is_framing};

/// The header of a request or of an answer. Pingora has the same methods on both, and no trait for them.
pub trait Fields {
    /// Replaces every value of a field.
    ///
    /// # Errors
    /// More headers than Pingora can take.
    fn set(&mut self, name: &HeaderName, value: &[u8]) -> pingora::Result<()>;
    /// Appends a value.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    fn add(&mut self, name: &HeaderName, value: &[u8]) -> pingora::Result<()>;
    /// Drops every value.
    fn remove(&mut self, name: &HeaderName);
}

macro_rules! fields {
    ($($header:ty),*) => {$(
        impl Fields for $header {
            fn set(&mut self, name: &HeaderName, value: &[u8]) -> pingora::Result<()> {
                self.insert_header(name, value)
            }

            fn add(&mut self, name: &HeaderName, value: &[u8]) -> pingora::Result<()> {
                self.append_header(name, value).map(|_| ())
            }

            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }
        }
    )*};
}

fields!(RequestHeader, ResponseHeader);

/// Changes a header. A `Host` of a request that is set is a rewrite of the host; there is always exactly one.
///
/// # Errors
/// More headers than Pingora can take.
pub fn change(fields: &mut impl Fields, changes: &HeaderChanges) -> pingora::Result<()> {
    let free = |name: &HeaderName| !is_framing(name.as_str());
    for (name, value) in changes.set.iter().filter(|(name, _)| free(name)) {
        fields.set(name, bytes(value))?;
    }
    for (name, value) in changes.add.iter().filter(|(name, _)| free(name) && *name != http::header::HOST) {
        // A line of its own: joined with "," and no space by whoever reads lists.
        fields.add(name, bytes(value))?;
    }
    for name in changes.remove.iter().filter(|name| free(name) && *name != http::header::HOST) {
        fields.remove(name);
    }
    Ok(())
}

/// The value is copied, not cloned: a clone would count on one counter that all workers share.
fn bytes(value: &HeaderValue) -> &[u8] {
    value.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Box<[(HeaderName, HeaderValue)]> {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn changes(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderChanges {
        let remove = remove.iter().map(|name| name.parse().unwrap()).collect();
        HeaderChanges { set: pairs(set), add: pairs(add), remove }
    }

    /// Every line, as it goes on the wire.
    fn changed(before: &[(&'static str, &str)], changes: &HeaderChanges) -> Vec<String> {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in before {
            request.append_header(*name, *value).unwrap();
        }
        change(&mut request, changes).unwrap();
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        let text = String::from_utf8(wire).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn set_replaces_every_value_whatever_the_case() {
        let lines = changed(&[("X-A", "1"), ("x-a", "2")], &changes(&[("x-A", "3")], &[], &[]));
        assert_eq!(lines, ["x-a: 3"]);
    }

    #[test]
    fn add_appends_a_line_and_remove_drops_all() {
        let lines = changed(&[("X-A", "1"), ("X-B", "2"), ("x-b", "3")], &changes(&[], &[("x-a", "2")], &["X-B"]));
        assert_eq!(lines, ["X-A: 1", "x-a: 2"]);
    }

    #[test]
    fn set_comes_before_add_and_add_before_remove() {
        let all = changes(&[("x-a", "1"), ("x-b", "1")], &[("x-a", "2")], &["x-b"]);
        assert_eq!(changed(&[("x-a", "0")], &all), ["x-a: 1", "x-a: 2"]);
    }

    #[test]
    fn framing_cannot_be_broken() {
        let before = [("Content-Length", "3"), ("Host", "a.org")];
        let all = changes(
            &[("content-length", "0"), ("transfer-encoding", "chunked"), ("connection", "x-a"), ("te", "trailers")],
            &[("content-length", "4"), ("host", "b.org"), ("upgrade", "websocket")],
            &["content-length", "host"],
        );
        assert_eq!(changed(&before, &all), ["Content-Length: 3", "Host: a.org"]);
    }
}
