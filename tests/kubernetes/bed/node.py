"""The node: namespaces that hold every process and mount of the cluster, so that their end is the end of it all.

Process 1 in them is `pause`; the kernel kills the others with it and drops the mounts. What is outside and has to be
taken back by hand: the name of the network namespace, the folder of the run, and a folder in each cgroup hierarchy.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

from .settings import (BALANCED, LAST_LOGS, LOGS, NAMESPACE, NODE_ADDRESS, NODE_PREFIX, OUTSIDE_ADDRESS, PROGRAMS,
                       RUN, SERVICES, fail, note)

NETNS = pathlib.Path("/run/netns") / NAMESPACE
FIRST = RUN / "first.pid"  # process 1, by its number outside
PIDS = RUN / "pids"
MADE = RUN / "made-folders"  # mount points that the machine did not have

# Programs write to these whatever they are told; inside the node's mount namespace the folders are the run's own.
OWN_FOLDERS = {"/var/lib/kubelet": "kubelet", "/var/lib/cni": "cni", "/var/log/pods": "pod-logs", "/var/log/containers": "container-logs"}

LINKS = f"""
link set lo up
link add node0 type veth peer name outside0
address add {NODE_ADDRESS}/{NODE_PREFIX} dev node0
address add {OUTSIDE_ADDRESS}/32 dev outside0
link set node0 up
link set outside0 up
route add {BALANCED} dev node0 src {NODE_ADDRESS}
route add {SERVICES} dev node0 src {NODE_ADDRESS}
"""
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.route_localnet": "1",
    # some machines give every namespace a wider range, which would take the ports of NodePort Services
    "net.ipv4.ip_local_port_range": "32768 60999",
}


def read_pid(path):
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def is_running(pid):
    """A process that ended and was not collected yet does not count."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def first_process():
    """None where there is none: the number alone says nothing, as it may be someone else's by now."""
    pid = read_pid(FIRST)
    try:
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return None
    return pid if program == str(PROGRAMS / "pause") and is_running(pid) else None


def only_child(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def enter(*command):
    """The command line that runs a command in the node."""
    return ["nsenter", f"--target={FIRST.read_text()}", "--net", "--mount", "--pid", "--ipc", "--", *map(str, command)]


def run(*command, text=None):
    """Runs a command in the node to its end and gives what it printed."""
    done = subprocess.run(enter(*command), input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr or done.stdout}")
    return done.stdout


def succeeds(*command):
    return subprocess.run(enter(*command), capture_output=True, check=False).returncode == 0


def create(ruleset):
    """Makes the namespaces, their links and mounts. `ruleset` is for nftables."""
    for folder in (LOGS, PIDS, RUN / "etc", *(RUN / name for name in OWN_FOLDERS.values())):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    with open(LOGS / "pause.log", "w") as log:
        outer = subprocess.Popen(
            ["nsenter", f"--net={NETNS}", "unshare", "--mount", "--propagation=private", "--pid", "--ipc", "--fork", "--mount-proc",
             PROGRAMS / "pause"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def started():
        child = only_child(outer.pid)
        if child is None or os.readlink(f"/proc/{child}/exe") != str(PROGRAMS / "pause"):
            return False
        FIRST.write_text(str(child))
        return True

    until("the namespaces", started, 10)
    made = [target for target in OWN_FOLDERS if not os.path.exists(target)]
    MADE.write_text("".join(f"{target}\n" for target in made))
    mounts = "".join(f"mkdir -p {target}\nmount --bind {RUN / own} {target}\n" for target, own in OWN_FOLDERS.items())
    run("sh", "-eu", text=f"mount --make-rshared /\n{mounts}mount -t tmpfs tmpfs /run\n")
    run("ip", "-batch", "-", text=LINKS)
    run("sysctl", "-qw", *(f"{name}={value}" for name, value in SYSCTLS.items()))
    run("nft", "-f", "-", text=ruleset)
    for folder in cgroups():
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty until somebody fills them in
            own, above = folder / name, folder.parent / name
            if own.exists() and above.exists() and not own.read_text().strip():
                own.write_text(above.read_text())


def spawn(name, *command):
    """Starts a process in the node that stays. Its output goes to a log of its name."""
    with open(LOGS / f"{name}.log", "a") as log:
        outer = subprocess.Popen(enter(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                                 env={"PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"})
    (PIDS / name).write_text(str(outer.pid))


def stop(name):
    """Ends a process of the node, hard, as a power cut does."""
    pid = read_pid(PIDS / name)
    if pid is None or not is_running(pid):
        fail(f"{name} is not running; running are {', '.join(sorted(running())) or 'none'}")
    os.kill(only_child(pid), signal.SIGKILL)
    until(f"the end of {name}", lambda: not is_running(pid), 10, watch=False)
    (PIDS / name).unlink()


def running():
    return {path.name: read_pid(path) for path in PIDS.glob("*") if is_running(read_pid(path))}


def until(what, condition, seconds, watch=True):
    """Polls. It does not wait any longer once a process has ended that should stay."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, subprocess.SubprocessError):
            pass
        for path in PIDS.glob("*") if watch else ():
            if not is_running(read_pid(path)):
                log = LOGS / f"{path.name}.log"
                tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:])
                fail(f"{path.name} ended while {what} was waited for:\n{tail}(all of it: {log})")
        if time.monotonic() > deadline:
            fail(f"{what} did not come within {seconds} s; logs: {LOGS}")
        time.sleep(0.1)


def cgroups():
    """The cluster's folder in each hierarchy: one on version 2, one for each controller on version 1."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, target, kind = line.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            yield pathlib.Path(target) / NAMESPACE


def destroy():
    first = first_process()
    if first is not None:
        os.kill(first, signal.SIGKILL)
        until("the end of the node", lambda: not is_running(first), 20, watch=False)
    if NETNS.exists():
        until_empty = time.monotonic() + 2
        while (users := subprocess.run(["ip", "netns", "pids", NAMESPACE], capture_output=True, text=True, check=False).stdout.split()) \
                and time.monotonic() < until_empty:
            time.sleep(0.05)
        if users and not RUN.exists():
            fail(f"the network namespace {NAMESPACE} is not this cluster's: processes {' '.join(users)} are in it. Set KUBE_BED_NETNS")
        if users:
            note(f"still in the network namespace, from `cluster exec`: processes {' '.join(users)}")
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)
    for folder in cgroups():
        # the files in them are the kernel's; a cgroup goes by rmdir, the innermost first
        for path, _, _ in os.walk(folder, topdown=False):
            remove_cgroup(path)
    for target in MADE.read_text().split() if MADE.exists() else ():
        if os.path.isdir(target) and not os.listdir(target):
            os.rmdir(target)
    if RUN.exists():
        shutil.rmtree(LAST_LOGS, ignore_errors=True)
        if LOGS.exists():
            LOGS.rename(LAST_LOGS)
        shutil.rmtree(RUN)


def remove_cgroup(path):
    """The kernel may take a moment until the last process has left it."""
    for _ in range(40):
        try:
            os.rmdir(path)
            return
        except OSError:
            time.sleep(0.05)
    note(f"left behind, it is in use: {path}")
