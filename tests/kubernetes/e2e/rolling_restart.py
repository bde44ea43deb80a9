"""A rolling restart under load fails no request: HTTP/1.1 with keep-alive, HTTP/2, WebSocket."""

from bed.trial import check, until


def test(trial):
    apps, system = trial.namespace(), trial.namespace("system")
    trial.backend(apps, replicas=2)
    trial.install("rolling", system, {"gatewayClass": {"name": "rolling"}, "deployment": {"replicas": 2}})
    trial.gateway(apps, "web", "rolling")
    trial.route(apps, "app", "web", "app.example.com")
    (address,) = trial.programmed(apps, "web")
    trial.answers(address, "app.example.com")
    workload = trial.kubectl("get", "deployments", "--namespace", system, "-o", "name").strip()
    with trial.load("keepalive", address, "app.example.com") as http1, trial.load("h2", address, "app.example.com") as http2, \
            trial.load("websocket", address, "app.example.com", rate=40) as websocket:
        # twice: the second time the leader is one that took over
        for _ in range(2):
            trial.kubectl("rollout", "restart", workload, "--namespace", system)
            trial.kubectl("rollout", "status", workload, "--namespace", system, "--timeout=180s")
            # the old pods drain: what they still hold is told to end before they do
            until("the end of the old pods", lambda: len(trial.pods(system, "rolling")) == 2, 60)
    for report in (http1, http2, websocket):
        check(report["sent"] > 200, f"too little load: {report}")
        check(report["failed"] == 0, f"{report['failed']} failed: {report['errors']}")
    check(websocket["answers"].get("message after close 1001", 0) > 0, f"no WebSocket was told to close: {websocket}")
    addresses = trial.programmed(apps, "web")
    check(addresses == [address], f"the address was {address} and is {addresses}")
