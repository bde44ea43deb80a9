// The Gateway API modules that `make check-upstream` reads; nothing is compiled.
module transom.dev/tests/upstream

go 1.24

require (
	sigs.k8s.io/gateway-api v1.7.0
	sigs.k8s.io/gateway-api/conformance v1.7.0
)
