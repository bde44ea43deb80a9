//! Config: the settings of a start, parsed once and never changed.
//!
//! One table below names each setting, its type, its default and its documentation; the flag, the environment
//! variable, the key of the configuration file and `config/transom.yaml` are all derived from it, so that they
//! cannot drift apart. What comes in: texts from those places. What goes out: a [`Config`] that cannot be wrong,
//! or a [`ConfigError`] that names the place, what was found and what is allowed. This room reads no file, no
//! environment and no command line itself, and does not know what the settings are for.

mod layers;
mod logged;
mod ports;
mod suites;
mod value;

use std::fmt::Write;

pub use layers::{CONFIG_VARIABLE, ConfigError, Layers, Place};
pub use logged::{HeaderMode, LoggedHeaders, Ratio, StatusCodes};
pub use ports::{Port, Ports, ProxyMode, ProxyProtocol, Redirection};
pub use suites::CipherSuites;
pub use value::{
    AccessLog, AdminAddress, BodySize, Collector, Connections, ControllerName, Expose, Fault, Fields, FilePath, Frames,
    HeaderSize, LineSize, LogFormat, LogLevel, MostConnections, Names, PortOffset, Seconds, Selector, ServiceName,
    Setting, Span, Streams, Timeout, TlsVersion, WindowSize, Workers,
};

/// Prefix of every environment variable that is a setting.
pub const ENVIRONMENT_PREFIX: &str = "TRANSOM_";

/// What a setting bears on: what is made of objects, or how they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read by everything that translates objects: `run`, `check`, `explain`, `routes`.
    Translating,
    /// Read by `run` alone.
    Serving,
}

/// One setting, as the command line and the documentation see it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Name in snake case, from which its three forms come.
    pub name: &'static str,
    /// Its documentation, one line each.
    pub docs: &'static [&'static str],
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What may be written, in words.
    pub allowed: &'static str,
    /// The words that may be written, where it is a choice of words.
    pub words: &'static [&'static str],
    /// Whether a file may have a mapping for it.
    pub structured: bool,
    /// An example for the file, line by line.
    pub example: &'static [&'static str],
    /// What it bears on.
    pub scope: Scope,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal, $scope:ident;)+) => {
        /// Every setting of a start.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])+ #[doc = concat!("\n\nDefault `", $default, "`.")] pub $name: $type,)+
        }

        impl Config {
            /// The table of settings, in the order of the documentation.
            pub const FIELDS: &'static [Field] = &[$(Field {
                name: stringify!($name),
                docs: &[$($doc),+],
                default: $default,
                allowed: <$type as Setting>::ALLOWED,
                words: <$type as Setting>::WORDS,
                structured: <$type as Setting>::STRUCTURED,
                example: <$type as Setting>::EXAMPLE,
                scope: Scope::$scope,
            }),+];

            /// Builds the settings from what the layers say.
            ///
            /// # Errors
            /// The first unknown name or value that is not allowed, with its place.
            pub fn resolve(layers: &Layers) -> Result<Config, ConfigError> {
                layers.refuse_unknown()?;
                let config = Config { $($name: layers.value(stringify!($name), $default)?,)+ };
                config.refuse_contradictions(layers)?;
                Ok(config)
            }
        }
    };
}

