"""What a release sees while it is watched (tools/release.sh): every row of the comparison, and, beside what they ask for,
queries, bodies and hosts that nobody serves. Two seconds of each are many thousand requests."""

import sys
from pathlib import Path

import proxies
from machine import LOAD_CORE, SPACE, Unfit, install, program_path
from rows import CONNECTIONS, ROWS, run
from world import Upstreams

SECONDS = 2


def mixed(world, port):
    """Over HTTP/1.1: a third each of small requests, of bodies, and of hosts that are not served."""
    host, path = world.some()
    scheme = "https" if world.front == "https" else "http"
    script = SPACE / f"mixed-{world.name}.lua"
    script.write_text(f"""
local all = {{
  wrk.format("GET", "{path}?q=1", {{ ["Host"] = "{host}", ["Cookie"] = "a=b; c=d", ["Accept-Encoding"] = "gzip" }}),
  wrk.format("POST", "{path}", {{ ["Host"] = "{host}", ["Content-Type"] = "text/plain" }}, string.rep("x", 20000)),
  wrk.format("GET", "/", {{ ["Host"] = "nobody.example.org" }}),
}}
local at = 0
request = function() at = at % #all + 1; return all[at] end
""")
    text = run([program_path("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script,
                f"{scheme}://127.0.0.1:{port}/"], str(LOAD_CORE))
    if "requests in" not in text:
        raise Unfit(f"mixed load: {text[-300:]}")


def train(row, binary, upstreams):
    proxies.Transom.binary = binary
    proxy = proxies.Transom(row.world, upstreams)
    try:
        proxy.begin()
        answered, wrong = row.load(row.world, proxy.port, SECONDS)
        if not answered or wrong:
            raise Unfit(f"{row.title}: {answered} answered, {wrong}")
        if row.world.front != "grpc":
            mixed(row.world, proxy.port)
    finally:
        proxy.stop()


def main():
    SPACE.mkdir(parents=True, exist_ok=True)
    install({"nginx", "wrk", "h2load", "nghttpd", "openssl", "taskset"})
    binary = Path(sys.argv[1]).resolve()
    upstreams = Upstreams()
    try:
        for row in ROWS:
            train(row, binary, upstreams)
    finally:
        upstreams.stop()
    seen = list(binary.parent.glob("seen.*.fdata"))
    if len(seen) != len(ROWS):
        raise Unfit(f"{len(seen)} of {len(ROWS)} runs left what was seen: one of them did not end by itself")


if __name__ == "__main__":
    main()
