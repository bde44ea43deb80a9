"""Where a request's instructions go: callgrind on a build with symbols, by whose source they were written in.

Instructions of the kernel are not seen. A `rep movsb` counts one for each byte, so large copies look dearer than they
are."""

import collections
import re
import subprocess
import time

from machine import LOAD_CORE, ROOT, SPACE, Unfit, program_path
from proxies import BINARY, Logging, Nginx, Transom
from rows import run

REQUESTS = 4000
WARM_UP = 1000
FOLDER = SPACE / "callgrind"
VALGRIND = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={FOLDER}/out"]

# what a source file belongs to, first match; the rest is by crate
OURS = re.compile(rf"^{re.escape(str(ROOT))}/src/|^src/")
OWNERS = [
    ("Pingora", r"pingora[\w-]*"),
    ("rustls and ring", r"rustls[\w-]*|ring|tokio-rustls|untrusted"),
    ("tokio", r"tokio|mio|socket2|tokio-util"),
    ("http, httparse, h2, bytes", r"http|httparse|h2|bytes|hpack|slab|fnv|indexmap"),
    ("mimalloc", r"mimalloc|libmimalloc-sys"),
]


class TransomUnderCallgrind(Transom):
    binary = ROOT / "target" / "profiling" / "transom"

    def command(self):
        return [program_path("valgrind"), *VALGRIND, *super().command()]


class NginxUnderCallgrind(Nginx):
    def configure(self):
        super().configure()
        self.conf.write_text(self.conf.read_text().replace("daemon off;", "daemon off; master_process off;"))

    def command(self):
        return [program_path("valgrind"), *VALGRIND, *super().command()]


def requests(row, proxy, count):
    """Exactly so many, over 8 connections that are kept."""
    host, path = row.world.some()
    scheme = "https" if row.world.front == "https" else "http"
    h2 = row.name in ("tls-h2", "grpc")
    call = ["-d", SPACE / "upstream" / "message", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    text = run([program_path("h2load"), "-t1", "-c8", "-m8" if h2 else "--h1", "-n", count,
                f"--connect-to=127.0.0.1:{proxy.port}", *(call if row.name == "grpc" else []),
                f"{scheme}://{host}{path}"], str(LOAD_CORE))
    if f"{count} succeeded" not in text:
        raise Unfit(f"{proxy.name} under callgrind: {text[-500:]}")


def control(proxy, *what):
    """callgrind finds a process that has just begun only at the second or third try."""
    for _ in range(20):
        done = subprocess.run(["callgrind_control", *what, str(proxy.process.pid)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if "OK" in done.stdout:
            return
        time.sleep(0.2)
    raise Unfit(f"callgrind_control {' '.join(what)}: {done.stdout}")


def count(kind, row, upstreams):
    """Costs of one request: by source file, and with all that it calls by function."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("out*"):
        old.unlink()
    proxy = kind(row.world, upstreams)
    try:
        proxy.begin()
        requests(row, proxy, WARM_UP)
        control(proxy, "-i", "on")
        requests(row, proxy, REQUESTS)
        control(proxy, "-d")
        control(proxy, "-i", "off")
    finally:
        proxy.stop()
    files, functions = collections.Counter(), collections.Counter()
    for dump in FOLDER.glob("out.*"):
        read(dump, files, functions)
    per = lambda counter: collections.Counter({key: value / REQUESTS for key, value in counter.items()})
    return per(files), per(functions)


def read(dump, files, functions):
    """Adds a dump of callgrind: own cost by (file, object), inclusive cost by function."""
    names = {}

    def name(kind, text):
        number, _, full = text.partition(" ")
        if full:
            names[kind, number] = full
        return names.get((kind, number), "")

    part = file = function = called = ""
    calls = False
    for line in dump.open(errors="replace"):
        line = line.rstrip("\n")
        key, _, value = line.partition("=")
        if key == "ob":
            part = name("ob", value)
        elif key in ("fl", "fi", "fe"):
            file = name("fl", value)
            if key == "fl":
                home = file
        elif key == "fn":
            function, file = name("fn", value), home
        elif key in ("cfi", "cfl"):
            name("fl", value)
        elif key == "cob":
            name("ob", value)
        elif key == "cfn":
            called = name("fn", value)
        elif key == "calls":
            calls = True
        elif line[:1].isdigit() or line[:1] in "+-*":
            cost = int(line.split()[1]) if " " in line else 0
            if not calls:
                files[file, part] += cost
                functions[function] += cost
            elif called != function:
                functions[function] += cost
            calls = False


def owner(file, part):
    """Whose source it is."""
    if OURS.match(file):
        return "Transom"
    crate = re.search(r"/registry/src/[^/]+/(.+?)-\d", file)
    if crate:
        return next((who for who, names in OWNERS if re.fullmatch(names, crate.group(1))), "other crates")
    if "/library/" in file or "/rust/deps/" in file:
        return "Rust's library (in whatever calls it)"
    return "libc" if "libc" in part or "sysdeps" in file or "nptl" in file else "other"


def owners(files):
    all = collections.Counter()
    for (file, part), cost in files.items():
        all[owner(file, part)] += cost
    return all


def phases(functions):
    """Our functions, with what they call: the phases of a request, then whatever else of ours costs something."""
    found = collections.Counter()
    for function, cost in functions.items():
        if "transom::" in function and cost >= 100:
            found[readable(function)] = max(cost, found[readable(function)])
    return found


def readable(function):
    text = re.sub(r"::\{\{closure\}\}|'\d+$", "", function)
    phase = re.match(r"<transom::proxy::GatewayProxy as .*ProxyHttp>::(\w+)", text)
    return f"phase {phase.group(1)}" if phase else text


def system_calls(row, upstreams, seconds=2):
    """System calls of one request, by name."""
    proxy = Transom(row.world, upstreams)
    try:
        proxy.begin()
        row.load(row.world, proxy.port, 1)
        out = FOLDER / "strace"
        trace = subprocess.Popen([program_path("strace"), "-f", "-q", "-c", "-o", out, "-p", str(proxy.process.pid)])
        time.sleep(1)
        answered, _ = row.load(row.world, proxy.port, seconds)
        trace.send_signal(2)
        trace.wait(10)
    finally:
        proxy.stop()
    calls = {}
    for line in out.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[0].replace(".", "").isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3]) / max(answered, 1)
    return {name: calls[name] for name in sorted(calls, key=calls.get, reverse=True) if calls[name] >= 0.005}
