#!/usr/bin/env bash
# Runs each fuzz target of fuzz/Cargo.toml from its seeds, for SECONDS_EACH (60) seconds; arguments are names of the
# targets to run. What it needs beyond Rust it compiles or installs itself. The seeds and random input run through the
# same checks in `make test`.
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-60}
tools/deps.sh # libFuzzer is C++

version=0.13.2
bin=target/tools/bin/cargo-fuzz
if [ "$("$bin" --version 2>/dev/null || true)" != "cargo-fuzz $version" ]; then
    cargo install --quiet --locked --root target/tools --target-dir target/tools/build "cargo-fuzz@$version"
    rm -rf target/tools/build
fi

# The sanitizer is an unstable option of the compiler. A nightly one that is there is asked through rustup, which
# would otherwise download one.
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
nightly=$(rustup toolchain list 2>/dev/null | awk '/^nightly/ { print $1; exit }' || true)
if [ -n "$nightly" ]; then
    has=$(rustup run "$nightly" rustc --version | awk '{ sub(/-.*/, "", $2); print $2 }')
    [ "$(printf '%s\n' "$needed" "$has" | sort -V | head -n 1)" = "$needed" ] || nightly=
fi
if [ -n "$nightly" ]; then
    export RUSTUP_TOOLCHAIN=$nightly
else
    export RUSTC_BOOTSTRAP=1
fi
echo "fuzz: $(rustc --version)${RUSTC_BOOTSTRAP:+, unstable options allowed}, address sanitizer"

mapfile -t all < <(awk '/^\[\[bin\]\]/ { bin = 1 } bin && /^name = / { gsub(/"/, "", $3); print $3; bin = 0 }' fuzz/Cargo.toml)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")

# What is fuzzed is what is shipped: the same versions of all dependencies.
[ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
options=(--sanitizer address --target-dir target/fuzz)
"$bin" build "${options[@]}"
for target in "${targets[@]}"; do
    echo "fuzz: $target for $seconds s"
    # What is found goes to the corpus, which is not kept in the repository; the seeds stay as they are.
    mkdir -p "fuzz/corpus/$target"
    "$bin" run "${options[@]}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- -max_total_time="$seconds" -timeout=30
done
