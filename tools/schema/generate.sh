#!/usr/bin/env bash
# Runs generate.py where what it needs is there, and says what is missing where it is not.
set -euo pipefail

missing=()
if ! command -v python3 >/dev/null; then
    missing+=("Python 3 (apt-get install python3)")
elif ! python3 -c 'import yaml' 2>/dev/null; then
    missing+=("PyYAML (apt-get install python3-yaml, or pip install pyyaml)")
fi
# With a module directory as argument nothing is fetched.
if [ $# -eq 0 ] && ! command -v go >/dev/null; then missing+=("Go 1.21 or newer (https://go.dev/dl)"); fi
if [ ${#missing[@]} -gt 0 ]; then
    printf 'schema: missing: %s\n' "${missing[@]}" >&2
    exit 1
fi
exec "$(dirname "$0")/generate.py" "$@"