settings! {
    /// The controllerName of the GatewayClasses that are served. Two installs beside each other need two names.
    controller_name: ControllerName = "transom.dev/gateway-controller", Translating;
    /// Added to each listener port below 1024 when it is bound, so that ports 80 and 443 can be served without
    /// privileges: with 8000, port 80 is bound as 8080. Listeners and statuses keep the port that they name.
    port_offset: PortOffset = "0", Translating;
    /// Settings by the port that listeners name: from whom the PROXY protocol and forwarding headers are taken, and
    /// where every request is redirected.
    ports: Ports = "{}", Translating;
    /// How listeners are reached: by their ports on this machine (files, or a DaemonSet on the host's network), or by a
    /// Service that is made for each Gateway, in front of the pods.
    expose: Expose = "host", Translating;
    /// With --expose host in a cluster: the addresses that Gateways show, instead of those of the nodes that run a
    /// ready pod.
    publish_addresses: Names = "", Translating;
    /// Which GatewayClasses of a cluster are seen, by label.
    gateway_class_selector: Selector = "", Translating;
    /// Which Gateways of a cluster are seen, by label.
    gateway_selector: Selector = "", Translating;
    /// Which routes of a cluster are seen, by label.
    route_selector: Selector = "", Translating;
    /// The namespaces of a cluster that are watched, each by itself; none stands for all of them.
    namespaces: Names = "", Translating;
    /// With --expose service: a YAML file with the pattern of each Gateway's Service (type, annotations, labels,
    /// externalTrafficPolicy, loadBalancerClass, loadBalancerSourceRanges).
    service_template: FilePath = "", Serving;
    /// Which pods of the own namespace ($POD_NAMESPACE) serve as this one does, by label. A Gateway is programmed once
    /// every ready one of them serves it. None: this process stands alone.
    pod_selector: Selector = "", Translating;
    /// Where the last good state of a cluster is kept, to start from while its API server is away.
    state_file: FilePath = "", Serving;
    /// Where the admin server listens: /livez, /readyz, /metrics, /config and /explain. It has no authentication.
    admin_address: AdminAddress = "127.0.0.1:15000", Serving;
    /// Data workers, each one a thread with its own sockets and connection pools. 0 stands for one a core.
    workers: Workers = "0", Serving;
    /// The least severe events that are logged. What clients do stands in the access log and the metrics; what libraries
    /// say of it is logged from `debug` on. A release knows no `trace`: it logs what `debug` does.
    log_level: LogLevel = "info", Serving;
    /// How events are logged, on standard error: as text for people, or as one JSON object a line.
    log_format: LogFormat = "text", Serving;
    /// How each request is logged, on standard output: as one JSON object a line, in the Common Log Format of web servers,
    /// as text, or not at all.
    access_log: AccessLog = "json", Serving;
    /// Only requests with these status codes are logged, beside those that --access-log-min-duration takes.
    access_log_status: StatusCodes = "", Serving;
    /// Only requests that took this long are logged, beside those that --access-log-status takes.
    access_log_min_duration: Span = "0s", Serving;
    /// Which part of the requests that would be logged is, at random. What was answered with 5xx, or not at all, is not
    /// left out.
    access_log_sample: Ratio = "1", Serving;
    /// Headers of requests and answers that are logged, with json and text. A name alone shows the value, but redacted
    /// where it is a credential (Authorization, Cookie, Set-Cookie …) and without user and query where it is a URL
    /// (Referer, Location …); name=keep shows it as it is, name=redact the name only, name=drop nothing. * stands for
    /// all others.
    access_log_headers: LoggedHeaders = "", Serving;
    /// Where traces go: a collector that takes OTLP over HTTP. None: no traces. Its path is /v1/traces unless one is
    /// named; OTEL_EXPORTER_OTLP_HEADERS is sent with them.
    tracing_otlp_endpoint: Collector = "", Serving;
    /// Which share of the requests is traced, where the client says nothing of it: a request whose parent is sampled
    /// is, and one whose parent is not is not.
    tracing_sample_rate: Ratio = "1", Serving;
    /// The service.name of traces.
    tracing_service_name: ServiceName = "transom", Serving;
    /// On SIGTERM or SIGINT: how long new connections are still accepted while /readyz already says no.
    drain_grace: Span = "5s", Serving;
    /// After the grace: how long requests in flight may take before they are cut off.
    drain_limit: Span = "25s", Serving;
    /// From accepting a connection to its first byte; after that it is closed.
    first_byte_timeout: Timeout = "30s", Serving;
    /// From the first byte of a request's header to its last.
    header_timeout: Timeout = "10s", Serving;
    /// Most bytes of a request's header block, request line included; a longer one is answered with 431.
    header_limit: HeaderSize = "64KiB", Serving;
    /// Most bytes of a request line; a longer one is answered with 414.
    request_line_limit: LineSize = "16KiB", Serving;
    /// Most fields of a request's header block; more are answered with 431.
    header_fields: Fields = "128", Serving;
    /// Most bytes of a request's body; a larger one is answered with 413. What a backend takes, it decides itself: there
    /// is no limit unless it is set here.
    body_limit: BodySize = "none", Serving;
    /// How long a client may send nothing of a body that is to come, calls of gRPC over HTTP/2 apart; after that it is
    /// answered with 408. And how long an endpoint may take nothing of it.
    body_timeout: Timeout = "60s", Serving;
    /// How long a client may take nothing of what is sent to it; after that its connection is dropped, or its HTTP/2
    /// stream reset.
    send_timeout: Timeout = "60s", Serving;
    /// How long the answer to an HTTP/1 client that has closed its side behind its request is still waited for. One that
    /// has gone altogether looks the same.
    half_close_timeout: Span = "2s", Serving;
    /// From accepting a TLS connection to the end of its handshake.
    handshake_timeout: Timeout = "10s", Serving;
    /// The oldest version of TLS that is spoken with clients.
    tls_min_version: TlsVersion = "1.2", Serving;
    /// The cipher suites of TLS with clients, by IANA's names, the first that both sides have is spoken; none stands for
    /// all that Transom has, which are all good ones, AES-128 first. A client that asks for ChaCha20 first has its own way.
    tls_cipher_suites: CipherSuites = "", Serving;
    /// Most connections of clients at one time; those beyond are closed as they come. 0 stands for half of the file
    /// descriptors that the process may have: the other half is for connections to endpoints.
    max_connections: MostConnections = "0", Serving;
    /// How long a client's connection may be idle between two requests.
    keepalive_timeout: Seconds = "75s", Serving;
    /// Most concurrent requests of one HTTP/2 connection of a client.
    http2_streams: Streams = "128", Serving;
    /// Bytes that an HTTP/2 client may send ahead on one request, before the endpoint has taken them.
    http2_stream_window: WindowSize = "1MiB", Serving;
    /// The same for all requests of a connection together.
    http2_connection_window: WindowSize = "4MiB", Serving;
    /// Bytes of an answer over HTTP/2 that wait here for its client to read them.
    http2_send_buffer: WindowSize = "64KiB", Serving;
    /// Requests that an HTTP/2 client may cancel, or have refused as malformed, in 10 seconds; each one that it lets end
    /// is one more. After that its connection is ended.
    http2_resets: Frames = "200", Serving;
    /// Frames that are neither request nor body (PING, SETTINGS, PRIORITY, WINDOW_UPDATE and the like) that an HTTP/2
    /// client may send in 10 seconds; each request and each piece of a body is four more, each KiB of a body one. After
    /// that its connection is ended.
    http2_control_frames: Frames = "1000", Serving;
    /// To establish a connection to an endpoint; after that another one is tried.
    connect_timeout: Timeout = "5s", Serving;
    /// After which an unused connection to an endpoint is closed.
    upstream_idle_timeout: Timeout = "60s", Serving;
    /// Most unused connections to endpoints that are kept, over all workers.
    upstream_pool: Connections = "2048", Serving;
    /// After this long without traffic a TCP connection is probed, towards clients and endpoints alike.
    tcp_keepalive: Seconds = "60s", Serving;
}

