// Package suite is the Gateway API's own conformance suite, as its authors publish it, made a program.
package suite

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) { conformance.RunConformance(t) }
