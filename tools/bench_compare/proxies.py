"""The proxies, each told in its own words to serve a world with one worker. All pass on who the client is, keep
connections on both sides, and, but for `Plain`, bound the time of a request. What else is switched on stands in `on`."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from machine import LOAD_CORE, PROXY_CORE, ROOT, SPACE, Pinned, Unfit, free_port, program_path
from world import ask, certificate

BINARY = Path(os.environ.get("TRANSOM", ROOT / "target" / "bolt" / "transom"))


class Proxy:
    """A proxy that serves one world: started by `start`, ended by `stop`."""

    name = ""
    on = ""
    program = ""

    def __init__(self, world, upstreams, cores=str(PROXY_CORE), workers=1):
        self.world, self.upstreams, self.cores, self.workers = world, upstreams, cores, workers
        self.port = free_port()
        self.folder = SPACE / "proxies" / world.name / f"{self.name.replace(' ', '-')}-{workers}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = None
        self.configure()

    def configure(self):
        """Writes its configuration."""

    def command(self):
        """What is run."""
        raise NotImplementedError

    def start(self):
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        self.process = Pinned(self.command(), self.cores, log)
        return self

    def begin(self):
        """Starts it, and waits for its first answer. How many seconds that took."""
        self.start()
        until = time.monotonic() + 120
        while not (ask(self.world, self.port) or "").startswith("200"):
            if self.process.process.poll() is not None or time.monotonic() > until:
                self.process.fail(f"{self.name} does not answer in {self.world.name}")
            time.sleep(0.001)
        return time.monotonic() - self.process.begun

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    @classmethod
    def serves(cls, world):
        """Whether it can."""
        return True

    @classmethod
    def version(cls):
        """One line."""
        flag = {"nginx": "-v", "haproxy": "-v", "envoy": "--version", "traefik": "version"}[cls.program]
        done = subprocess.run([program_path(cls.program), flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout)
        return f"{cls.program} {found.group() if found else '?'}"

    @property
    def upstream(self):
        return self.upstreams.grpc if self.world.front == "grpc" else self.upstreams.http

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path


class Nginx(Proxy):
    name = program = "nginx"
    on = "no access log, no metrics"
    access_log = "off"

    def configure(self):
        world, folder = self.world, self.folder
        cert, key, _ = certificate()
        listen = f"listen 127.0.0.1:{self.port} backlog=4096 reuseport"
        tls = ""
        if world.front == "https":
            listen += " ssl http2"
            tls = f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;"
        if world.front == "grpc":
            listen += " http2"
        forward = "grpc_pass grpc://up;" if world.front == "grpc" else "proxy_pass http://up;"
        servers = []
        for number, (host, prefixes) in enumerate(world.hosts().items()):
            # `reuseport` and the backlog are said once for each address.
            here = listen if number == 0 else listen.replace(" backlog=4096 reuseport", "")
            places = "".join(f"location {prefix} {{ {forward} }}" for prefix in prefixes)
            servers.append(f"server {{ {here}; server_name {host}; {places} }}")
        headers = "".join(
            f"{kind}_set_header {name} {value};"
            for kind in ["grpc" if world.front == "grpc" else "proxy"]
            for name, value in [
                ("Host", "$http_host"), ("X-Real-IP", "$remote_addr"), ("X-Forwarded-For", "$remote_addr"),
                ("X-Forwarded-Host", "$http_host"), ("X-Forwarded-Port", "$server_port"),
                ("X-Forwarded-Proto", "$scheme"), *([] if world.front == "grpc" else [("Connection", '""')])])
        temporary = "".join(f"{what}_temp_path {folder};" for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        many = "server_names_hash_max_size 65536; server_names_hash_bucket_size 128;" if len(servers) > 100 else ""
        self.conf = self.write("nginx.conf", f"""
