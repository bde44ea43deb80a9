//! Rules, requests and answers in plain strings: the words of the filter model.

use std::collections::BTreeMap;

/// Values by name in lower case, in order.
pub type Headers = BTreeMap<String, Vec<String>>;
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}
#[derive(Debug, Clone)]
pub enum Path {
    Full(String),
    Prefix(String),
}
#[derive(Debug, Clone, Default)]
pub struct Filters {
    pub request: Changes,
    pub response: Changes,
    pub host: Option<String>,
    pub path: Option<Path>,
}
#[derive(Debug, Clone)]
pub struct Cors {
    pub origins: Vec<String>,
    pub credentials: bool,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub max_age: u32,
}
#[derive(Debug, Clone)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<Path>,
    pub status: u16,
}
#[derive(Debug, Clone)]
pub enum Action {
    Forward(Filters),
    Redirect(Redirect),
    Fail(u16),
}
#[derive(Debug, Clone)]
pub struct Rule {
    pub prefixes: Vec<String>,
    pub filters: Filters,
    pub cors: Option<Cors>,
    pub action: Action,
}
#[derive(Debug, Clone)]
pub struct Request {
    pub scheme: String,
    pub port: u16,
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: Headers,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub host: String,
    pub target: String,
    pub headers: Headers,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
}
