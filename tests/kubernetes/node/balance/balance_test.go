package balance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var tested = Pool{Whole: netip.MustParsePrefix("10.0.0.0/24"), Free: netip.MustParsePrefix("10.0.0.0/30")}

// a Service, as old as its place in the list says
func asking(age int, asked string, held ...string) *core.Service {
	service := &core.Service{ObjectMeta: meta.ObjectMeta{
		UID:               types.UID(fmt.Sprint(age)),
		CreationTimestamp: meta.NewTime(time.Unix(int64(age), 0)),
		Annotations:       map[string]string{wish: asked},
	}}
	service.Spec.Type = core.ServiceTypeLoadBalancer
	for _, address := range held {
		service.Status.LoadBalancer.Ingress = append(service.Status.LoadBalancer.Ingress, core.LoadBalancerIngress{IP: address})
	}
	return service
}

func TestShare(t *testing.T) {
	for rule, services := range map[string][]struct {
		service *core.Service
		want    string
	}{
		"any address, the older first":          {{asking(2, ""), "[10.0.0.2]"}, {asking(1, ""), "[10.0.0.1]"}},
		"none is left":                          {{asking(1, ""), "[10.0.0.1]"}, {asking(2, ""), "[10.0.0.2]"}, {asking(3, ""), "[10.0.0.3]"}, {asking(4, ""), "[]"}},
		"what is held stays":                    {{asking(1, ""), "[10.0.0.1]"}, {asking(2, "", "10.0.0.3"), "[10.0.0.3]"}},
		"all that is asked for, in its order":   {{asking(1, "10.0.0.9, 10.0.0.8"), "[10.0.0.9 10.0.0.8]"}},
		"the unusable is left out":              {{asking(1, "192.0.2.1,10.0.0.9"), "[10.0.0.9]"}},
		"nothing usable, nothing given":         {{asking(1, "192.0.2.1"), "[]"}},
		"not an address":                        {{asking(1, "ten"), "[]"}},
		"a new wish":                            {{asking(1, "10.0.0.9", "10.0.0.8"), "[10.0.0.9]"}},
		"a wish is met before anyone is served": {{asking(1, ""), "[10.0.0.2]"}, {asking(2, "10.0.0.1"), "[10.0.0.1]"}},
		"who holds it keeps it":                 {{asking(1, "10.0.0.9"), "[]"}, {asking(2, "10.0.0.9", "10.0.0.9"), "[10.0.0.9]"}},
		"the older of two wishes":               {{asking(2, "10.0.0.9"), "[]"}, {asking(1, "10.0.0.9"), "[10.0.0.9]"}},
	} {
		t.Run(rule, func(t *testing.T) {
			var held []*core.Service
			for _, each := range services {
				held = append(held, each.service)
			}
			shared := tested.Share(held)
			for _, each := range services {
				after := &core.Service{Status: core.ServiceStatus{LoadBalancer: shared[each.service]}}
				if found := fmt.Sprint(given(after)); found != each.want {
					t.Errorf("found %s, want %s", found, each.want)
				}
			}
		})
	}
}

func TestOthersAreLeftAlone(t *testing.T) {
	class := "of.someone/else"
	service := asking(1, "", "10.0.0.1")
	service.Spec.LoadBalancerClass = &class
	if status, found := tested.Share([]*core.Service{service})[service]; found {
		t.Errorf("written to: %v", status)
	}
}
