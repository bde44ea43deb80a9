#!/usr/bin/env bash
# Holds `transom check` against the Gateway API's own manifests, v1.7.0:
#   - every document under examples/ and under the conformance module is understood: no kind, version or field of
#     the API is unknown, and nothing panics;
#   - every file under hack/invalid-examples/ is refused with exit 1, naming object, field and what is allowed.
#
# Needs Go, which fetches the two modules that go.mod beside this script pins (go.sum holds their sums).
# TRANSOM names the binary; without it, cargo builds one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
command -v go >/dev/null || { echo "check-upstream: go is missing; install Go 1.21 or newer (https://go.dev/dl)" >&2; exit 2; }

module() { (cd "$here" && GOTOOLCHAIN=auto GOFLAGS=-mod=mod go mod download -json "$1" 2>/dev/null) | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'; }
api=$(module sigs.k8s.io/gateway-api)
conformance=$(module sigs.k8s.io/gateway-api/conformance)
for directory in "$api/examples" "$conformance" "$api/hack/invalid-examples"; do
    [ -d "$directory" ] || { echo "check-upstream: no such directory: $directory" >&2; exit 2; }
done

if [ -z "${TRANSOM:-}" ]; then
    (cd "$root" && cargo build --quiet)
    TRANSOM=$root/target/debug/transom
fi

failures=0
fail() { echo "FAILED $*" >&2; failures=$((failures + 1)); }

output=$(mktemp)
trap 'rm -f "$output"' EXIT
check() { local code=0; "$TRANSOM" check -f "$1" >"$output" 2>&1 || code=$?; echo "$code"; }

files=0 documents=0
while IFS= read -r -d '' file; do
    files=$((files + 1))
    documents=$((documents + $(grep -c '^kind:' "$file" || true)))
    code=$(check "$file")
    case $code in
        0 | 1) ;;
        *) fail "$file: exit $code"; tail -n 3 "$output" >&2 ;;
    esac
    if grep -E 'unknown (kind|field)|found version|panicked' "$output" >&2; then fail "$file: not understood"; fi
done < <(find "$api/examples" "$conformance" \( -name '*.yaml' -o -name '*.yml' -o -name '*.json' \) -print0 | sort -z)

refused=0 invalid=0
while IFS= read -r -d '' file; do
    invalid=$((invalid + 1))
    name=$(sed -n 's/^  name: *//p' "$file" | head -n 1)
    path=${file#"$api/hack/invalid-examples/"}
    field=$(sed -n "s#^$path ##p" "$here/refused.txt")
    code=$(check "$file")
    if [ "$code" != 1 ]; then fail "$path: exit $code, not 1"; continue; fi
    [ -n "$field" ] || { fail "$path: refused.txt does not name its field"; continue; }
    if ! grep -F -- "$name" "$output" | grep -F -- "$field" | grep -qF allowed; then
        fail "$path: no line names $name, $field and what is allowed:"
        cat "$output" >&2
        continue
    fi
    refused=$((refused + 1))
done < <(find "$api/hack/invalid-examples" -name '*.yaml' -print0 | sort -z)

echo "check-upstream: $files files with $documents documents understood, $refused of $invalid invalid files refused, $failures failures"
if [ "$files" -lt 400 ] || [ "$invalid" -lt 30 ]; then fail "too few files: the modules are not what they were"; fi
[ "$failures" -eq 0 ]
