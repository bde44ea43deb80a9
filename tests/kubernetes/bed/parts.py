"""The processes of the cluster: how each is started, and in which order the cluster comes up."""

import re
import shutil
import subprocess

from . import node, programs, settings
from .programs import logged, step
from .settings import (API, API_SERVICE, AUDIT, AUDIT_LOG, BALANCED, BALANCED_FREELY, HERE, IMAGES, KUBECONFIG, LOGS, NODE,
                       NODE_ADDRESS, PKI, PROGRAMS, RUN, SERVICES, fail)

KUBE = PROGRAMS / "kube"
ETC = RUN / "etc"
SERVING = ("localhost", "127.0.0.1", NODE, NODE_ADDRESS, API_SERVICE, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
           "kubernetes.default.svc.cluster.local")


def flags(**values):
    """client_ca_file=… -> --client-ca-file=…; what is None is left out."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value is not None]


# In the order of the start.
PARTS = {
    "etcd": [KUBE, "etcd", *flags(data=RUN / "etcd")],
    "kube-apiserver": [KUBE, "kube-apiserver", *flags(
        etcd_servers="http://127.0.0.1:2379",
        advertise_address=NODE_ADDRESS,
        secure_port=6443,
        service_cluster_ip_range=SERVICES,
        tls_cert_file=PKI / "serving.crt",
        tls_private_key_file=PKI / "serving.key",
        client_ca_file=PKI / "ca.crt",
        kubelet_certificate_authority=PKI / "ca.crt",
        kubelet_client_certificate=PKI / "admin.crt",
        kubelet_client_key=PKI / "admin.key",
        kubelet_preferred_address_types="InternalIP",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        service_account_key_file=PKI / "tokens.pub",
        service_account_signing_key_file=PKI / "tokens.key",
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        allow_privileged="true",
        audit_policy_file=ETC / "audit.yaml" if AUDIT == "on" else None,
        audit_log_path=AUDIT_LOG if AUDIT == "on" else None,
    )],
    "containerd": ["containerd", *flags(config=ETC / "containerd.toml")],
    "kube-controller-manager": [KUBE, "kube-controller-manager", *flags(
        kubeconfig=PKI / "kube-controller-manager.kubeconfig",
        leader_elect="false",
        use_service_account_credentials="true",
        root_ca_file=PKI / "ca.crt",
        service_account_private_key_file=PKI / "tokens.key",
        cluster_signing_cert_file=PKI / "ca.crt",
        cluster_signing_key_file=PKI / "ca.key",
    )],
    "kube-scheduler": [KUBE, "kube-scheduler", *flags(kubeconfig=PKI / "kube-scheduler.kubeconfig", leader_elect="false")],
    "addresses": [KUBE, "addresses", *flags(kubeconfig=PKI / "addresses.kubeconfig", whole=BALANCED, free=BALANCED_FREELY)],
    "kube-proxy": [KUBE, "kube-proxy", *flags(config=ETC / "kube-proxy.yaml", hostname_override=NODE)],
    "kubelet": [KUBE, "kubelet", *flags(
        config=ETC / "kubelet.yaml",
        kubeconfig=PKI / "kubelet.kubeconfig",
        root_dir="/var/lib/kubelet",
        cert_dir="/var/lib/kubelet/pki",
        hostname_override=NODE,
        node_ip=NODE_ADDRESS,
    )],
}
BEFORE_API = ("etcd", "kube-apiserver", "containerd")


def render(text):
    """@NAME@ in a file below etc/ is a setting."""
    def value(match):
        name = match.group(1)
        return str(getattr(settings, name, None) or getattr(programs, name))
    return re.sub(r"@([A-Z_]+)@", value, text)


def start(name):
    if name not in PARTS:
        fail(f"no part {name!r}; allowed: {', '.join(PARTS)}")
    node.spawn(name, *PARTS[name])


def kubectl(*arguments, log="kubectl"):
    """kubectl as the cluster's admin, in the node."""
    path = LOGS / f"{log}.log"
    with open(path, "a") as output:
        done = subprocess.run(node.enter(PROGRAMS / "kubectl", f"--kubeconfig={KUBECONFIG}", *arguments), stdout=output, stderr=output,
                              check=False)
    return done.returncode == 0


def must(*arguments, log):
    if not kubectl(*arguments, log=log):
        fail(f"kubectl {' '.join(map(str, arguments))} failed; see {LOGS / log}.log")


def up():
    missing = [name for name in ("kube", "coredns", "pause", "kubectl", "helm") if not (PROGRAMS / name).exists()]
    if missing:
        fail(f"{', '.join(missing)} not in {PROGRAMS}: run `cluster deps` and `cluster build` first")
    wished = settings.bundle(settings.CRDS)
    node.destroy()  # what a killed `up` or a restart of the machine left
    with step("node, control plane and DNS ready"):
        try:
            bring_up()
        except BaseException:
            node.destroy()
            raise
    if wished:
        with step(f"CRDs {settings.CRDS}"):
            install_crds(*wished)


def bring_up():
    node.create(render((HERE / "etc" / "refuse.nft").read_text()))
    PKI.mkdir()
    logged("identities", [KUBE, "identities", *flags(out=PKI, server=API, node=NODE, serving=",".join(SERVING))])
    for path in (HERE / "etc").rglob("*"):
        if path.is_file():
            target = ETC / path.relative_to(HERE / "etc")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(render(path.read_text()))
    for name in BEFORE_API:
        start(name)
    node.until("containerd", lambda: node.succeeds(*ctr("version")), 30)
    for archive in sorted(IMAGES.glob("*.tar")):
        load_image(archive)
    node.until("the API server", lambda: kubectl("get", "--raw=/readyz"), 60)
    for name in PARTS:
        if name not in BEFORE_API:
            start(name)
    must("apply", "--server-side", "-f", HERE / "manifests", log="manifests")
    node.until("the node", lambda: kubectl("wait", "--for=condition=Ready", "--timeout=1s", f"node/{NODE}"), 90)
    node.until("DNS", lambda: kubectl("rollout", "status", "--namespace=kube-system", "--timeout=2s", "deployment/coredns"), 90)


def ctr(*arguments):
    return ["ctr", f"--address={RUN}/containerd.sock", "--namespace=k8s.io", *arguments]


def load_image(archive):
    node.run(*ctr("images", "import", archive.absolute()))


def install_crds(channel, version):
    """Takes the place of whatever bundle there is: its objects go with it."""
    held = RUN / "crds"
    if held.exists():
        must("delete", "--ignore-not-found", "-f", held, log="crds")
        shutil.rmtree(held)
    held.mkdir()
    for path in programs.crds(channel, version).glob("*.yaml"):
        if path.name != "kustomization.yaml":
            shutil.copyfile(path, held / path.name)
    must("apply", "--server-side", "-f", held, log="crds")
    must("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all", log="crds")
