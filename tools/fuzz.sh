#!/usr/bin/env bash
# Runs each fuzz target of fuzz/Cargo.toml from its seeds, for SECONDS_EACH (60) seconds; other arguments are names
# of the targets to run. Needs a nightly compiler and cargo-fuzz. Without them the seeds and random input run
# through the same checks in `make test`.
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-60}

missing=()
cargo +nightly --version >/dev/null 2>&1 || missing+=("a nightly compiler (rustup toolchain install nightly)")
cargo fuzz --version >/dev/null 2>&1 || missing+=("cargo-fuzz (cargo install cargo-fuzz)")
command -v c++ >/dev/null || missing+=("a C++ compiler (apt-get install g++)")
if [ ${#missing[@]} -gt 0 ]; then
    printf 'fuzz: missing: %s\n' "${missing[@]}" >&2
    echo "fuzz: with stable Rust the seeds are run by: make test" >&2
    exit 1
fi

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(awk '/^\[\[bin\]\]/ { bin = 1 } bin && /^name = / { gsub(/"/, "", $3); print $3; bin = 0 }' fuzz/Cargo.toml)
fi
for target in "${targets[@]}"; do
    echo "fuzz: $target for $seconds s"
    # What is found goes to the corpus, which is not kept in the repository; the seeds stay as they are.
    mkdir -p "fuzz/corpus/$target"
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- -max_total_time="$seconds"
done
