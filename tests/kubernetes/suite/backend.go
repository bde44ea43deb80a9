//go:build backend

package suite

// The suite's backend is built straight from its module; this line keeps the module in go.mod.
import _ "sigs.k8s.io/gateway-api-conformance-images/echo-basic"
