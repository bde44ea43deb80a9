"""What a test below e2e/ is given: namespaces of its own, installs, load, and things to ask the cluster.

Everything that a trial makes is taken away when it ends, whether it passed or not; if it failed, first the cluster's
objects and the logs of its pods are written beside its output.
"""

import contextlib
import json
import signal
import subprocess
import textwrap
import time

from . import node, parts, settings, target
from .settings import AUDIT_LOG, PROGRAMS, PROJECT

OUT = PROJECT / "target" / "cluster-test"


class Failure(Exception):
    """What was found is not what the test says."""


def check(holds, message):
    if not holds:
        raise Failure(message)


class Trial:
    def __init__(self, name):
        self.name = name.replace("_", "-")
        self.out = OUT / name
        self.out.mkdir(parents=True, exist_ok=True)
        self.cluster = target.Own()
        self.namespaces = []
        self.releases = []

    # what is made

    def namespace(self, suffix="", **labels):
        name = f"e2e-{self.name}{suffix and '-' + suffix}"
        self.namespaces.append(name)
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        return name

    def install(self, release, namespace, values=None):
        """The chart with these values. Gives the name of the service account, as the audit log has it."""
        self.releases.append((release, namespace))
        path = self.out / f"{release}-values.json"
        path.write_text(json.dumps(values or {}))
        self.cluster.install(release, namespace, f"--values={path}")
        name = self.pods(namespace, release)[0]["spec"]["serviceAccountName"]
        return f"system:serviceaccount:{namespace}:{name}"

    def apply(self, *objects, namespace=None):
        """Objects, or YAML text."""
        for given in objects:
            text = textwrap.dedent(given) if isinstance(given, str) else json.dumps(given)
            self.kubectl("apply", "-f", "-", *scope(namespace), input=text)

    def backend(self, namespace, name="echo", replicas=1):
        """`transom echo` behind a Service on port 80."""
        labels = {"app": name}
        self.apply(
            {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [{
                        "name": name,
                        "image": target.loaded_image(),
                        "args": ["echo"],
                        "env": [{"name": "SERVICE_NAME", "value": name}],
                        "readinessProbe": {"tcpSocket": {"port": 3000}, "periodSeconds": 1},
                    }]}},
                },
            },
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 3000}]},
            },
            namespace=namespace,
        )
        self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s", *scope(namespace))

    def gateway(self, namespace, name, gateway_class, labels=None, listeners=None):
        self.apply({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name, "labels": labels or {}},
            "spec": {"gatewayClassName": gateway_class, "listeners": listeners or [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        }, namespace=namespace)

    def route(self, namespace, name, gateway, hostname, backend="echo", labels=None):
        self.apply({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name, "labels": labels or {}},
            "spec": {
                "parentRefs": [{"name": gateway}],
                "hostnames": [hostname],
                "rules": [{"backendRefs": [{"name": backend, "port": 80}]}],
            },
        }, namespace=namespace)

    # what is asked

    def kubectl(self, *words, **options):
        return self.cluster.run("kubectl", *words, **options)

    def get(self, kind, name, namespace=None):
        return json.loads(self.kubectl("get", kind, name, "-o", "json", *scope(namespace)))

    def programmed(self, namespace, name, seconds=60):
        """Waits for the Gateway and gives its addresses."""
        self.kubectl("wait", f"gateway/{name}", "--for=condition=Programmed", f"--timeout={seconds}s", *scope(namespace))
        return [address["value"] for address in self.get("gateway", name, namespace)["status"]["addresses"]]

    def request(self, address, host, *options, port=80, path="/"):
        """The status code and the body; code 0 where there was no answer."""
        done = subprocess.run(
            self.cluster.command("curl", "--silent", "--max-time", "5", "--header", f"Host: {host}", "--write-out", "\n%{http_code}",
                                 *options, f"http://{address}:{port}{path}"),
            env=self.cluster.environment, capture_output=True, text=True, check=False)
        body, _, code = done.stdout.rpartition("\n")
        return int(code or 0), body

    def answers(self, address, host, code=200, seconds=30, port=80):
        until(f"{code} from {address}:{port} for {host}", lambda: self.request(address, host, port=port)[0] == code, seconds)

    def pods(self, namespace, release):
        selector = f"app.kubernetes.io/instance={release}"
        return json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json", *scope(namespace)))["items"]

    def logs(self, namespace, release):
        return self.kubectl("logs", "-l", f"app.kubernetes.io/instance={release}", "--tail=-1", "--prefix", *scope(namespace))

    def transom(self, namespace, release, *words):
        """What the command says in a pod of the install, with its rights. It may find problems: that is exit 1."""
        pod = self.pods(namespace, release)[0]["metadata"]["name"]
        done = subprocess.run(self.cluster.command("kubectl", "exec", "--namespace", namespace, pod, "--", "transom", *words),
                              env=self.cluster.environment, capture_output=True, text=True, check=False)
        check(done.returncode in (0, 1), f"transom {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def load(self, kind, address, host, rate=100, workers=4, port=80):
        """Requests as long as the block lasts. Yields a dictionary that is filled with the report at its end."""
        report = {}
        errors = open(self.out / f"load-{kind}.log", "w")
        sender = subprocess.Popen(
            self.cluster.command(PROGRAMS / "load", f"-kind={kind}", f"-target={address}:{port}", f"-host={host}", f"-rate={rate}",
                                 f"-workers={workers}"),
            stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield report
        finally:
            sender.send_signal(signal.SIGTERM)
            report.update(json.loads(sender.communicate(timeout=30)[0]))
            errors.close()
            print(f"  load: {json.dumps(report)}")

    def audit(self, since, account):
        """What an account asked of the API server since a moment of time.time()."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
        with open(AUDIT_LOG) as lines:
            for line in lines:
                if f'"{account}"' in line:
                    entry = json.loads(line)
                    if entry["requestReceivedTimestamp"] >= moment:
                        yield entry

    def stop(self, part):
        node.stop(part)

    def start(self, part):
        parts.start(part)

    def crds(self, bundle):
        parts.install_crds(*settings.bundle(bundle))

    def kill_containers_of(self, pod):
        """Kills them as the kernel does when memory runs out; kubelet starts them again. Asks nothing of the API server."""
        for container in containers(pod):
            node.run(*parts.ctr("task", "kill", "--signal=SIGKILL", container))

    def users(self, pod):
        """The user ids under which a pod's processes run."""
        ids = set()
        for container in containers(pod):
            for line in node.run(*parts.ctr("task", "ps", container)).splitlines()[1:]:
                status = node.run("cat", f"/proc/{line.split()[0]}/status")
                ids.update(int(word) for row in status.splitlines() if row.startswith("Uid:") for word in row.split()[1:])
        return ids

    def await_node(self):
        until("the API server", lambda: parts.kubectl("get", "--raw=/readyz"), 60)
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node", "--all")

    # the end

    def evidence(self):
        """Everything that may explain a failure."""
        for name, words in {
            "objects": ("get", "gatewayclasses,gateways,httproutes,services,endpointslices,pods", "-A", "-o", "yaml"),
            "events": ("get", "events", "-A"),
        }.items():
            done = subprocess.run(self.cluster.command("kubectl", *words), env=self.cluster.environment, capture_output=True, text=True,
                                  check=False)
            (self.out / f"{name}.txt").write_text(done.stdout + done.stderr)
        for release, namespace in self.releases:
            for previous in (False, True):
                words = ("logs", "-l", f"app.kubernetes.io/instance={release}", "--tail=-1", "--prefix", f"--previous={previous}".lower(),
                         *scope(namespace))
                done = subprocess.run(self.cluster.command("kubectl", *words), env=self.cluster.environment, capture_output=True,
                                      text=True, check=False)
                (self.out / f"{release}{'-previous' if previous else ''}.log").write_text(done.stdout + done.stderr)

    def clean(self):
        for part in parts.PARTS:
            if part not in node.running():
                parts.start(part)
        until("the API server", lambda: parts.kubectl("get", "--raw=/readyz"), 60)
        for namespace in self.namespaces:
            # while Transom lives: its finalizers are its own to take away
            self.kubectl("delete", "--ignore-not-found", "gateways,httproutes", "--all", *scope(namespace))
        for release, namespace in self.releases:
            # a leader that was killed a moment ago has a successor when its Lease has run out
            until(f"the class of {release} without its finalizer", lambda release=release: not self.kubectl(
                "get", "gatewayclasses", "-l", f"app.kubernetes.io/instance={release}", "-o", "jsonpath={.items[*].metadata.finalizers}"), 60)
            self.cluster.run("helm", "uninstall", release, "--namespace", namespace, "--wait", "--ignore-not-found")
        for namespace in self.namespaces:
            self.kubectl("delete", "--ignore-not-found", "--timeout=180s", "namespace", namespace)


def containers(pod):
    return [status["containerID"].removeprefix("containerd://") for status in pod["status"]["containerStatuses"]]


def scope(namespace):
    return ["--namespace", namespace] if namespace else []


def until(what, condition, seconds):
    """Polls until the condition holds, and gives what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        check(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        time.sleep(0.2)
