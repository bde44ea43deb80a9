"""What others wrote into a status stays as it is, byte for byte; a Gateway with a name of 253 characters has a true status."""

import json

from bed.trial import check, until

LONG = "g" * 63 + "." + "h" * 63 + "." + "i" * 63 + "." + "j" * 61
# Out of order and with a time that is not ours: nothing of it may be tidied up.
FOREIGN_PARENT = {
    "controllerName": "of.someone/else",
    "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "theirs", "sectionName": "z"},
    "conditions": [
        {"type": "Zeta", "status": "Unknown", "reason": "NotOurs", "message": "  keep  me ", "lastTransitionTime": "2001-02-03T04:05:06Z",
         "observedGeneration": 3},
        {"type": "Accepted", "status": "False", "reason": "Theirs", "message": "", "lastTransitionTime": "2001-02-03T04:05:06Z"},
    ],
}
FOREIGN_CONDITION = {"type": "of.someone/Checked", "status": "True", "reason": "TheyDid", "message": "by them",
                     "lastTransitionTime": "2001-02-03T04:05:06Z", "observedGeneration": 1}


def test(trial):
    check(len(LONG) == 253, f"{len(LONG)} characters")
    apps = trial.namespace()
    trial.backend(apps)
    trial.install("foreign", trial.namespace("system"), {"gatewayClass": {"name": "foreign"}})
    trial.gateway(apps, LONG, "foreign")
    trial.route(apps, "app", LONG, "app.example.com")
    (address,) = trial.programmed(apps, LONG)
    trial.answers(address, "app.example.com")
    status = trial.get("gateway", LONG, apps)["status"]
    check(status["listeners"][0]["attachedRoutes"] == 1, f"status: {status}")

    write(trial, apps, "httproute", "app", [{"op": "add", "path": "/status/parents/0", "value": FOREIGN_PARENT}])
    write(trial, apps, "gateway", LONG, [{"op": "add", "path": "/status/conditions/0", "value": FOREIGN_CONDITION}])
    write(trial, apps, "gateway", LONG, [{"op": "add", "path": "/status/listeners/0/conditions/0", "value": FOREIGN_CONDITION}])
    # a change that turns our own entries around, and back
    for backend, resolved in (("missing", "False"), ("echo", "True")):
        trial.route(apps, "app", LONG, "app.example.com", backend=backend)
        until(f"ResolvedRefs={resolved}", lambda resolved=resolved: condition(trial, apps, "ResolvedRefs")["status"] == resolved, 30)
        parents = trial.get("httproute", "app", apps)["status"]["parents"]
        check(same(FOREIGN_PARENT, parents), f"their parent is not what it was: {parents}")
    trial.gateway(apps, LONG, "foreign", listeners=[{"name": "http", "port": 80, "protocol": "HTTP"},
                                                     {"name": "more", "port": 8080, "protocol": "HTTP"}])
    until("the second listener", lambda: len(trial.get("gateway", LONG, apps)["status"]["listeners"]) == 2, 30)
    (address,) = trial.programmed(apps, LONG)
    trial.answers(address, "app.example.com", port=8080)
    status = trial.get("gateway", LONG, apps)["status"]
    check(same(FOREIGN_CONDITION, status["conditions"]), f"their condition is not what it was: {status['conditions']}")
    first = next(listener for listener in status["listeners"] if listener["name"] == "http")
    check(same(FOREIGN_CONDITION, first["conditions"]), f"their condition of the listener is not what it was: {first['conditions']}")


def write(trial, namespace, kind, name, patch):
    trial.kubectl("patch", kind, name, "--namespace", namespace, "--subresource=status", "--type=json", f"--patch={json.dumps(patch)}")


def condition(trial, namespace, kind):
    for parent in trial.get("httproute", "app", namespace)["status"]["parents"]:
        if parent["controllerName"] != FOREIGN_PARENT["controllerName"]:
            return next(found for found in parent["conditions"] if found["type"] == kind)
    return {"status": None}


def same(wanted, entries):
    """Texts are compared, with the order of keys that JSON from the API server has: sorted by the type's fields, the same each time."""
    text = json.dumps(wanted, sort_keys=True)
    return any(json.dumps(entry, sort_keys=True) == text for entry in entries)
