//! What reaches the upstream and what reaches the client, in plain strings: written from gateway-api.md 3.3 and 6.5
//! and the Fetch standard alone. Knows nothing of `src/`; slow and short on purpose.

use super::filter_words::{Action, Answer, Changes, Cors, Headers, Path, Request, Rule, Sent};

/// `says` is what the upstream would answer with 200.
pub fn judge(rule: &Rule, request: &Request, says: &Headers) -> (Option<Sent>, Answer) {
    if let Some(answer) = rule.cors.as_ref().and_then(|cors| preflight(cors, request)) {
        return (None, answer);
    }
    let (sent, mut answer) = match &rule.action {
        Action::Fail(status) => (None, Answer { status: *status, headers: Headers::new() }),
        Action::Redirect(redirect) => {
            let scheme = redirect.scheme.as_ref().unwrap_or(&request.scheme);
            let known = |scheme: &str| if scheme == "https" { 443 } else { 80 };
            let derived = redirect.scheme.as_ref().map_or(request.port, |scheme| known(scheme));
            let port = redirect.port.unwrap_or(derived);
            let port = if port == known(scheme) { String::new() } else { format!(":{port}") };
            let host = redirect.host.as_ref().unwrap_or(&request.host);
            let url = format!("{scheme}://{host}{port}{}", target(rule, request, redirect.path.as_ref()));
            let mut headers = Headers::from([("location".into(), vec![url])]);
            change(&mut headers, &rule.filters.response);
            (None, Answer { status: redirect.status, headers })
        }
        Action::Forward(own) => {
            let (mut up, mut down) = (request.headers.clone(), says.clone());
            for filters in [&rule.filters, own] {
                change(&mut up, &filters.request);
                change(&mut down, &filters.response);
            }
            let host = own.host.as_ref().or(rule.filters.host.as_ref()).unwrap_or(&request.host).clone();
            let target = target(rule, request, own.path.as_ref().or(rule.filters.path.as_ref()));
            let sent = Sent { method: request.method.clone(), host, target, headers: up };
            (Some(sent), Answer { status: 200, headers: down })
        }
    };
    if let Some(cors) = &rule.cors {
        for name in ["allow-origin", "allow-credentials", "expose-headers"] {
            answer.headers.remove(&format!("access-control-{name}"));
        }
        let literal = !cors.credentials && star(&cors.origins);
        if literal || allowed(cors, request).is_some() {
            let shown = |name: &&String| !name.starts_with("access-control-");
            let names: Vec<String> = answer.headers.keys().filter(shown).cloned().collect();
            list(&mut answer.headers, "expose-headers", &cors.expose, cors, &names);
            allow(&mut answer.headers, cors, request);
        }
        let vary = answer.headers.get("vary").map_or(String::new(), |lines| lines.join(",").to_lowercase());
        if !literal && !vary.split(',').any(|name| matches!(name.trim(), "*" | "origin")) {
            answer.headers.entry("vary".into()).or_default().push("Origin".into());
        }
    }
    (sent, answer)
}

fn target(rule: &Rule, request: &Request, path: Option<&Path>) -> String {
    let elements = |text: &str| text.split('/').filter(|e| !e.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let asked = elements(&request.path);
    let won = rule.prefixes.iter().map(|prefix| elements(prefix)).filter(|prefix| asked.starts_with(prefix));
    let path = match path {
        None => request.path.clone(),
        Some(Path::Full(full)) => full.clone(),
        Some(Path::Prefix(replacement)) => {
            let rest = &asked[won.map(|prefix| prefix.len()).max().unwrap()..];
            let all = [elements(replacement), rest.to_vec()].concat().join("/");
            if request.path.ends_with('/') && !all.is_empty() { format!("/{all}/") } else { format!("/{all}") }
        }
    };
    path + &request.query.as_ref().map_or(String::new(), |query| format!("?{query}"))
}

fn change(headers: &mut Headers, changes: &Changes) {
    changes.set.iter().for_each(|(name, value)| drop(headers.insert(name.to_lowercase(), vec![value.clone()])));
    changes.add.iter().for_each(|(name, value)| headers.entry(name.to_lowercase()).or_default().push(value.clone()));
    changes.remove.iter().for_each(|name| drop(headers.remove(&name.to_lowercase())));
}

fn preflight(cors: &Cors, request: &Request) -> Option<Answer> {
    request.headers.get("origin").filter(|_| request.method == "OPTIONS")?;
    let method = request.headers.get("access-control-request-method")?;
    let mut headers = Headers::new();
    if allowed(cors, request).is_none() {
        return Some(Answer { status: 403, headers });
    }
    allow(&mut headers, cors, request);
    let asked = request.headers.get("access-control-request-headers").cloned().unwrap_or_default();
    list(&mut headers, "allow-methods", &cors.methods, cors, method);
    list(&mut headers, "allow-headers", &cors.headers, cors, &asked);
    list(&mut headers, "expose-headers", &cors.expose, cors, &[]);
    headers.insert("access-control-max-age".into(), vec![cors.max_age.to_string()]);
    Some(Answer { status: 204, headers })
}

fn allow(headers: &mut Headers, cors: &Cors, request: &Request) {
    let origin =
        if cors.credentials || !star(&cors.origins) { request.headers["origin"].clone() } else { vec!["*".into()] };
    headers.insert("access-control-allow-origin".into(), origin);
    if cors.credentials {
        headers.insert("access-control-allow-credentials".into(), vec!["true".into()]);
    }
}

/// With credentials `*` is spelt out.
fn list(headers: &mut Headers, name: &str, names: &[String], cors: &Cors, all: &[String]) {
    let names = if cors.credentials && star(names) { all } else { names };
    if !names.is_empty() {
        headers.insert(format!("access-control-{name}"), vec![names.join(",")]);
    }
}

fn star(names: &[String]) -> bool {
    names.iter().any(|name| name == "*")
}

fn allowed(cors: &Cors, request: &Request) -> Option<String> {
    let parts = |origin: &str| {
        let (scheme, rest) = origin.split_once("://")?;
        let default = if scheme == "https" { "443" } else { "80" };
        let (host, port) = rest.split_once(':').unwrap_or((rest, default));
        Some((scheme.to_owned(), host.to_owned(), port.to_owned()))
    };
    let [origin] = &request.headers.get("origin")?[..] else { return None };
    let sent = parts(origin).or_else(|| (origin == "null").then(Default::default))?;
    let fits = |allowed: &String| {
        allowed == "*"
            || parts(allowed).is_some_and(|(scheme, host, port)| {
                let host = host
                    .strip_prefix('*')
                    .map_or(host == sent.1, |suffix| sent.1.len() > suffix.len() && sent.1.ends_with(suffix));
                host && scheme == sent.0 && port == sent.2
            })
    };
    cors.origins.iter().any(fits).then(|| origin.clone())
}
