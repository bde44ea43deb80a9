"""What every proxy serves alike: routes, certificate, and the upstream behind all of them."""

import http.client
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from machine import LOAD_CORE, SPACE, Pinned, Unfit, free_port, program_path, quietly

BODY = 1024
PATHS = 10
SERVICE = "/grpc.Echo/Unary"


@dataclass(frozen=True)
class World:
    """`front` is what the proxy listens for: `http`, `https` (HTTP/1.1 and HTTP/2 by ALPN) or `grpc` (HTTP/2 in
    cleartext, to an upstream of the same kind)."""

    name: str
    front: str
    routes: int = 1

    def hosts(self):
        """Host -> its path prefixes."""
        if self.routes == 1:
            return {"shop.example.com": ["/"]}
        return {f"h{host}.example.com": [f"/p{path}" for path in range(PATHS)] for host in range(self.routes // PATHS)}

    def some(self):
        """A host and a path that are served: the last route."""
        host, prefixes = list(self.hosts().items())[-1]
        if self.front == "grpc":
            return host, SERVICE
        return host, prefixes[-1].rstrip("/") + "/item"


PLAIN = World("http-1", "http")
MANY = World("http-10000", "http", 10_000)
TLS = World("https-1", "https")
GRPC = World("grpc-1", "grpc")


class Upstreams:
    """nginx for HTTP, nghttpd for gRPC: both on the core of the load, both far cheaper than what is measured."""

    def __init__(self):
        self.http, self.grpc = free_port(), free_port()
        folder = SPACE / "upstream"
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "nginx.conf"
        conf.write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_body_temp_path {folder};
  proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{self.http} backlog=4096;
    location / {{ default_type text/plain; add_header X-Seen-Host $http_host; return 200 "{'x' * BODY}"; }}
  }}
}}
""")
        # A message of 1,024 bytes: a flag, its length, itself.
        message = folder / "grpc" / SERVICE.lstrip("/")
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_bytes(b"\0" + BODY.to_bytes(4, "big") + b"x" * BODY)
        (folder / "message").write_bytes(b"\0" + (64).to_bytes(4, "big") + b"x" * 64)
        self.message = folder / "message"
        log = folder / "log"
        self.processes = [
            Pinned([program_path("nginx"), "-c", conf], str(LOAD_CORE), log),
            Pinned([program_path("nghttpd"), "--no-tls", "--trailer=grpc-status: 0", "-a", "127.0.0.1",
                    "-d", folder / "grpc", self.grpc], str(LOAD_CORE), log),
        ]
        until = time.monotonic() + 10
        while not (ask_http(self.http, "x", "/") or "").startswith("200"):
            if time.monotonic() > until:
                self.processes[0].fail("the upstream does not answer")
            time.sleep(0.05)

    def stop(self):
        for process in self.processes:
            process.stop()


def certificate():
    """A certificate with an ECDSA P-256 key: paths of certificate, key, and both in one file."""
    folder = SPACE / "certificate"
    folder.mkdir(parents=True, exist_ok=True)
    cert, key, both = folder / "cert.pem", folder / "key.pem", folder / "both.pem"
    if not both.exists():
        quietly([program_path("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "3650", "-keyout", str(key), "-out", str(cert), "-subj", "/CN=shop.example.com",
                 "-addext", "subjectAltName=DNS:shop.example.com"])
        both.write_text(cert.read_text() + key.read_text())
    return cert, key, both


def trusting():
    """A client's TLS that takes any certificate, as all load generators here do."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask_http(port, host, path, tls=False):
    """`status seen-host length` of an answer over HTTP/1.1, or None while nobody answers."""
    try:
        if tls:
            client = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trusting())
        else:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        client.request("GET", path, headers={"Host": host})
        answer = client.getresponse()
        body = answer.read()
        client.close()
        return f"{answer.status} {answer.getheader('x-seen-host')} {len(body)}"
    except OSError:
        return None
    except http.client.HTTPException:
        return None


def ask(world, port):
    """`ask_http` for a world's last route; for gRPC `status grpc-status length`."""
    host, path = world.some()
    if world.front != "grpc":
        return ask_http(port, host, path, world.front == "https")
    folder = SPACE / "upstream"
    command = [program_path("nghttp"), "-v", "-t", "5", "-H", ":method: POST", "-H",
               "content-type: application/grpc", "-H", "te: trailers", "-H", f":authority: {host}",
               "-d", str(folder / "message"), f"http://127.0.0.1:{port}{path}"]
    try:
        seen = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10).stdout
    except subprocess.TimeoutExpired:
        return None
    text = seen.decode(errors="replace")
    status = next((line.split()[-1] for line in text.splitlines() if ":status: " in line), None)
    trailer = "0" if "grpc-status: 0" in text else "none"
    return f"{status} {trailer} {seen.count(b'x' * BODY) * BODY}" if status else None


def expected(world):
    if world.front == "grpc":
        return f"200 0 {BODY}"
    return f"200 {world.some()[0]} {BODY}"


def verify(world, proxy, port):
    """Each proxy gives the answer of the upstream, and has told it the host."""
    seen = ask(world, port)
    if seen != expected(world):
        raise Unfit(f"{proxy} answers `{seen}` in {world.name} instead of `{expected(world)}`")
    if world.front == "https":
        host, path = world.some()
        seen = quietly([program_path("curl"), "-sk", "--http2", "--connect-to", f"::127.0.0.1:{port}", "-o",
                        "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}", f"https://{host}{path}"])
        if seen != f"2 200 {BODY}":
            raise Unfit(f"{proxy} answers `{seen}` over HTTP/2")
