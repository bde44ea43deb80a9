#!/usr/bin/env bash
# Builds Transom and wraps it into target/image/transom.tar, without a container engine. The image has two names:
# transom:dev, and transom:<hash of the program>, which target/image/name holds and which changes with the program,
# so that a cluster cannot mistake an older image for it.
# PROFILE is the cargo profile: conformance (the default, quick to build) or release.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-conformance}
out=target/image

if [ "$profile" = release ]; then
  tools/release.sh
  program=target/bolt/transom
else
  "${CARGO:-cargo}" build --quiet --profile "$profile" --bin transom
  program=${CARGO_TARGET_DIR:-target}/$profile/transom
fi
name=transom:$(sha256sum "$program" | cut -c 1-12)
tools/image.py --out "$out/transom.tar" --name "$name" --name transom:dev --capability net_bind_service "$program"
echo "$name" >"$out/name"
echo "$out/transom.tar: $name, transom:dev ($(du -h "$out/transom.tar" | cut -f 1))"
