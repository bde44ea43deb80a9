//! Redirections of a port: which requests are sent elsewhere before any route is asked, and how that is answered.

use http::Method;

use super::client::Client;
use super::filter::redirect::{self, Asked};
use super::listener::connection::Connection;
use super::port::Redirection;
use super::respond::Answer;
use crate::router::{PathMatch, RequestParts};
use crate::snapshot::filter::Scheme;
use crate::snapshot::{Listener, Redirect};

/// Where the requests of a connection are sent, unless a trusted peer says that this client came by that scheme: then
/// TLS ends before us, and to send it there again would be a circle.
pub fn redirection(connection: &Connection, client: &Client) -> Option<Redirection> {
    let is_told = client.tls != connection.is_tls();
    connection.redirection.filter(|to| !(is_told && client.tls == (to.scheme == Scheme::Https)))
}

/// Whether a route is there for challenges of ACME's HTTP-01: they are asked for in cleartext, and the route was made
/// to answer them in the middle of everything else. RFC 8555, 8.3: "The path at which the resource is provisioned is
/// comprised of the fixed prefix "/.well-known/acme-challenge/", followed by the "token" value".
pub fn takes_challenge(listener: &Listener, parts: &RequestParts<'_>) -> bool {
    const PREFIX: &str = "/.well-known/acme-challenge";
    let is_of_it = |path: &str| path.starts_with(PREFIX);
    is_of_it(parts.path)
        && listener.routes.find(parts).is_some_and(|entry| match &entry.matches.path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => is_of_it(path),
            PathMatch::Regex(_) | PathMatch::Call(_) => false,
        })
}

/// The answer to a request that is sent elsewhere. Ports of this host that are below 1024 are `port_offset` higher.
pub fn answer(to: Redirection, parts: &RequestParts<'_>, port_offset: u16) -> Answer {
    let asked = Asked {
        tls: to.scheme == Scheme::Https,
        host: parts.host,
        port: to.port.get(),
        port_offset,
        path: parts.path,
        query: parts.query,
        prefix: None,
    };
    // RFC 9110, 15.4.2: "For historical reasons, a user agent MAY change the request method from POST to GET" upon 301
    // and 302; not upon 308 and 307.
    let changes_nothing = matches!(*parts.method, Method::GET | Method::HEAD);
    let status = match (to.permanent, changes_nothing) {
        (true, true) => 301,
        (true, false) => 308,
        (false, true) => 302,
        (false, false) => 307,
    };
    let redirect = Redirect { scheme: Some(to.scheme), host: None, port: Some(to.port), path: None, status };
    redirect::answer(&redirect, asked)
}