impl Config {
    /// What each setting allows by itself, and two do not together.
    fn refuse_contradictions(&self, layers: &Layers) -> Result<(), ConfigError> {
        match self.tls_cipher_suites.contradiction(self.tls_min_version) {
            Some(why) => Err(layers.contradiction("tls_cipher_suites", why)),
            None => Ok(()),
        }
    }
}

impl Field {
    /// The field of this name in snake case.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Field> {
        Config::FIELDS.iter().find(|field| field.name == name)
    }

    /// Its default, as a file has it.
    #[must_use]
    pub fn written(&self) -> &'static str {
        if self.default.is_empty() { "\"\"" } else { self.default }
    }

    /// The flag, in kebab case and without dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// The key of the configuration file, in camel case.
    #[must_use]
    pub fn key(&self) -> String {
        let mut words = self.name.split('_');
        let mut key = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (head, tail) = word.split_at(word.len().min(1));
            key.push_str(&head.to_ascii_uppercase());
            key.push_str(tail);
        }
        key
    }
}

impl Default for Config {
    /// What is in force when nothing is said.
    fn default() -> Self {
        #[allow(clippy::expect_used, reason = "the table's own defaults; a test reads every one of them")]
        Config::resolve(&Layers::default()).expect("the defaults of the table are allowed values")
    }
}

