"""500 HTTPRoutes at once, then 20 changes a second for a minute under load: no request fails, each change costs one status write."""

import json
import time

from bed.settings import PROGRAMS
from bed.trial import check, until

ROUTES, RATE, SECONDS = 500, 20, 60


def test(trial):
    apps, system = trial.namespace(), trial.namespace("system")
    trial.backend(apps, replicas=2)
    account = trial.install("scale", system, {"gatewayClass": {"name": "scale"}, "deployment": {"replicas": 2}})
    trial.gateway(apps, "web", "scale")
    trial.route(apps, "app", "web", "app.example.com")
    (address,) = trial.programmed(apps, "web")
    trial.answers(address, "app.example.com")

    began = time.time()
    with trial.load("keepalive", address, "app.example.com", rate=200) as report:
        figures = json.loads(trial.cluster.run(
            PROGRAMS / "storm", f"-namespace={apps}", "-gateway=web", f"-target={address}:80", f"-routes={ROUTES}", f"-rate={RATE}",
            f"-for={SECONDS}s"))
        # the last statuses may still be on their way
        until("quiet", lambda: not any(e["verb"] == "patch" for e in trial.audit(time.time() - 3, account)), 60)
    print(f"  storm: {json.dumps(figures)}")
    asked = [entry for entry in trial.audit(began, account) if entry["objectRef"]["resource"] != "leases"]
    writes = [entry for entry in asked if entry["verb"] not in ("get", "list", "watch")]
    statuses = [entry for entry in writes if entry["objectRef"].get("subresource") == "status"
                and entry["objectRef"]["resource"] == "httproutes"]
    changes = ROUTES + RATE * SECONDS
    print(f"  {changes} changes: {len(asked)} API requests ({len(asked) / changes:.3f} a change), {len(writes)} writes, "
          f"{len(statuses)} statuses of routes ({len(statuses) / changes:.3f} a change)")
    check(report["failed"] == 0, f"{report['failed']} failed: {report['errors']}")
    for phase in ("created", "changed"):
        check(figures[phase]["lost"] == 0, f"{figures[phase]['lost']} {phase} routes were never seen")
    check(len(statuses) <= changes, f"{len(statuses)} status writes for {changes} changes")
