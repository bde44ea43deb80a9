#!/usr/bin/env bash
# Slow clients of each kind beside normal load, and bytes per connection (benches/soak.rs). EACH and SECONDS_EACH for
# fewer and shorter; PROFILE for another build than that of the cluster tests, which is a release without its long link.
set -euo pipefail

profile=${PROFILE:-conformance}
echo "machine: $(nproc) cores, $(awk -F': ' '/model name/{print $2; exit}' /proc/cpuinfo), $(uname -sr)"
echo "compiler: $(rustc --version); profile: $profile"
ulimit -n "$(ulimit -Hn)"
exec cargo bench --quiet --profile "$profile" --bench soak
