"""make bench-compare: what a request costs Transom and others, in processor time, on this machine.

Each proxy runs with one worker on core 0; load and upstream run on core 1. A row is measured in rounds; each round
visits every proxy once, in changing order, and a ratio is taken within a round. See docs/benchmarks.md."""

import argparse
import random
import statistics
import subprocess
import sys
import time

import proxies
from machine import PROXY_CORE, ROOT, SPACE, Unfit, busy, describe, install, wait_until_idle
from rows import ROWS
from world import Upstreams, ask, expected, verify


def arguments():
    names = [proxy.name for proxy in proxies.ALL]
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (5)")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (3)")
    parser.add_argument("--rows", default="all", help=f"some of {','.join(row.name for row in ROWS)},two-cores,start")
    parser.add_argument("--proxies", default="all", help=f"some of {';'.join(names)}, separated by semicolons")
    parser.add_argument("--idle", type=float, default=0.1, help="share of the machine that others may use (0.1)")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for them (60)")
    parser.add_argument("--no-build", action="store_true", help="measure the binary that is there")
    return parser.parse_args()


def main():
    options = arguments()
    chosen = [one for one in proxies.ALL if options.proxies == "all" or one.name in options.proxies.split(";")]
    rows = [row for row in ROWS if options.rows == "all" or row.name in options.rows.split(",")]
    SPACE.mkdir(parents=True, exist_ok=True)
    install({one.program for one in chosen})
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    others = wait_until_idle(options.idle, options.patience)
    print(describe())
    print(f"others use {others:.0%} of the machine")
    for one in chosen:
        print(f"  {one.version()}: {one.on}")
    upstreams = Upstreams()
    try:
        for world in dict.fromkeys(row.world for row in rows):
            running = [one(world, upstreams) for one in chosen]
            try:
                for proxy in running:
                    begin(proxy)
                for row in rows:
                    if row.world == world:
                        measure(row, running, options)
            finally:
                for proxy in running:
                    proxy.stop()
    finally:
        upstreams.stop()


def begin(proxy):
    """Starts a proxy, and sees that it answers as it should. Seconds from its start to its first answer."""
    proxy.start()
    until = time.monotonic() + 120
    while not (ask(proxy.world, proxy.port) or "").startswith("200"):
        if proxy.process.process.poll() is not None or time.monotonic() > until:
            proxy.process.fail(f"{proxy.name} does not answer in {proxy.world.name}")
        time.sleep(0.005)
    took = time.monotonic() - proxy.process.begun
    verify(proxy.world, proxy.name, proxy.port)
    return took


def measure(row, running, options):
    costs = {proxy.name: [] for proxy in running}
    order = list(running)
    for number in range(options.rounds + 1):
        random.shuffle(order)
        for proxy in order:
            seconds = 1 if number == 0 else options.seconds
            before = proxy.process.cpu()
            requests, wrong = row.load(row.world, proxy.port, seconds)
            micros = (proxy.process.cpu() - before) * 1e6 / max(requests, 1)
            if wrong:
                print(f"{row.name} {proxy.name}: {wrong}", flush=True)
            if number:
                costs[proxy.name].append(micros)
                print(f"{row.name} {number} {proxy.name}: {micros:.2f} us, {requests / seconds:.0f}/s", flush=True)
    for name, all in costs.items():
        ratios = [one / nginx for one, nginx in zip(all, costs.get("nginx", all))]
        print(f"{row.name} {name}: {statistics.median(all):.2f} us, {statistics.median(ratios):.2f} x nginx")


try:
    main()
except Unfit as unfit:
    sys.exit(str(unfit))
