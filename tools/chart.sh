#!/usr/bin/env bash
# Lints the chart, renders each preset and tests/chart/everything-values.yaml into tests/chart, and asks for what must be
# refused. With --check nothing is written: what would change is an error. What the objects must hold is in tests/chart.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

helm() { tools/helm.sh "$@"; }
chart=helm/transom
kept=tests/chart
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

# As the file says to install it.
render() {
  local values=$1 to=$2 release namespace
  read -r release namespace < <(sed -nE 's/^#   helm install ([^ ]+) .* -n ([^ ]+) .*/\1 \2/p' "$values")
  # helm versions differ in blank lines
  helm template "$release" "$chart" -n "$namespace" -f "$values" | sed '/^$/d' >"$to.yaml"
  helm install "$release" "$chart" -n "$namespace" -f "$values" --dry-run=client | sed '1,/^NOTES:$/d' >"$to.notes.txt"
}

for values in "$chart"/ci/*-values.yaml "$kept/everything-values.yaml"; do
  helm lint --strict --quiet "$chart" -f "$values"
  render "$values" "$rendered/$(basename "$values" -values.yaml)"
done

# Values, and what the refusal must name.
refused=0
while IFS='|' read -r values words; do
  case $values in '' | \#*) continue ;; esac
  read -ra flags <<<"$values"
  if message=$(helm template transom "$chart" "${flags[@]/#/--set=}" 2>&1 >/dev/null); then
    echo "chart: $values is not refused" >&2
    exit 1
  fi
  grep -qF -- "$words" <<<"$message" || {
    printf 'chart: %s is refused without "%s":\n%s\n' "$values" "$words" "$message" >&2
    exit 1
  }
  refused=$((refused + 1))
done <"$kept/refused.txt"
[ "$refused" -gt 0 ]

if [ "${1:-}" = --check ]; then
  diff -ru --exclude=refused.txt --exclude='*-values.yaml' "$kept" "$rendered" || {
    echo "chart: tests/chart is not what the chart renders; if the change is meant: make chart" >&2
    exit 1
  }
else
  find "$kept" -name '*.yaml' -not -name '*-values.yaml' -delete -o -name '*.notes.txt' -delete
  cp "$rendered"/* "$kept/"
fi
echo "chart: $(ls "$chart"/ci | wc -l) presets linted and rendered, $refused sets of values refused"
