#!/usr/bin/env bash
# Builds the release, watches it serve, and lays its code out by what it saw (BOLT): target/bolt/transom. What a request
# runs through lies together then, and not in the order of the sources. Nothing else changes: where this is not to be had,
# `cargo build --release` makes the same program, some 10 % slower. Needs Linux on x86-64 or arm64; installs Debian
# packages as root.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/bolt
mkdir -p "$out"

# the newest that is there or can be had
newest() { sort -V | tail -n 1; }
bolt=$(compgen -c llvm-bolt- | grep -E '^llvm-bolt-[0-9]+$' | newest || true)
if [ -z "$bolt" ]; then
  command -v apt-get >/dev/null || { echo "llvm-bolt is missing: install BOLT (part of LLVM)" >&2; exit 1; }
  [ "$(id -u)" != 0 ] || apt-get update -qq
  package=$(apt-cache search --names-only '^bolt-[0-9]+$' | awk '{ print $1 }' | newest)
  [ -n "$package" ] || { echo "llvm-bolt is missing, and this Debian has no package of it" >&2; exit 1; }
  [ "$(id -u)" = 0 ] || { echo "llvm-bolt is missing: sudo apt-get install $package" >&2; exit 1; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  bolt=llvm-$package
fi
version=${bolt#llvm-bolt-}

# The linker keeps its notes of what points where, without which code cannot be moved, and the names, by which it is known.
"${CARGO:-cargo}" rustc --quiet --release --locked --bin transom -- -Clink-arg=-Wl,--emit-relocs -Cstrip=none
linked=${CARGO_TARGET_DIR:-target}/release/transom
hash=$(sha256sum "$linked" tools/release.sh tools/bench_compare/train.py | sha256sum)
if [ -x "$out/transom" ] && [ "$(cat "$out/made-of" 2>/dev/null)" = "$hash" ]; then
  echo "$out/transom: as it was"
  exit 0
fi
rm -f "$out"/*

# fails, and says why, where the log of BOLT would only be long
quietly() { "$@" >"$out/log" 2>&1 || { grep -v '^BOLT-WARNING' "$out/log" | tail -n 20 >&2; exit 1; }; }

quietly "$bolt" "$linked" -instrument -o "$out/watched" \
  --instrumentation-file="$PWD/$out/seen" --instrumentation-file-append-pid
python3 tools/bench_compare/train.py "$out/watched"
quietly "merge-fdata-$version" "$out"/seen.*.fdata -o "$out/profile"
quietly "$bolt" "$linked" -o "$out/named" -data="$out/profile" -reorder-blocks=ext-tsp -reorder-functions=cdsort \
  -split-functions -split-all-cold -split-eh -icf=safe -use-gnu-stack
strip -o "$out/transom" "$out/named"
rm -f "$out"/seen.* "$out/watched" "$out/named"
echo "$hash" >"$out/made-of"
echo "$out/transom: $("$out/transom" version | head -n 1)"
