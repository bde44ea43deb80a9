#!/usr/bin/env bash
# Asks a real API server whether it would take each preset of the chart: kinds, fields, names, Pod Security. Nothing is
# left behind but namespaces that were there before. Needs kubectl, and a cluster (KUBECONFIG) with the Gateway API.
set -euo pipefail
cd "$(dirname "$0")/../.."

chart=helm/transom
made=()
out=$(mktemp)
trap 'rm -f "$out"; [ ${#made[@]} -eq 0 ] || kubectl delete namespace --wait=false "${made[@]}" >/dev/null' EXIT

# The API server tells of a pod that a standard forbids where the namespace asks for warnings.
namespace() {
  local name=$1 standard=$2
  if ! kubectl get namespace "$name" >/dev/null 2>&1; then
    kubectl create namespace "$name" >/dev/null
    made+=("$name")
    kubectl label namespace "$name" "pod-security.kubernetes.io/warn=$standard" >/dev/null
  fi
}

server=(kubectl apply --server-side --force-conflicts --field-manager=chart-dry-run --dry-run=server --validate=strict)
"${server[@]}" -f "$chart/crds" >/dev/null
for values in "$chart"/ci/*-values.yaml tests/chart/everything-values.yaml; do
  read -r release home < <(sed -nE 's/^#   helm install ([^ ]+) .* -n ([^ ]+) .*/\1 \2/p' "$values")
  standard=restricted
  grep -q '^hostNetwork: true' "$values" && standard=privileged
  for name in $(sed -nE 's/^  namespace: ([a-z0-9-]+)$/\1/p' "tests/chart/$(basename "$values" -values.yaml).yaml" | sort -u); do
    namespace "$name" "$standard"
  done
  tools/helm.sh template "$release" "$chart" -n "$home" -f "$values" --dry-run=server --skip-crds >"$out"
  # an install that is there has fields of its own; what counts is what the server says of ours
  answer=$("${server[@]}" -f "$out" 2>&1) || {
    printf 'chart: %s is refused:\n%s\n' "$values" "$answer" >&2
    exit 1
  }
  if grep -i warning <<<"$answer" >&2; then
    echo "chart: the API server warns of $values" >&2
    exit 1
  fi
  echo "chart: $(wc -l <<<"$answer") objects of $values would be taken"
done
