"""The cluster that tests run against: the one that KUBECONFIG names, or else our own, which is brought up where it is down.

What differs between the two is how a command reaches the cluster and how an image gets into it.
"""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess

from . import node, parts, programs, settings
from .programs import step
from .settings import FOLDER, KUBECONFIG, PROGRAMS, PROJECT, fail, note

IMAGE = PROJECT / "target" / "image"
CHART = PROJECT / "helm" / "transom"

# A proxy of the machine's would be asked for addresses that only the cluster has.
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Target:
    """A cluster that is there."""

    def __init__(self, prefix, kubeconfig):
        self.prefix = [str(word) for word in prefix]
        self.environment = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
        self.environment.update(KUBECONFIG=str(kubeconfig), PATH=f"{PROGRAMS}:{os.environ['PATH']}")

    def command(self, *words):
        return [*self.prefix, *map(str, words)]

    def run(self, *words, **options):
        """Runs a command that must succeed and gives what it printed."""
        done = subprocess.run(self.command(*words), env=self.environment, capture_output=True, text=True, check=False, **options)
        if done.returncode != 0:
            fail(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def install(self, release, namespace, *values, wait=True):
        """The chart as a user installs it, from the image that was loaded."""
        repository, _, tag = loaded_image().rpartition(":")
        self.run("helm", "upgrade", "--install", release, CHART, "--namespace", namespace, "--create-namespace", "--timeout=3m",
                 f"--set=image.repository={repository}", f"--set-string=image.tag={tag}", *(["--wait"] if wait else []), *values)


class Own(Target):
    """The cluster of this folder. Only the network is the node's: files, processes and the user are the caller's."""

    def __init__(self):
        super().__init__(["nsenter", f"--net={node.NETNS}", "--"], KUBECONFIG)

    def prepare(self):
        programs.suite()

    def load(self, archive):
        with step("image imported"):
            parts.load_image(archive)


class Given(Target):
    """A user's cluster, reached as kubectl reaches it."""

    def __init__(self, kubeconfig):
        super().__init__([], kubeconfig)

    def prepare(self):
        programs.clients()
        programs.suite()
        installed = json.loads(self.run("kubectl", "get", "crds", "-o", "json"))["items"]
        if not any(crd["metadata"]["name"] == "gateways.gateway.networking.k8s.io" for crd in installed):
            note(f"this cluster has no CRDs of the Gateway API: installing {settings.CRDS}")
            for path in sorted(programs.crds(*settings.bundle(settings.CRDS)).glob("*.yaml")):
                if path.name != "kustomization.yaml":
                    self.run("kubectl", "apply", "--server-side", "-f", path)
            self.run("kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")

    def load(self, archive):
        context = self.run("kubectl", "config", "current-context").strip()
        if given := os.environ.get("LOAD"):
            command = [*given.split(), archive]
        elif context.startswith("kind-") and shutil.which("kind"):
            command = ["kind", "load", "image-archive", f"--name={context.removeprefix('kind-')}", archive]
        elif context.startswith("k3d-") and shutil.which("k3d"):
            command = ["k3d", "image", "import", f"--cluster={context.removeprefix('k3d-')}", archive]
        else:
            fail(f"no way to bring an image to {context!r}, which is neither kind's nor k3d's: set LOAD to a command that takes "
                 "the archive as its last word, or push an image and set IMAGE to its name")
        with step("image loaded"):
            self.run(*command)


def loaded_image():
    return os.environ.get("IMAGE") or (IMAGE / "name").read_text().strip()


def find():
    """The cluster, up, with everything that is needed to test against it."""
    given = os.environ.get("KUBECONFIG")
    if given:
        target = Given(given)
    else:
        bring_up()
        target = Own()
    target.prepare()
    return target


def bring_up():
    """`cluster deps`, `build` and `up`; each does nothing where it was done before."""
    if os.geteuid() != 0:
        fail("only root may make namespaces: run it with sudo, or set KUBECONFIG to a cluster of yours")
    with locked():
        programs.deps()
        programs.build()
        if node.first_process() is None:
            parts.up()


def locked():
    """One command at a time changes what is in our folder. The lock goes with the process at the latest."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = open(FOLDER / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def bring_image(target):
    """Builds the image and loads it, unless IMAGE names one that the cluster can pull."""
    if not os.environ.get("IMAGE"):
        with step("image built"):
            subprocess.run([PROJECT / "tools" / "image.sh"], check=True)
        target.load(pathlib.Path(IMAGE / "transom.tar"))
