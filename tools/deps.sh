#!/usr/bin/env bash
# Makes sure that what cargo cannot bring is there: a C compiler and cmake (libz-ng-sys and zstd-sys, which
# Pingora pulls in, build C code), and curl. Installs Debian packages as root; otherwise says precisely what is missing.
set -euo pipefail

missing=()
command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)" >&2; exit 1; }
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v c++ >/dev/null || missing+=(g++)
command -v curl >/dev/null || missing+=(curl) # the quick start prints lines for it, and a test runs them
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing ${missing[*]}" >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "missing: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
