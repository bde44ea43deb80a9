package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// The annotation by which MetalLB's users ask for addresses, several with commas between them.
const wish = "metallb.io/loadBalancerIPs"

// pool is what may be given: `free` to whoever wants an address, all of `whole` to who asks for one by name.
type pool struct {
	whole netip.Prefix
	free  netip.Prefix
}

// addresses plays the load balancer of a cloud: it writes status.loadBalancer of Services, and kube-proxy, which
// reads it there, makes the addresses work.
func addresses(args []string) error {
	flags := flag.NewFlagSet("addresses", flag.ContinueOnError)
	var pool pool
	config := flags.String("kubeconfig", "", "kubeconfig")
	flags.TextVar(&pool.whole, "whole", netip.Prefix{}, "addresses that Services may ask for")
	flags.TextVar(&pool.free, "free", netip.Prefix{}, "those of them that are given without being asked for; the first is left out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", *config)
	if err != nil {
		return err
	}
	rest.QPS, rest.Burst = 200, 200
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	stopped, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer release()

	// One token stands for any number of changes: each round looks at all Services.
	changes := make(chan struct{}, 1)
	changed := func() {
		select {
		case changes <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	if _, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	}); err != nil {
		return err
	}
	factory.Start(stopped.Done())
	factory.WaitForCacheSync(stopped.Done())
	for {
		select {
		case <-stopped.Done():
			return nil
		case <-changes:
		}
		held, err := services.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		var failed error
		for service, status := range pool.share(held) {
			if reflect.DeepEqual(service.Status.LoadBalancer, status) {
				continue
			}
			klog.InfoS("Writing addresses", "service", klog.KObj(service), "status", status)
			changed := service.DeepCopy()
			changed.Status.LoadBalancer = status
			_, err := client.CoreV1().Services(service.Namespace).UpdateStatus(stopped, changed, meta.UpdateOptions{})
			failed = errors.Join(failed, err)
		}
		if failed != nil {
			klog.ErrorS(failed, "Trying again in a second")
			time.AfterFunc(time.Second, changed)
		}
	}
}

// share says what each Service's status should hold. A Service keeps what it has as long as that is what it asks
// for; what is asked for and cannot be given is left out, and the rest of the wish is still met.
func (p pool) share(held []*core.Service) map[*core.Service]core.LoadBalancerStatus {
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
			right := wanted == nil && p.whole.Contains(address) || slices.Contains(wanted, address)
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
			if p.whole.Contains(address) && owner[address] == nil {
				owner[address] = service
			}
		}
	}
	next := p.free.Addr()
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
			if p.free.Contains(next) {
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
		status.Ingress = append(status.Ingress, core.LoadBalancerIngress{IP: fmt.Sprint(address), IPMode: &mode})
	}
	return status
}
