"""make bench-compare: what a request costs Transom and others, in processor time, on this machine.

Each proxy runs with one worker on core 0; load and upstream run on core 1. A row is measured in rounds; each round
visits every proxy once, in changing order, and a ratio is taken within a round. docs/benchmarks.md is written."""

import argparse
import json
import random
import statistics
import subprocess
import sys

import instructions
import page
import proxies
from machine import CORES, LOAD_CORE, PACKAGES, PROXY_CORE, ROOT, SPACE, Unfit, describe, install, wait_until_idle
from rows import ROWS
from world import PLAIN, Upstreams, verify

# a row that meets errors in so many rounds is not measured
PATIENCE = 3
PROFILED = ["h1", "tls-h1", "tls-h2", "grpc"]
MORE = ["two-cores", "instructions"]


def arguments():
    names = [proxy.name for proxy in proxies.ALL]
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (5)")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement (2)")
    parser.add_argument("--rows", default="all", help=f"some of {','.join([row.name for row in ROWS] + MORE)}")
    parser.add_argument("--proxies", default="all", help=f"some of {';'.join(names)}, separated by semicolons")
    parser.add_argument("--idle", type=float, default=0.05, help="share of the machine that others may use (0.05)")
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for them (120)")
    parser.add_argument("--no-build", action="store_true", help="measure the binaries that are there")
    parser.add_argument("--no-page", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser.parse_args()


def main():
    options = arguments()
    asked = None if options.rows == "all" else options.rows.split(",")
    is_asked = lambda name: asked is None or name in asked
    chosen = [one for one in proxies.ALL if options.proxies == "all" or one.name in options.proxies.split(";")]
    rows = [row for row in ROWS if is_asked(row.name)]
    if len(CORES) < 2:
        raise Unfit("two cores are needed: one for the proxy, one for the load")
    SPACE.mkdir(parents=True, exist_ok=True)
    install({*PACKAGES, *(one.program for one in chosen)})
    if not options.no_build:
        print("building the release", flush=True)
        subprocess.run([ROOT / "tools" / "release.sh"], cwd=ROOT, check=True)
        if proxies.Plain in chosen:
            print("building Pingora alone", flush=True)
            subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--example", "plain"], cwd=ROOT, check=True)
        if is_asked("instructions"):
            print("building it with symbols", flush=True)
            subprocess.run(["cargo", "build", "--quiet", "--profile", "profiling"], cwd=ROOT, check=True)
    measured = {
        "machine": describe(), "options": vars(options), "rows": [],
        "compiler": subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True).stdout.strip(),
        "proxies": {one.name: {"version": one.version(), "on": one.on} for one in chosen}}
    print(measured["machine"])
    measured["others"] = wait_until_idle(options.idle, options.patience)
    print(f"others use {measured['others']:.0%} of the machine")
    for name, one in measured["proxies"].items():
        print(f"  {one['version']}: {one['on']}")
    upstreams = Upstreams()
    try:
        worlds = list(dict.fromkeys(row.world for row in rows))
        starts = [serve(world, [row for row in rows if row.world == world], chosen, upstreams, options, measured)
                  for world in worlds]
        measured["rows"].sort(key=lambda done: [row.title for row in ROWS].index(done["title"]))
        measured["start"] = [one for one in starts if one["front"] == "http"]
        if is_asked("two-cores"):
            measured["two-cores"] = two_cores(upstreams, options)
        if is_asked("instructions"):
            count_instructions(upstreams, measured)
    finally:
        upstreams.stop()
    (SPACE / "results.json").write_text(json.dumps(measured, indent=1))
    if not options.no_page:
        print(f"written: {page.write(measured).relative_to(ROOT)}")


def begin(proxy):
    """Starts a proxy, and sees that it answers as it should. Seconds from its start to its first answer."""
    took = proxy.begin()
    verify(proxy.world, proxy.name, proxy.port)
    return took


