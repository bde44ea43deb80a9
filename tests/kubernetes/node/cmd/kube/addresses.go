package main

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"transom.dev/tests/kubernetes/node/balance"
)

// addresses plays the load balancer of a cloud: it writes status.loadBalancer of Services, and kube-proxy, which
// reads it there, makes the addresses work.
func addresses(args []string) error {
	flags := flag.NewFlagSet("addresses", flag.ContinueOnError)
	var pool balance.Pool
	config := flags.String("kubeconfig", "", "kubeconfig")
	flags.TextVar(&pool.Whole, "whole", netip.Prefix{}, "addresses that Services may ask for")
	flags.TextVar(&pool.Free, "free", netip.Prefix{}, "those of them that are given without being asked for; the first is left out")
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
		for service, status := range pool.Share(held) {
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
