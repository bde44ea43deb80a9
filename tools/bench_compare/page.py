"""docs/benchmarks.md, from what was measured. Written by the command alone."""

from machine import ROOT, describe

PAGE = ROOT / "docs" / "benchmarks.md"
SHOWN = 24


def write(measured):
    PAGE.write_text(page(measured))
    return PAGE


def page(measured):
    parts = ["# What a request costs", head(measured), costs(measured)]
    if measured.get("two-cores"):
        parts.append(two_cores(measured["two-cores"]))
    if measured.get("start"):
        parts.append(start(measured["start"]))
    if measured.get("instructions"):
        parts.append(instructions(measured))
    return "\n\n".join(parts) + "\n"


def head(measured):
    options = measured["options"]
    on = "\n".join(f"- {one['version']} ({name}): {one['on']}" for name, one in measured["proxies"].items())
    return f"""Written by `make bench-compare` (`tools/bench_compare`); run it on your own machine. The ratios travel between
machines of one kind, not to another processor: nginx does a request in a quarter of Transom's instructions, and what the others
cost is the processor's (docs/decisions, 38). Beside Pingora alone is what of the cost is Transom's own.

Machine: {measured['machine']}; others used {measured['others']:.0%} of it before the run{", which is too much for these figures to be trusted" if measured['others'] > options['idle'] else ""}.
Build: `make release` (fat LTO, one codegen unit, mimalloc, code laid out by BOLT after a run), {measured['compiler']}.

Each proxy runs with one worker, pinned to core 0 with all its threads and children; load generator and upstream (nginx, an
answer of 1 KiB, connections kept) are pinned to core 1. {options['rounds']} rounds of {options['seconds']} s; each round visits every proxy once, in
changing order; a round with an error does not count and is repeated. The figure is processor time of the proxy (user and
system, `/proc/PID/stat`) over requests that were answered well: the median of the rounds, and in brackets the median of
the ratios to nginx *within* a round. What each proxy answers is verified first: status, body, and the host that reached the
upstream. Load: wrk, 64 connections, each request drawn at random from all routes; h2load for HTTP/2 (8 connections, 8
streams each); for new TLS connections a client of our own that never resumes. All proxies pass on `X-Forwarded-*`, keep
connections on both sides and, but for Pingora alone, bound the time of a request. Beyond that is switched on:

{on}"""


def costs(measured):
    names = list(measured["proxies"])
    lines = ["## Processor time for a request", "", f"| µs ({'ratio to nginx'}) | " + " | ".join(names) + " | bar |",
             "|---" * (len(names) + 2) + "|"]
    for row in measured["rows"]:
        cells = [cell(row["proxies"].get(name)) for name in names]
        bar = "" if row["bar"] is None else f"≤ {row['bar']}"
        lines.append(f"| {row['title']} | " + " | ".join(cells) + f" | {bar} |")
    lines += ["", "`bar` is what Transom is held to against nginx. Requests a second in the same runs, of a proxy that had one core",
              "(the load had another, and is what bounds the fastest):", "",
              "| requests/s | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in measured["rows"]:
        rates = [row["proxies"].get(name) for name in names]
        lines.append(f"| {row['title']} | " + " | ".join(f"{one['rate']:,.0f}" if one else "–" for one in rates) + " |")
    return "\n".join(lines)


def cell(one):
    if not one:
        return "–"
    micros = f"{one['micros']:.0f}" if one["micros"] >= 100 else f"{one['micros']:.1f}"
    return f"{micros} ({one['ratio']:.2f})" if one["ratio"] else micros


def two_cores(one):
    return f"""## Two cores

Transom with one worker on one core: {one['one']:.1f} µs; with two workers on both cores, which load and upstream share: {one['two']:.1f} µs. By
processor time two cores do {one['scaling']:.2f} times the work of one (bar: ≥ 1.7)."""


def start(rows):
    names = list(dict.fromkeys(name for row in rows for name in row["proxies"]))
    lines = ["## Memory and start", "", "Resident memory (proportional set) after load, and the time from the start of the process to its first good answer.",
             "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for what, unit, form in [("resident", "MiB", "{:.0f}"), ("start", "ms", "{:.0f}")]:
        for row in rows:
            values = [row["proxies"].get(name, {}).get(what) for name in names]
            lines.append(f"| {what}, {row['title']} ({unit}) | " + " | ".join(form.format(v) if v else "–" for v in values) + " |")
    return "\n".join(lines)


def instructions(measured):
    lines = ["## Where it goes", "",
             "Instructions of one request in user space, by callgrind (a build of the same profile with symbols, not laid out; 4,000 requests",
             "after 1,000), by whose source they were written in. Copies of large values count one a byte.", ""]
    rows = measured["instructions"]
    whose = list(dict.fromkeys(name for row in rows for name in row["owners"]))
    lines += ["| | " + " | ".join(row["title"] for row in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    whose.sort(key=lambda name: -rows[0]["owners"].get(name, 0))
    for name in whose:
        lines.append(f"| {name} | " + " | ".join(f"{row['owners'].get(name, 0):,.0f}" for row in rows) + " |")
    lines.append("| **all of Transom** | " + " | ".join(f"**{sum(row['owners'].values()):,.0f}**" for row in rows) + " |")
    if any(row.get("nginx") for row in rows):
        lines.append("| all of nginx | " + " | ".join(f"{row['nginx']:,.0f}" if row.get("nginx") else "–" for row in rows) + " |")
    first = rows[0]
    lines += ["", f"Our own functions with all that they call, {first['title']}:", "", "| function | instructions |", "|---|---|"]
    for name, cost in sorted(first["functions"].items(), key=lambda item: -item[1])[:SHOWN]:
        lines.append(f"| `{name}` | {cost:,.0f} |")
    if measured.get("calls"):
        calls = ", ".join(f"{name} {count:.2f}" for name, count in measured["calls"].items())
        lines += ["", f"System calls of a request, {first['title']}: {calls}."]
    return "\n".join(lines)
