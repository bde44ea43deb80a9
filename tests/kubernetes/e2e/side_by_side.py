"""Two installs in one cluster program only their own Gateways, and write nothing when nothing changes."""

import time

from bed.trial import check, until

SIDES = ("dmz", "lan")
IDLE = 60  # seconds


def test(trial):
    started = time.time()
    apps = trial.namespace()
    trial.backend(apps)
    accounts, addresses = {}, {}
    for side in SIDES:
        accounts[side] = trial.install(side, trial.namespace(side), {
            "gatewayClass": {"name": side, "labels": {"side": side}},
            "providers": {"kubernetesGateway": {"gatewayClassSelector": f"side={side}"}},
        })
        trial.gateway(apps, side, side)
        trial.route(apps, side, side, f"{side}.example.com")
    for side in SIDES:
        (addresses[side],) = trial.programmed(apps, side)
        trial.answers(addresses[side], f"{side}.example.com")
    check(addresses["dmz"] != addresses["lan"], f"both have the address {addresses['dmz']}")
    for side, other in (SIDES, SIDES[::-1]):
        code, _ = trial.request(addresses[side], f"{other}.example.com")
        check(code == 404, f"the route of {other} is answered with {code} at {side}")
        controller = trial.get("gatewayclass", side)["spec"]["controllerName"]
        parents = trial.get("httproute", side, apps)["status"]["parents"]
        check([parent["controllerName"] for parent in parents] == [controller], f"parents of {side}: {parents}")

    for side in SIDES:
        count = len(list(writes(trial, started, accounts[side])))
        check(count > 0, f"the audit log shows no write of {accounts[side]}, so it cannot show that there is none")
    # quiet first: the last writes of the start are not idleness
    def quiet():
        return not any(True for side in SIDES for _ in writes(trial, time.time() - 5, accounts[side]))
    until("the last write of the start", quiet, 60)
    began = time.time()
    time.sleep(IDLE)  # what is measured is a span of time in which nothing happens
    for side in SIDES:
        found = [f"{entry['verb']} {entry['requestURI']}" for entry in writes(trial, began, accounts[side])]
        check(not found, f"{side} wrote while nothing changed: {found}")
    print(f"  0 writes in {IDLE} s by either install")


def writes(trial, since, account):
    """All but the renewals of the Lease, which are what leadership is."""
    for entry in trial.audit(since, account):
        if entry["verb"] not in ("get", "list", "watch") and entry["objectRef"]["resource"] not in ("leases", "selfsubjectaccessreviews"):
            yield entry
