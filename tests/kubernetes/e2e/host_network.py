"""A DaemonSet on the host network serves the node's ports 80 and 443 without being root, and its status has the node's address."""

from bed.settings import NODE_ADDRESS
from bed.trial import check


def test(trial):
    apps = trial.namespace()
    system = trial.namespace("system", **{"pod-security.kubernetes.io/enforce": "privileged"})
    trial.backend(apps)
    trial.install("edge", system, {
        "deployment": {"kind": "DaemonSet"}, "hostNetwork": True, "gatewayClass": {"name": "edge"},
    })
    trial.gateway(apps, "web", "edge", listeners=[{"name": "http", "port": 80, "protocol": "HTTP"},
                                                  {"name": "secure", "port": 443, "protocol": "HTTP"}])
    trial.route(apps, "app", "web", "app.example.com")
    addresses = trial.programmed(apps, "web")
    check(addresses == [NODE_ADDRESS], f"addresses: {addresses}")
    for port in (80, 443):
        trial.answers(NODE_ADDRESS, "app.example.com", port=port)
    services = trial.kubectl("get", "services", "--namespace", apps, "-o", "name").split()
    check(services == ["service/echo"], f"Services beside the backend's: {services}")
    (pod,) = trial.pods(system, "edge")
    user = trial.users(pod)
    check(user == {65532}, f"users of its processes: {user}")
