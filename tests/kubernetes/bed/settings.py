"""Where the cluster lies and how it is addressed. The environment is read here and nowhere else."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent  # tests/kubernetes
PROJECT = HERE.parent.parent


def fail(message):
    sys.exit(f"cluster: {message}")


def note(message):
    print(f"cluster: {message}", file=sys.stderr, flush=True)


# All that is written lies under one folder; the name of the network namespace is the cluster's name. Two clusters
# need two of both.
FOLDER = pathlib.Path(os.environ.get("KUBE_BED_DIR", "/var/tmp/transom-kube")).absolute()
NAMESPACE = os.environ.get("KUBE_BED_NETNS", "transom-kube")
# CHANNEL or CHANNEL@BUNDLE
CRDS = os.environ.get("KUBE_BED_CRDS", "experimental")
AUDIT = os.environ.get("KUBE_BED_AUDIT", "on")

CHANNELS = ("experimental", "standard")
BUNDLES = ("1.7.0", "1.6.3", "1.5.1", "1.4.0")
if AUDIT not in ("on", "off"):
    fail(f"KUBE_BED_AUDIT: found {AUDIT!r}, allowed are on and off")

PROGRAMS = FOLDER / "programs"
IMAGES = FOLDER / "images"
BUILD_LOGS = FOLDER / "build"
RUN = FOLDER / "run"  # gone after `down`
LOGS = RUN / "logs"
LAST_LOGS = FOLDER / "last-logs"
PKI = RUN / "pki"
KUBECONFIG = PKI / "admin.kubeconfig"
AUDIT_LOG = LOGS / "audit.jsonl"

# Nothing outside the namespace has or sees these addresses.
NODE = "node-1"
NODE_ADDRESS = "172.30.0.10"
NODE_PREFIX = 24
OUTSIDE_ADDRESS = "172.30.0.1"  # the other end of the node's link
BALANCED = "172.30.8.0/22"  # addresses that a Service may ask for
BALANCED_FREELY = "172.30.8.0/23"  # those that are given unasked
USABLE, UNUSABLE = "172.30.11.200", "192.0.2.1"  # for the suite's test of static addresses
PODS = "10.244.0.0/20"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS = "10.96.0.10"
API = f"https://{NODE_ADDRESS}:6443"


def bundle(text):
    """`standard@1.5.1` -> ("standard", "1.5.1"); none -> None."""
    if text == "none":
        return None
    channel, _, version = text.partition("@")
    version = version or BUNDLES[0]
    if channel not in CHANNELS or version not in BUNDLES:
        fail(f"CRDs: found {text!r}, allowed are none, or {' or '.join(CHANNELS)}, followed or not by @ and one of {', '.join(BUNDLES)}")
    return channel, version
