# The one door. `make help` lists what is behind it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
ARGS ?=
export CARGO_TERM_COLOR ?= auto
# a test may fail by panicking and be plain; src/ may not
IN_TESTS := -A clippy::pedantic -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic -A clippy::indexing_slicing

.PHONY: help deps run release test lint fmt bench bench-compare soak check-upstream schema fuzz chart metrics-doc image cluster-up cluster-down cluster-test \
	conformance clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## what cargo cannot bring: cmake, a C compiler, curl
	@tools/deps.sh

run: deps ## the quick start: a gateway, routes and backends in one process, no cluster (ARGS='-f FILE' for your own)
	@$(CARGO) run --quiet -- run $(ARGS)

release: deps ## target/bolt/transom: the release, laid out for the processor by what it is seen to run (as root, Debian)
	@tools/release.sh

test: deps ## every test; prints the counts
	@tools/test.sh

lint: deps ## rustfmt, clippy as errors, licences, bans and sources of dependencies, the chart
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet -- -D warnings
	$(CARGO) clippy --tests --benches --examples --quiet -- -D warnings $(IN_TESTS)
	@tools/deny.sh
	@tools/chart.sh --check

fmt: ## format
	$(CARGO) fmt

bench: deps ## criterion benchmarks of router and translator, then start, memory and propagation with 5,000 routes
	@tools/bench.sh $(ARGS)

soak: deps ## 2,000 slow clients of each kind beside normal load for a minute; bytes per connection (EACH=, SECONDS_EACH=)
	@tools/soak.sh

bench-compare: deps ## processor time of a request beside nginx, haproxy, envoy, traefik; writes docs/benchmarks.md (as root, Debian)
	@python3 tools/bench_compare $(ARGS)

check-upstream: deps ## `transom check` over the Gateway API's own examples and conformance manifests (needs Go)
	@tests/upstream/check.sh

schema: ## write config/schema again from the CRDs of the Gateway API and our own (needs Python 3 with PyYAML, and Go)
	@tools/schema/generate.sh

fuzz: deps ## run each fuzz target for SECONDS_EACH (60) from its seeds, with cargo-fuzz, which it compiles once (ARGS=NAME… for some)
	@tools/fuzz.sh $(ARGS)

chart: deps ## lint the chart, render its presets into tests/chart, write its README (helm, or Python 3 with pip to fetch it)
	@tools/chart.sh
	@UPDATE_CHART=1 $(CARGO) test --quiet --test chart

metrics-doc: deps ## write docs/metrics.md from the metrics that the program declares
	@UPDATE_METRICS=1 $(CARGO) test --quiet --test metrics_reference

image: deps ## a container image without a container engine: target/image/transom.tar (PROFILE=release for the real thing)
	@tools/image.sh

cluster-up: ## a Kubernetes cluster of one node on this machine, compiled here (as root; needs Go and Python 3)
	@tests/kubernetes/cluster deps
	@tests/kubernetes/cluster build
	@tests/kubernetes/cluster up

cluster-down: ## end that cluster
	@tests/kubernetes/cluster down

conformance: deps ## the Gateway API's own suite against image and chart, in that cluster or in the one of KUBECONFIG
	@tests/kubernetes/conformance $(ARGS)

cluster-test: deps ## what the suite does not ask: installs side by side, older CRDs, faults, scale (ARGS=NAME… for some)
	@tests/kubernetes/e2e/run $(ARGS)

clean: ## remove what was built
	$(CARGO) clean
