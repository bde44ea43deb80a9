"""Faults under load: API server and container runtime may go and come without a failed request; a killed pod costs what it held."""

import time

from bed.trial import check, until


def test(trial):
    apps, system = trial.namespace(), trial.namespace("system")
    trial.backend(apps)
    trial.install("faults", system, {"gatewayClass": {"name": "faults"}, "deployment": {"replicas": 2}})
    trial.gateway(apps, "web", "faults")
    trial.route(apps, "app", "web", "app.example.com")
    (address,) = trial.programmed(apps, "web")
    trial.answers(address, "app.example.com")

    for part in ("kube-apiserver", "containerd"):
        with trial.load("keepalive", address, "app.example.com") as report:
            began = time.monotonic()
            trial.stop(part)
            trial.start(part)
            trial.await_node()
            # what is programmed after the fault works as before
            trial.route(apps, part, "web", f"{part}.example.com")
            trial.answers(address, f"{part}.example.com", seconds=60)
            print(f"  {part} killed and started: a new route served {time.monotonic() - began:.1f} s later")
        check(report["failed"] == 0, f"{part}: {report['failed']} failed: {report['errors']}")

    with trial.load("keepalive", address, "app.example.com") as report:
        began = time.monotonic()
        before = {pod["metadata"]["name"] for pod in trial.pods(system, "faults")}
        killed = sorted(before)[0]
        trial.kubectl("delete", "pod", killed, "--namespace", system, "--grace-period=0", "--force")

        def replaced():
            ready = [pod["metadata"]["name"] for pod in trial.pods(system, "faults") if is_ready(pod)]
            return len(ready) == 2 and killed not in ready
        until("the pod's successor", replaced, 60)
        print(f"  pod killed without warning: its successor ready {time.monotonic() - began:.1f} s later")
    # at worst each of its connections loses the request in flight, and new ones meet the dead address until kube-proxy knows
    check(report["failed"] <= 20, f"{report['failed']} failed: {report['errors']}")


def is_ready(pod):
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))
