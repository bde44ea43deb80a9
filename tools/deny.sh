#!/usr/bin/env bash
# Licences, bans and sources of all dependencies (deny.toml); advisories too where their database can be had.
set -euo pipefail

version=0.20.2
bin=target/tools/bin/cargo-deny
if [ "$("$bin" --version 2>/dev/null || true)" != "cargo-deny $version" ]; then
  cargo install --quiet --locked --root target/tools --target-dir target/tools/build "cargo-deny@$version"
  rm -rf target/tools/build
fi
"$bin" --log-level error check licenses bans sources
if [ "${ADVISORIES:-no}" = yes ]; then
  "$bin" --log-level error check advisories
else
  echo "advisories not checked: set ADVISORIES=yes where their database can be reached"
fi
