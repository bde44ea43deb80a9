"""With the CRDs of older bundles a Gateway and an HTTPRoute serve, `transom check` says what is older, and no log line repeats."""

import collections
import re
import time

from bed import settings
from bed.trial import check

BUNDLES = ("1.4.0", "1.5.1", "1.6.3")
WATCHED = 20  # seconds


def test(trial):
    try:
        for bundle in BUNDLES:
            serve(trial, bundle)
    finally:
        trial.crds(settings.CRDS)


def serve(trial, bundle):
    trial.crds(f"standard@{bundle}")
    suffix = bundle.replace(".", "-")
    apps, system, release = trial.namespace(suffix), trial.namespace(f"{suffix}-system"), f"older-{suffix}"
    trial.backend(apps)
    trial.install(release, system, {"gatewayClass": {"name": release}})
    trial.gateway(apps, "web", release)
    trial.route(apps, "app", "web", "app.example.com")
    (address,) = trial.programmed(apps, "web")
    trial.answers(address, "app.example.com")

    said = trial.transom(system, release, "check", "--kubernetes")
    check(f"v{bundle}" in said and "older" in said, f"transom check does not say that {bundle} is older:\n{said}")

    before = collections.Counter(shapes(trial.logs(system, release)))
    time.sleep(WATCHED)  # a loop shows itself over time
    after = collections.Counter(shapes(trial.logs(system, release)))
    repeated = {line: count for line, count in (after - before).items() if count > 3}
    check(not repeated, f"logged again and again within {WATCHED} s with bundle {bundle}: {repeated}")
    for pod in trial.pods(system, release):
        restarts = [status["restartCount"] for status in pod["status"]["containerStatuses"]]
        check(not any(restarts), f"restarts with bundle {bundle}: {restarts}")
    print(f"  bundle {bundle}: serves")
    # the class goes with its install, before the CRDs do
    trial.kubectl("delete", "gateways,httproutes", "--all", "--namespace", apps)
    trial.cluster.run("helm", "uninstall", release, "--namespace", system, "--wait")


def shapes(log):
    """Log lines without what differs from one to the next."""
    return [re.sub(r"[0-9a-f]{8,}|\d+", "#", line) for line in log.splitlines() if '"path"' not in line]
