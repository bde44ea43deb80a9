// Command storm makes many HTTPRoutes at once, then changes one after the other at a steady pace, and measures how long
// it takes until each change can be seen in an answer. It prints one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

var routes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

// mark is the response header that carries the number of a route's last change.
const mark = "x-change"

// patience is how long a change may take before it counts as lost.
const patience = 30 * time.Second

type storm struct {
	client             dynamic.ResourceInterface
	namespace, gateway string
	backend            string
	target             string
	web                *http.Client
}

// times are milliseconds.
type times struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
	Lost  int     `json:"lost"`
}

func main() {
	s := &storm{}
	flag.StringVar(&s.namespace, "namespace", "default", "namespace of routes, Gateway and backend")
	flag.StringVar(&s.gateway, "gateway", "", "name of the Gateway")
	flag.StringVar(&s.backend, "backend", "echo", "name of the Service that the routes lead to, on port 80")
	flag.StringVar(&s.target, "target", "", "ADDRESS:PORT of the Gateway")
	count := flag.Int("routes", 500, "how many routes")
	rate := flag.Float64("rate", 20, "changes a second")
	span := flag.Duration("for", time.Minute, "how long changes are made")
	flag.Parse()
	if err := s.run(*count, *rate, *span); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

func (s *storm) run(count int, rate float64, span time.Duration) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 1000, 1000
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	s.client = client.Resource(routes).Namespace(s.namespace)
	s.web = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		MaxConnsPerHost:     64,
		MaxIdleConnsPerHost: 64,
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
	}}

	var all []func() (time.Duration, error)
	for number := range count {
		all = append(all, func() (time.Duration, error) { return s.timed(number, "0", s.create) })
	}
	began := time.Now()
	made, err := gather(all, 0)
	if err != nil {
		return err
	}
	creation := time.Since(began)

	all = nil
	for change := 1; change <= int(rate*span.Seconds()); change++ {
		// A stride that visits every route, and neighbours not one after the other.
		number, value := change*7919%count, fmt.Sprint(change)
		all = append(all, func() (time.Duration, error) { return s.timed(number, value, s.change) })
	}
	changed, err := gather(all, time.Duration(float64(time.Second)/rate))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"allServedAfterMs": creation.Milliseconds(), "created": made, "changed": changed,
	})
}

// gather runs each, one after every pause or all at once, and sums up how long they took.
func gather(all []func() (time.Duration, error), pause time.Duration) (times, error) {
	var running sync.WaitGroup
	var lock sync.Mutex
	var took []time.Duration
	var sum times
	var failed error
	for _, each := range all {
		running.Go(func() {
			duration, err := each()
			lock.Lock()
			defer lock.Unlock()
			switch {
			case errors.Is(err, errLost):
				sum.Lost++
				fmt.Fprintln(os.Stderr, "storm:", err)
			case err != nil:
				failed = err
			default:
				took = append(took, duration)
			}
		})
		time.Sleep(pause)
	}
	running.Wait()
	slices.Sort(took)
	if sum.Count = len(took); sum.Count > 0 {
		at := func(share float64) float64 {
			return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1000
		}
		sum.P50, sum.P99, sum.Max = at(0.5), at(0.99), at(1)
	}
	return sum, failed
}

var errLost = errors.New("was not seen in time")

// timed writes and then asks until the answer shows what was written. The clock starts when the API server has it.
func (s *storm) timed(number int, value string, write func(number int, value string) error) (time.Duration, error) {
	if err := write(number, value); err != nil {
		return 0, err
	}
	// Each look waits a tenth of what has passed: exact for the quick, and no storm of its own where it takes long.
	for began := time.Now(); time.Since(began) < patience; time.Sleep(max(time.Millisecond, time.Since(began)/10)) {
		request, err := http.NewRequest(http.MethodGet, "http://"+s.target+"/", nil)
		if err != nil {
			return 0, err
		}
		request.Host = host(number)
		response, err := s.web.Do(request)
		if err == nil {
			response.Body.Close()
			// A later change may have overtaken this one.
			if seen := response.Header.Get(mark); len(seen) > len(value) || len(seen) == len(value) && seen >= value {
				return time.Since(began), nil
			}
		}
	}
	return 0, fmt.Errorf("change %s of %s: %w", value, name(number), errLost)
}

func name(number int) string { return fmt.Sprintf("storm-%d", number) }
func host(number int) string { return name(number) + ".example.com" }

func filters(value string) []any {
	return []any{map[string]any{
		"type":                   "ResponseHeaderModifier",
		"responseHeaderModifier": map[string]any{"set": []any{map[string]any{"name": mark, "value": value}}},
	}}
}

func rules(backend, value string) []any {
	return []any{map[string]any{
		"filters":     filters(value),
		"backendRefs": []any{map[string]any{"name": backend, "port": int64(80)}},
	}}
}

func (s *storm) create(number int, value string) error {
	route := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1",
		"kind":       "HTTPRoute",
		"metadata":   map[string]any{"name": name(number)},
		"spec": map[string]any{
			"parentRefs": []any{map[string]any{"name": s.gateway}},
			"hostnames":  []any{host(number)},
			"rules":      rules(s.backend, value),
		},
	}}
	_, err := s.client.Create(context.Background(), route, meta.CreateOptions{})
	return err
}

func (s *storm) change(number int, value string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"rules": rules(s.backend, value)}})
	if err != nil {
		return err
	}
	_, err = s.client.Patch(context.Background(), name(number), types.MergePatchType, patch, meta.PatchOptions{})
	return err
}
