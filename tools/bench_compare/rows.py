"""The rows of the comparison: a world, and a load on it that counts what was answered."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from machine import LOAD_CORE, SPACE, program_path
from world import GRPC, MANY, PLAIN, TLS, World

CONNECTIONS = 64


@dataclass(frozen=True)
class Row:
    """`load(world, port, seconds, cores)` gives requests answered well, and what went wrong, if anything did."""

    name: str
    title: str
    world: World
    load: Callable
    bar: float | None = None


def run(command, cores):
    pinned = ["taskset", "-c", cores, *map(str, command)]
    done = subprocess.run(pinned, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode == 0 else done.stdout + f"\nexit code {done.returncode}"


def script(world, close):
    """Requests are made once and drawn at random: the same for one route and for ten thousand."""
    path = SPACE / f"requests-{world.name}{'-close' if close else ''}.lua"
    lines = [
        f'  add("{host}", "{prefix.rstrip("/")}/item")' for host, prefixes in world.hosts().items() for prefix in prefixes]
    path.write_text(f"""
local all = {{}}
local function add(host, path)
  all[#all + 1] = wrk.format("GET", path, {{ ["Host"] = host, ["User-Agent"] = "wrk", ["Accept"] = "*/*"{', ["Connection"] = "close"' if close else ""} }})
end
init = function()
  math.randomseed(42)
{chr(10).join(lines)}
end
request = function() return all[math.random(#all)] end
""")
    return path


def wrk(close=False):
    def load(world, port, seconds, cores=str(LOAD_CORE)):
        scheme = "https" if world.front == "https" else "http"
        text = run([program_path("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script(world, close),
                    f"{scheme}://127.0.0.1:{port}/"], cores)
        done = re.search(r"(\d+) requests in", text)
        wrong = re.search(r"Socket errors.*|Non-2xx.*|exit code.*", text)
        return int(done.group(1)) if done else 0, wrong.group() if wrong else None if done else text[-300:]

    return load


def h2load(grpc=False):
    def load(world, port, seconds, cores=str(LOAD_CORE)):
        host, path = world.some()
        scheme = "https" if world.front == "https" else "http"
        call = ["-d", SPACE / "upstream" / "message", "-H", "content-type: application/grpc", "-H", "te: trailers"]
        text = run([program_path("h2load"), "-t1", "-c8", "-m8", "-D", seconds, "-H", f":authority: {host}",
                    *(call if grpc else []), f"{scheme}://127.0.0.1:{port}{path}"], cores)
        # What is in flight at the end counts as neither.
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        if not counts:
            return 0, text[-300:]
        good, failed, errored, late = map(int, counts.groups())
        wrong = failed + errored + late
        return good, f"{wrong} failed" if wrong else None

    return load


def handshakes(world, port, seconds, cores=str(LOAD_CORE)):
    """New TLS connections, never resumed, one request each."""
    host, path = world.some()
    text = run([sys.executable, Path(__file__).with_name("handshakes.py"), port, host, path, seconds], cores)
    found = re.search(r"(\d+) good, (\d+) bad", text)
    if not found:
        return 0, text[-300:]
    good, bad = map(int, found.groups())
    return good, f"{bad} failed: {text[-200:]}" if bad else None


ROWS = [
    Row("h1", "HTTP/1.1, 1 route", PLAIN, wrk(), 1.9),
    Row("h1-10000", "HTTP/1.1, 10,000 routes", MANY, wrk(), 1.4),
    Row("h1-new", "HTTP/1.1, a new connection each", PLAIN, wrk(close=True)),
    Row("tls-h1", "TLS 1.3, HTTP/1.1", TLS, wrk(), 1.8),
    Row("tls-h2", "TLS 1.3, HTTP/2", TLS, h2load(), 1.8),
    Row("tls-new", "a new TLS 1.3 connection each, ECDSA P-256", TLS, handshakes, 0.7),
    Row("grpc", "gRPC unary over HTTP/2", GRPC, h2load(grpc=True), 1.4),
]