def serve(world, rows, chosen, upstreams, options, measured):
    """Measures the rows of a world. How long each proxy took to start, and what it holds at the end."""
    running = [one(world, upstreams) for one in chosen if one.serves(world)]
    try:
        times = {proxy.name: begin(proxy) for proxy in running}
        for row in rows:
            measured["rows"].append(measure(row, running, options))
        return {"front": world.front, "title": f"{world.routes:,} route{'s' if world.routes > 1 else ''}", "proxies": {
            proxy.name: {"start": times[proxy.name] * 1000, "resident": proxy.process.resident() / 2**20}
            for proxy in running}}
    finally:
        for proxy in running:
            proxy.stop()


def measure(row, running, options):
    kept = {proxy.name: [] for proxy in running}
    order = list(running)
    for proxy in order:
        row.load(row.world, proxy.port, 1)  # connections, caches
    rounds = broken = 0
    while rounds < options.rounds:
        random.shuffle(order)
        taken = {}
        for proxy in order:
            before = proxy.process.cpu()
            requests, wrong = row.load(row.world, proxy.port, options.seconds)
            micros = (proxy.process.cpu() - before) * 1e6 / max(requests, 1)
            if wrong or not requests:
                print(f"{row.name}, {proxy.name}: {wrong or 'no answer'}: the round does not count", flush=True)
                broken += 1
                break
            taken[proxy.name] = (micros, requests / options.seconds)
        else:
            rounds += 1
            for name, figures in taken.items():
                kept[name].append(figures)
        if broken >= PATIENCE:
            raise Unfit(f"{row.name}: errors in {broken} rounds")
    base = kept.get("nginx")
    done = {"title": row.title, "bar": row.bar, "proxies": {}}
    for name, figures in kept.items():
        micros = statistics.median(micros for micros, _ in figures)
        ratio = statistics.median(one[0] / nginx[0] for one, nginx in zip(figures, base)) if base else None
        done["proxies"][name] = {"micros": micros, "ratio": ratio, "rate": statistics.median(rate for _, rate in figures)}
        spread = f"{min(figures)[0]:.1f} to {max(figures)[0]:.1f}"
        print(f"{row.name:10} {name:16} {micros:8.2f} us ({spread}) {ratio or 0:6.2f} x nginx", flush=True)
    return done


def two_cores(upstreams, options):
    """Transom's cost with one worker on one core and with two on both, in the same rounds."""
    load = next(row.load for row in ROWS if row.name == "h1")
    both = f"{PROXY_CORE},{LOAD_CORE}"
    one = proxies.Transom(PLAIN, upstreams)
    two = proxies.Transom(PLAIN, upstreams, both, 2)
    try:
        pairs = []
        for proxy in (one, two):
            begin(proxy)
            load(PLAIN, proxy.port, 1)
        for _ in range(options.rounds):
            pair = []
            for proxy, cores in ((one, str(LOAD_CORE)), (two, both)):
                before = proxy.process.cpu()
                requests, wrong = load(PLAIN, proxy.port, options.seconds, cores)
                if wrong:
                    raise Unfit(f"two cores: {wrong}")
                pair.append((proxy.process.cpu() - before) * 1e6 / requests)
            pairs.append(pair)
    finally:
        one.stop()
        two.stop()
    found = {"one": statistics.median(a for a, _ in pairs), "two": statistics.median(b for _, b in pairs),
             "scaling": statistics.median(2 * a / b for a, b in pairs)}
    print(f"two cores: {found['one']:.2f} us, {found['two']:.2f} us, {found['scaling']:.2f} times one", flush=True)
    return found


def count_instructions(upstreams, measured):
    """Instructions of a request, ours and nginx's, and our system calls."""
    measured["instructions"] = []
    for row in (row for row in ROWS if row.name in PROFILED):
        files, functions = instructions.count(instructions.TransomUnderCallgrind, row, upstreams)
        nginx, _ = instructions.count(instructions.NginxUnderCallgrind, row, upstreams)
        found = {"title": row.title, "owners": instructions.owners(files), "functions": instructions.phases(functions),
                 "nginx": sum(nginx.values())}
        measured["instructions"].append(found)
        print(f"instructions, {row.name}: {sum(found['owners'].values()):,.0f}, nginx {found['nginx']:,.0f}", flush=True)
    measured["calls"] = instructions.system_calls(next(row for row in ROWS if row.name == "h1"), upstreams)


try:
    main()
except Unfit as unfit:
    sys.exit(str(unfit))
