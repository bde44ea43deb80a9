#!/usr/bin/env bash
# Criterion for router and translator, then start, memory and propagation with the release binary.
# Prints machine and compiler first: a figure without them does not count. FILTER narrows criterion.
set -euo pipefail

echo "machine: $(nproc) cores, $(awk -F': ' '/model name/{print $2; exit}' /proc/cpuinfo), $(uname -sr)"
echo "compiler: $(rustc --version); profiles: bench (thin LTO) for criterion, that of make release for the binary"
cargo bench --quiet --bench router -- ${FILTER:-}
cargo bench --quiet --bench translate -- ${FILTER:-}
tools/release.sh
BINARY_UNDER_TEST=target/bolt/transom cargo bench --quiet --bench start
