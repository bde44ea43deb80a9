#!/usr/bin/env python3
"""Writes a container image without a container engine.

The archive is what `docker load`, `ctr images import`, `kind load image-archive` and `k3d image import` read: one layer
with the program, the libraries that it is linked to (as ldd finds them on this machine, so build on the Debian release
that the image should look like), the CA roots, and a user without rights.

    tools/image.py --out transom.tar --name transom:dev --capability net_bind_service target/release/transom

The program lands in /usr/bin, is the entry point, and runs as 65532:65532. Archives of equal content are equal.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import platform
import struct
import subprocess
import sys
import tarfile

ROOTS = "/etc/ssl/certs/ca-certificates.crt"
USER = 65532
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# <linux/capability.h>
CAPABILITIES = {"net_bind_service": 10}
VFS_CAP_REVISION_2 = 0x02000000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the archive")
    parser.add_argument("--name", action="append", required=True, help="NAME:TAG; may be repeated")
    parser.add_argument("--capability", choices=CAPABILITIES, help="a capability that the program may raise, as setcap NAME+p")
    parser.add_argument("--root", action="store_true", help="run as root instead")
    parser.add_argument("program", type=pathlib.Path)
    arguments = parser.parse_args()

    layer = Archive()
    user = "" if arguments.root else f"{USER}:{USER}"
    layer.add("etc/passwd", f"root:x:0:0::/root:/sbin/nologin\nnonroot:x:{USER}:{USER}::/tmp:/sbin/nologin\n".encode())
    layer.add("etc/group", f"root:x:0:\nnonroot:x:{USER}:\n".encode())
    layer.add("etc/nsswitch.conf", b"hosts: files dns\n")
    if os.path.exists(ROOTS):
        layer.add(ROOTS, pathlib.Path(ROOTS).read_bytes())
    else:
        print(f"image: {ROOTS} is missing, so the image has no CA roots: apt-get install ca-certificates", file=sys.stderr)
    layer.directory("tmp", 0o1777)
    for library in libraries(arguments.program):
        layer.add(library, pathlib.Path(library).read_bytes(), 0o755)
    entry = f"usr/bin/{arguments.program.name}"
    layer.add(entry, arguments.program.read_bytes(), 0o755, capability(arguments.capability))
    blob = layer.close()

    digest = hashlib.sha256(blob).hexdigest()
    config = json.dumps({
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {
            "Entrypoint": ["/" + entry],
            "Env": ["PATH=/usr/bin", f"SSL_CERT_FILE={ROOTS}"],
            "User": user,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }).encode()
    image = Archive()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    image.add(config_name, config)
    image.add(f"{digest}.tar", blob)
    image.add("manifest.json", json.dumps(
        [{"Config": config_name, "RepoTags": arguments.name, "Layers": [f"{digest}.tar"]}]
    ).encode())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    # written beside it first: whoever sees the archive sees all of it
    partial = arguments.out.with_name(arguments.out.name + ".partial")
    partial.write_bytes(image.close())
    partial.replace(arguments.out)


class Archive:
    """A tar in memory. Folders are made as files need them; what is there already is not added again."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)
        self.names = {""}

    def directory(self, name, mode=0o755):
        if name in self.names:
            return
        self.directory(os.path.dirname(name))
        self.names.add(name)
        entry = tarfile.TarInfo(name)
        entry.type = tarfile.DIRTYPE
        entry.mode = mode
        self.tar.addfile(entry)

    def add(self, path, content, mode=0o644, attributes=None):
        name = path.lstrip("/")
        if name in self.names:
            return
        self.directory(os.path.dirname(name))
        self.names.add(name)
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        entry.mode = mode
        entry.pax_headers = attributes or {}
        self.tar.addfile(entry, io.BytesIO(content))

    def close(self):
        self.tar.close()
        return self.bytes.getvalue()


def capability(name):
    """The extended attribute that `setcap NAME+p` writes, as tar carries it.

    Permitted, not effective: a program whose file claims an effective capability cannot be started at all where the
    container may not have it. The program raises it itself when it has it.
    """
    if name is None:
        return None
    permitted = 1 << CAPABILITIES[name]
    value = struct.pack("<IIIII", VFS_CAP_REVISION_2, permitted, 0, 0, 0)
    return {"SCHILY.xattr.security.capability": value.decode("ascii")}


def libraries(program):
    """What the dynamic loader would load, and itself; nothing for a program that is linked statically."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return
    for line in listed.stdout.splitlines():
        if "not found" in line:
            sys.exit(f"image: {program} needs a library that is not there: {line.strip()}")
        # `name => /path (address)` or `/path (address)`; what the kernel brings has no path
        path = line.split("(")[0].split("=>")[-1].strip()
        if path.startswith("/"):
            yield path


if __name__ == "__main__":
    main()