daemon off; worker_processes {self.workers}; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  {temporary} {many} {tls}
  log_format line '$time_iso8601 $request_method $host $uri $status $request_time $bytes_sent $remote_addr $upstream_addr';
  access_log {self.access_log}; keepalive_requests 100000000; keepalive_timeout 75s;
  proxy_http_version 1.1; {headers}
  upstream up {{ server 127.0.0.1:{self.upstream}; keepalive 128; keepalive_requests 100000000; }}
  {chr(10).join(servers)}
}}
""")

    def command(self):
        return [program_path("nginx"), "-c", self.conf]


class Haproxy(Proxy):
    name = program = "haproxy"
    on = "no access log, no metrics"

    def configure(self):
        world = self.world
        _, _, both = certificate()
        bind = f"bind 127.0.0.1:{self.port}"
        if world.front == "https":
            bind += f" ssl crt {both} alpn h2,http/1.1"
        if world.front == "grpc":
            bind += " proto h2"
        routes = [(f"{host}{prefix}", "up") for host, prefixes in world.hosts().items() for prefix in prefixes]
        table = self.write("routes", "".join(f"{route} {backend}\n" for route, backend in routes))
        scheme = "https" if world.front == "https" else "http"
        self.conf = self.write("haproxy.cfg", f"""
global
  nbthread {self.workers}
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 10s
  timeout http-request 10s
  timeout http-keep-alive 75s
frontend front
  {bind}
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto {scheme}
  use_backend %[base,map_beg({table},none)]
backend none
  http-request return status 404
backend up
  http-reuse always
  server up 127.0.0.1:{self.upstream} pool-max-conn 256 {"proto h2" if world.front == "grpc" else ""}
