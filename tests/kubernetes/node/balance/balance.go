// Package balance decides which Service of type LoadBalancer has which addresses. It asks and writes nothing itself.
package balance

import (
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
)

// The annotation by which MetalLB's users ask for addresses, several with commas between them.
const wish = "metallb.io/loadBalancerIPs"

// Pool is what may be given: of Free to whoever wants an address (but for its first), of Whole to who asks for one by name.
type Pool struct {
	Whole netip.Prefix
	Free  netip.Prefix
}

// Share says what each Service's status should hold. A Service keeps what it has as long as that is what it asks
// for; what is asked for and cannot be given is left out, and the rest of the wish is still met.
func (p Pool) Share(held []*core.Service) map[*core.Service]core.LoadBalancerStatus {
	// In order of age, so that of two that ask for one address the older gets it, always.
	held = slices.SortedFunc(slices.Values(held), func(a, b *core.Service) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(string(a.UID), string(b.UID))
	})
	statuses := map[*core.Service]core.LoadBalancerStatus{}
	owner := map[netip.Addr]*core.Service{}
	// Three rounds: what is held and still right, what is asked for, what any address will do for.
	for _, service := range held {
		if !balanced(service) {
			if service.Spec.Type != core.ServiceTypeLoadBalancer {
				statuses[service] = core.LoadBalancerStatus{}
			}
			continue
		}
		wanted := wanted(service)
		for _, address := range given(service) {
			right := wanted == nil && p.Whole.Contains(address) || slices.Contains(wanted, address)
			if right && owner[address] == nil {
				owner[address] = service
			}
		}
	}
	for _, service := range held {
		if !balanced(service) {
			continue
		}
		for _, address := range wanted(service) {
			if p.Whole.Contains(address) && owner[address] == nil {
				owner[address] = service
			}
		}
	}
	next := p.Free.Addr()
	for _, service := range held {
		if !balanced(service) {
			continue
		}
		wanted := wanted(service)
		has := func(address netip.Addr) bool { return owner[address] == service }
		var mine []netip.Addr
		switch {
		case wanted != nil:
			for _, address := range wanted {
				if has(address) && !slices.Contains(mine, address) {
					mine = append(mine, address)
				}
			}
		case slices.ContainsFunc(given(service), has):
			mine = slices.DeleteFunc(given(service), func(a netip.Addr) bool { return !has(a) })[:1]
		default:
			for next = next.Next(); owner[next] != nil; next = next.Next() {
			}
			if p.Free.Contains(next) {
				owner[next] = service
				mine = []netip.Addr{next}
			}
		}
		statuses[service] = status(mine)
	}
	return statuses
}

// balanced is whether the Service wants an address from us.
func balanced(service *core.Service) bool {
	return service.Spec.Type == core.ServiceTypeLoadBalancer && service.Spec.LoadBalancerClass == nil && service.DeletionTimestamp == nil
}

// wanted is nil where any address will do. A wish that cannot be read is a wish that cannot be met.
func wanted(service *core.Service) []netip.Addr {
	text := service.Annotations[wish]
	if text == "" {
		text = service.Spec.LoadBalancerIP
	}
	if text == "" {
		return nil
	}
	wanted := []netip.Addr{}
	for part := range strings.SplitSeq(text, ",") {
		if address, err := netip.ParseAddr(strings.TrimSpace(part)); err == nil {
			wanted = append(wanted, address)
		}
	}
	return wanted
}

func given(service *core.Service) (given []netip.Addr) {
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address, err := netip.ParseAddr(ingress.IP); err == nil {
			given = append(given, address)
		}
	}
	return given
}

func status(addresses []netip.Addr) (status core.LoadBalancerStatus) {
	// The API server adds this value itself; without it every round would see a difference.
	mode := core.LoadBalancerIPModeVIP
	for _, address := range addresses {
		status.Ingress = append(status.Ingress, core.LoadBalancerIngress{IP: address.String(), IPMode: &mode})
	}
	return status
}