/// The text of `config/transom.yaml`: every setting with its documentation and default.
#[must_use]
pub fn documentation() -> String {
    let mut text = String::from(
        "# The settings of Transom, each with its default: this file changes nothing.\n\
         #\n\
         # Given as `transom run --config FILE`. A flag beats an environment variable, which beats this file: the key\n\
         # `adminAddress` is also the flag `--admin-address` and the variable `TRANSOM_ADMIN_ADDRESS`. A name that is not\n\
         # known, here or there, is an error. What is *served* stands in manifests (`transom run -f`), not here.\n",
    );
    for field in Config::FIELDS {
        text.push('\n');
        for line in field.docs {
            let _ = writeln!(text, "#{line}");
        }
        let default = if field.default.is_empty() { "none" } else { field.default };
        let _ = writeln!(text, "# Allowed: {}. Default: {default}.", field.allowed);
        for line in field.example {
            let _ = writeln!(text, "#   {line}");
        }
        let _ = writeln!(text, "{}: {}", field.key(), field.written());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/transom.yaml");

    fn layers(file: Option<&str>, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Layers {
        let mut layers = Layers::default();
        if let Some(text) = file {
            layers.read_file("my.yaml", text).unwrap();
        }
        layers.read_environment(variables.iter().map(|(k, v)| ((*k).into(), (*v).into()))).unwrap();
        for (name, value) in flags {
            layers.set_flag(Field::named(name).unwrap(), value);
        }
        layers
    }

    fn refusal(file: Option<&str>, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> String {
        let mut layers = Layers::default();
        let read = file
            .map_or(Ok(()), |text| layers.read_file("my.yaml", text))
            .and_then(|()| layers.read_environment(variables.iter().map(|(k, v)| ((*k).into(), (*v).into()))));
        for (name, value) in flags {
            layers.set_flag(Field::named(name).unwrap(), value);
        }
        match read.and_then(|()| Config::resolve(&layers)) {
            Ok(config) => panic!("accepted: {config:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_documented_file_is_generated_from_the_table_and_parses_to_the_defaults() {
        if std::env::var_os("UPDATE_CONFIG").is_some() {
            std::fs::write(DOCUMENTED, documentation()).unwrap();
        }
        let text = std::fs::read_to_string(DOCUMENTED).unwrap();
        assert_eq!(text, documentation(), "refresh with UPDATE_CONFIG=1 cargo test --lib config::");
        let config = Config::resolve(&layers(Some(&text), &[], &[])).unwrap();
        assert_eq!(config, Config::default());
        for field in Config::FIELDS {
            assert!(text.contains(&format!("\n{}: {}\n", field.key(), field.written())), "{}", field.name);
        }
    }

    #[test]
    fn every_setting_has_a_flag_a_variable_a_key_and_a_documented_range() {
        for field in Config::FIELDS {
            assert!(!field.docs.is_empty() && !field.allowed.is_empty(), "{}", field.name);
            assert!(field.flag().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            assert!(field.variable().starts_with("TRANSOM_"));
            assert!(field.key().chars().all(|c| c.is_ascii_alphanumeric()));
        }
        let admin = Field::named("admin_address").unwrap();
        assert_eq!(
            (admin.flag(), admin.variable(), admin.key()),
            ("admin-address".into(), "TRANSOM_ADMIN_ADDRESS".into(), "adminAddress".into())
        );
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file = Some("workers: 2\nlogLevel: debug\naccessLog: text\n");
        let environment = [("TRANSOM_WORKERS", "3"), ("TRANSOM_LOG_LEVEL", "warn")];
        let config = Config::resolve(&layers(file, &environment, &[("workers", "4")])).unwrap();
        assert_eq!(config.workers, Workers(4));
        assert_eq!(config.log_level, LogLevel::Warn);
        assert_eq!(config.access_log, AccessLog::Text);
        assert_eq!(config.log_format, LogFormat::Text);
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_place_and_the_nearest_known_one() {
        let file = refusal(Some("workers: 1\nadminAdress: 127.0.0.1:1\n"), &[], &[]);
        assert_eq!(file, "my.yaml:2: unknown field \"adminAdress\"; did you mean \"adminAddress\"?");
        let kebab = refusal(Some("admin-address: 127.0.0.1:1\n"), &[], &[]);
        assert!(kebab.contains("did you mean \"adminAddress\"?"), "{kebab}");
        let variable = refusal(None, &[("TRANSOM_LOGLEVEL", "info")], &[]);
        assert_eq!(variable, "unknown environment variable TRANSOM_LOGLEVEL; did you mean TRANSOM_LOG_LEVEL?");
        let far = refusal(None, &[("TRANSOM_QQQQQQQQQQQQ", "")], &[]);
        assert!(far.contains("known: TRANSOM_CONFIG, TRANSOM_CONTROLLER_NAME"), "{far}");
    }

    #[test]
    fn a_value_that_is_not_allowed_is_refused_with_what_is() {
        let level = refusal(None, &[], &[("log_level", "inof")]);
        assert_eq!(
            level,
            "--log-level: found \"inof\", allowed: off, error, warn, info, debug or trace; did you mean \"info\"?"
        );
        for (name, value) in [
            ("workers", "-1"),
            ("workers", "1025"),
            ("port_offset", "64513"),
            ("admin_address", "15000"),
            ("admin_address", "localhost"),
            ("drain_grace", "5"),
            ("drain_grace", "1.5s"),
            ("drain_limit", "25h"),
            ("connect_timeout", "0s"),
            ("keepalive_timeout", "1500ms"),
            ("header_limit", "1KiB"),
            ("header_limit", "2MiB"),
            ("header_limit", "64kb"),
            ("http2_streams", "0"),
            ("http2_stream_window", "1KiB"),
            ("http2_connection_window", "2048MiB"),
            ("http2_resets", "0"),
            ("http2_control_frames", "1000001"),
            ("upstream_pool", "0"),
            ("controller_name", "transom"),
            ("controller_name", "/x"),
            ("log_format", ""),
            ("tls_min_version", "1.1"),
            ("max_connections", "-1"),
            ("expose", "node"),
            ("gateway_selector", "=x"),
            ("route_selector", "a;b"),
            ("namespaces", "a,,b"),
            ("namespaces", "A"),
        ] {
            assert!(refusal(None, &[], &[(name, value)]).contains("allowed:"), "{name}={value}");
        }
        let file = refusal(Some("# hello\nworkers: many\n"), &[], &[]);
        assert!(file.starts_with("my.yaml:2: workers: found \"many\""), "{file}");
        let environment = refusal(None, &[("TRANSOM_WORKERS", "many")], &[]);
        assert!(environment.starts_with("TRANSOM_WORKERS: found \"many\""), "{environment}");
    }

    #[test]
    fn a_part_that_is_not_allowed_is_refused_with_its_line_and_its_path() {
        let text = "workers: 1\nports:\n  80: {}\n  443:\n    proxyProtocol:\n      trustedIps: [10.0.0.1]\n";
        let why = "ports.443.proxyProtocol.trustedIps: unknown field; did you mean \"trustedIPs\"?";
        assert_eq!(refusal(Some(text), &[], &[]), format!("my.yaml:6: {why}"));
        let flow = "ports: {443: {proxyProtocol: {trustedIps: []}}}\n";
        assert_eq!(refusal(Some(flow), &[], &[]), format!("my.yaml:1: {why}"));
        let flag = refusal(None, &[], &[("ports", "{443: {proxyProtocol: {mode: often}}}")]);
        assert_eq!(flag, "--ports: 443.proxyProtocol.mode: found \"often\", allowed: required or optional");
        let variable = refusal(None, &[("TRANSOM_PORTS", "443")], &[]);
        assert_eq!(variable, "TRANSOM_PORTS: found \"443\", allowed: a mapping");
    }

    #[test]
    fn a_file_that_is_no_mapping_of_settings_is_refused() {
        for text in [
            "- workers\n",
            "ports: []\n",
            "workers: [1]\n",
            "workers: {a: 1}\n",
            "workers:\n",
            "workers: 1\nworkers: 2\n",
            "a: [\n",
        ] {
            let message = refusal(Some(text), &[], &[]);
            assert!(message.starts_with("my.yaml"), "{text:?}: {message}");
        }
        assert_eq!(Config::resolve(&layers(Some("# nothing\n"), &[], &[])).unwrap(), Config::default());
    }

    #[test]
    fn variables_that_kubernetes_makes_for_a_service_named_transom_are_no_settings() {
        let links = [
            ("TRANSOM_SERVICE_HOST", "10.0.0.1"),
            ("TRANSOM_SERVICE_PORT", "80"),
            ("TRANSOM_SERVICE_PORT_WEB", "80"),
            ("TRANSOM_PORT", "tcp://10.0.0.1:80"),
            ("TRANSOM_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("TRANSOM_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("TRANSOM_ADMIN_SERVICE_HOST", "10.0.0.2"),
            ("TRANSOM_ADMIN_PORT_15000_TCP_PROTO", "tcp"),
        ];
        assert_eq!(Config::resolve(&layers(None, &links, &[])).unwrap(), Config::default());
        assert!(refusal(None, &[("TRANSOM_PORT", "8080")], &[]).contains("TRANSOM_PORT;"));
    }

    #[test]
    fn sizes_are_written_in_bytes_or_binary_units() {
        for (text, bytes) in [("65536", 65_536), ("64KiB", 65_536), ("1MiB", 1_048_576)] {
            assert_eq!(HeaderSize::parse(text), Some(HeaderSize(bytes)), "{text}");
        }
    }

    #[test]
    fn spans_are_written_in_whole_units() {
        for (text, milliseconds) in [("0s", 0), ("500ms", 500), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(Span::parse(text).map(|span| span.0.as_millis()), Some(milliseconds), "{text}");
        }
        for text in ["", "5", "s", "5 s", "1.5s", "-1s", "5d", "1h1s", "100000s"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
