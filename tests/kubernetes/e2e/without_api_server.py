"""A container that starts while the API server is away serves the last good state, is ready, and catches up afterwards."""

from bed.trial import check, until


def test(trial):
    apps, system = trial.namespace(), trial.namespace("system")
    trial.backend(apps)
    trial.install("alone", system, {"gatewayClass": {"name": "alone"}})
    trial.gateway(apps, "web", "alone")
    trial.route(apps, "app", "web", "app.example.com")
    (address,) = trial.programmed(apps, "web")
    trial.answers(address, "app.example.com")
    (pod,) = trial.pods(system, "alone")
    admin = pod["status"]["podIP"]

    # etcd stays: what is missed is what changed
    trial.stop("kube-apiserver")
    code, _ = trial.request(address, "app.example.com")
    check(code == 200, f"the API server is away: {code}")
    trial.kill_containers_of(pod)
    trial.answers(address, "app.example.com", seconds=60)
    until("ready without an API server", lambda: trial.request(admin, admin, port=15000, path="/readyz")[0] == 200, 30)
    trial.start("kube-apiserver")
    trial.await_node()

    trial.route(apps, "later", "web", "later.example.com")
    trial.answers(address, "later.example.com", seconds=60)
    until("a true status again", lambda: trial.get("httproute", "later", apps).get("status", {}).get("parents"), 60)
    (pod,) = trial.pods(system, "alone")
    restarts = pod["status"]["containerStatuses"][0]["restartCount"]
    check(restarts == 1, f"the container was started again {restarts} times instead of once")
