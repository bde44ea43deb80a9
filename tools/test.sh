#!/usr/bin/env bash
# Runs every test and prints one closing line of counts. The exit code is cargo's.
set -uo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS
cargo test --no-fail-fast "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}

awk -v seconds=$((SECONDS - started)) '
  /^test result:/ { passed += $4; failed += $6; ignored += $8 }
  END {
    if (ignored > 0) printf "%d ignored tests: none are allowed\n", ignored
    printf "in %d s\n%d passed, %d failed\n", seconds, passed, failed
    exit ignored > 0 || passed == 0
  }' "$log" || code=1
exit "$code"