""")

    def command(self):
        return [program_path("haproxy"), "-db", "-q", "-f", self.conf]


class Envoy(Proxy):
    name = program = "envoy"
    on = "no access log, its own statistics"

    def configure(self):
        world = self.world
        cert, key, _ = certificate()
        address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        types = "type.googleapis.com/envoy."
        hosts = [
            {"name": host, "domains": [host, f"{host}:*"], "routes": [
                {"match": {"prefix": prefix}, "route": {"cluster": "up", "timeout": "10s"}} for prefix in prefixes]}
            for host, prefixes in world.hosts().items()]
        manager = {
            "@type": types + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front", "codec_type": "HTTP2" if world.front == "grpc" else "AUTO",
            "use_remote_address": True, "route_config": {"virtual_hosts": hosts},
            "http_filters": [{"name": "router", "typed_config": {"@type": types + "extensions.filters.http.router.v3.Router"}}]}
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        if world.front == "https":
            pair = {"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}
            chain["transport_socket"] = {"name": "tls", "typed_config": {
                "@type": types + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                                       "tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]}}}
        cluster = {
            "name": "up", "connect_timeout": "5s", "type": "STATIC",
            "load_assignment": {"cluster_name": "up", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(self.upstream)}}]}]}}
        if world.front == "grpc":
            cluster["typed_extension_protocol_options"] = {types + "extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": types + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
            cluster["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                    cluster["typed_extension_protocol_options"].popitem()[1]}
        self.conf = self.write("envoy.json", json.dumps({"static_resources": {
            "listeners": [{"name": "front", "address": address(self.port), "filter_chains": [chain]}],
            "clusters": [cluster]}}))

    def command(self):
        return [program_path("envoy"), "-c", self.conf, "--concurrency", self.workers, "--disable-hot-restart", "-l", "error"]


class Traefik(Proxy):
    name = program = "traefik"
    on = "no access log, no metrics"

    def configure(self):
        world = self.world
        cert, key, _ = certificate()
        routers = {
            f"r{number}": {"rule": f"Host(`{host}`) && PathPrefix(`{prefix}`)", "service": "up", "entryPoints": ["front"],
                           **({"tls": {}} if world.front == "https" else {})}
            for number, (host, prefix) in enumerate(
                (host, prefix) for host, prefixes in world.hosts().items() for prefix in prefixes)}
        scheme = "h2c" if world.front == "grpc" else "http"
        dynamic = {"http": {"routers": routers, "services": {"up": {"loadBalancer": {
            "servers": [{"url": f"{scheme}://127.0.0.1:{self.upstream}"}], "serversTransport": "pool"}}},
            "serversTransports": {"pool": {"maxIdleConnsPerHost": 256}}}}
        if world.front == "https":
            pair = {"certFile": str(cert), "keyFile": str(key)}
            dynamic["tls"] = {"certificates": [pair], "stores": {"default": {"defaultCertificate": pair}}}
        routes = self.write("routes.yaml", json.dumps(dynamic))  # JSON is YAML
        self.conf = self.write("traefik.yaml", json.dumps({
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False}, "log": {"level": "ERROR"},
            "entryPoints": {"front": {"address": f"127.0.0.1:{self.port}"}},
            "providers": {"file": {"filename": str(routes), "watch": False}}}))

    def command(self):
        return [program_path("traefik"), f"--configFile={self.conf}"]


class Logging(Proxy):
    """One whose access log goes to a pipe, which somebody reads on the other core."""

    reader = None

    def start(self):
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        self.reader = subprocess.Popen(
            ["taskset", "-c", str(LOAD_CORE), "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.process = Pinned(self.command(), self.cores, log, stdout=self.reader.stdin)
        self.reader.stdin.close()
        return self

    def stop(self):
        super().stop()
        if self.reader:
            self.reader.wait(10)


class Transom(Logging):
    name = "transom"
    on = "access log (JSON) to a pipe, metrics, request timeouts"
    binary = BINARY

    def configure(self):
        world = self.world
        cert, key, _ = certificate()
        self.admin = free_port()
        listener = {"name": "front", "port": self.port, "protocol": "HTTPS" if world.front == "https" else "HTTP"}
        if world.front == "https":
            listener["tls"] = {"certificateRefs": [{"name": "certificate"}]}
        meta = lambda name: {"name": name, "namespace": "default"}
        gateway_api = "gateway.networking.k8s.io/v1"
        port = {"name": "up", "port": 80}
        if world.front == "grpc":
            port["appProtocol"] = "kubernetes.io/h2c"
        objects = [
            {"apiVersion": gateway_api, "kind": "GatewayClass", "metadata": {"name": "transom"},
             "spec": {"controllerName": "transom.dev/gateway-controller"}},
            {"apiVersion": gateway_api, "kind": "Gateway", "metadata": meta("edge"), "spec": {
                "gatewayClassName": "transom", "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
                "listeners": [listener]}},
            {"apiVersion": "v1", "kind": "Service", "metadata": meta("up"), "spec": {"ports": [port]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {**meta("up"), "labels": {"kubernetes.io/service-name": "up"}}, "addressType": "IPv4",
             "ports": [{"name": "up", "port": self.upstream}], "endpoints": [{"addresses": ["127.0.0.1"]}]}]
        if world.front == "https":
            objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta("certificate"),
                            "type": "kubernetes.io/tls",
                            "stringData": {"tls.crt": cert.read_text(), "tls.key": key.read_text()}})
        to = [{"name": "up", "port": 80}]
        for number, (host, prefixes) in enumerate(world.hosts().items()):
            if world.front == "grpc":
                rules = [{"backendRefs": to}]
            else:
                rules = [{"matches": [{"path": {"type": "PathPrefix", "value": prefix}}], "backendRefs": to,
                          "timeouts": {"request": "10s", "backendRequest": "5s"}} for prefix in prefixes]
            objects.append({
                "apiVersion": gateway_api, "kind": "GRPCRoute" if world.front == "grpc" else "HTTPRoute",
                "metadata": meta(f"r{number}"),
                "spec": {"parentRefs": [{"name": "edge"}], "hostnames": [host], "rules": rules}})
        self.manifests = self.write("manifests.yaml", "\n---\n".join(map(json.dumps, objects)))

    def command(self):
        return [self.binary, "run", "-f", self.manifests, "--workers", self.workers,
                "--admin-address", f"127.0.0.1:{self.admin}", "--drain-grace", "0s"]

    @classmethod
    def version(cls):
        text = subprocess.run([cls.binary, "version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        if "release" not in text:
            raise Unfit(f"{cls.binary} is no release build: {text}")
        return " ".join(text.split())


class Plain(Proxy):
    """What Transom is built on, with next to nothing on top (benches/plain.rs): what both cost alike is not Transom's."""

    name = "Pingora alone"
    on = "nothing: no routes (with 10,000 of them neither), no log, no metrics, no bound in time; not laid out by BOLT"
    binary = ROOT / "target" / "release" / "examples" / "plain"

    @classmethod
    def serves(cls, world):
        return world.front == "http"

    def command(self):
        return [self.binary, f"127.0.0.1:{self.port}", f"127.0.0.1:{self.upstream}"]

    @classmethod
    def version(cls):
        locked = (ROOT / "Cargo.lock").read_text()
        return "pingora " + re.search(r'name = "pingora"\nversion = "(.+)"', locked).group(1)


class NginxLogging(Logging, Nginx):
    name = "nginx, logging"
    on = "access log (text) to a pipe"

    access_log = "/dev/stdout line"


ALL = [Nginx, NginxLogging, Transom, Plain, Haproxy, Envoy, Traefik]
