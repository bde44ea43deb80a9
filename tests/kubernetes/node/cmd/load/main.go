// Command load sends requests at a steady pace until its time is over or a signal comes, and then says what became of
// them: one line of JSON. A request counts as failed when a client that follows the rules of its protocol could not
// have known better: an end that was announced (Connection: close, GOAWAY, WebSocket close 1001) is no failure.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// client sends one request after the other over a connection of its own.
type client interface {
	// send returns what the answer was, as the report counts it.
	send(ctx context.Context) (answer string, err error)
	close()
}

var kinds = map[string]func(target, host string) client{
	"keepalive": keepAlive,
	"h2":        priorKnowledge,
	"websocket": webSocket,
}

// report is what is printed.
type report struct {
	Kind    string         `json:"kind"`
	Sent    int            `json:"sent"`
	Failed  int            `json:"failed"`
	Answers map[string]int `json:"answers"`
	Errors  map[string]int `json:"errors"`
	// Milliseconds
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	Opened int64   `json:"opened"` // connections

	lock  sync.Mutex
	times []time.Duration
}

func (r *report) add(answer string, err error, took time.Duration) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.Sent++
	r.times = append(r.times, took)
	if err != nil {
		r.Failed++
		r.Errors[err.Error()]++
		fmt.Fprintf(os.Stderr, "%s failed after %v: %v\n", time.Now().Format("15:04:05.000"), took.Round(time.Millisecond), err)
		return
	}
	r.Answers[answer]++
}

func (r *report) print() {
	slices.Sort(r.times)
	at := func(share float64) float64 {
		if len(r.times) == 0 {
			return 0
		}
		return float64(r.times[int(share*float64(len(r.times)-1))].Microseconds()) / 1000
	}
	r.P50, r.P99, r.Max, r.Opened = at(0.5), at(0.99), at(1), opened.Load()
	json.NewEncoder(os.Stdout).Encode(r)
}

func main() {
	kind := flag.String("kind", "keepalive", "keepalive (HTTP/1.1), h2 (without TLS), or websocket")
	target := flag.String("target", "", "ADDRESS:PORT")
	host := flag.String("host", "", "name in the Host header")
	workers := flag.Int("workers", 4, "connections")
	rate := flag.Float64("rate", 100, "requests a second, over all connections")
	span := flag.Duration("for", 0, "when to end (0: only by a signal)")
	flag.Parse()
	open, known := kinds[*kind]
	if !known || *target == "" {
		flag.Usage()
		os.Exit(2)
	}

	ending, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer release()
	if *span > 0 {
		ending, release = context.WithTimeout(ending, *span)
		defer release()
	}
	report := &report{Kind: *kind, Answers: map[string]int{}, Errors: map[string]int{}}
	var running sync.WaitGroup
	for range *workers {
		running.Go(func() {
			client := open(*target, *host)
			defer client.close()
			pace := time.NewTicker(time.Duration(float64(time.Second) * float64(*workers) / *rate))
			defer pace.Stop()
			for {
				select {
				case <-ending.Done():
					return
				case <-pace.C:
				}
				// The end does not cut a request short: that would be a failure of our own making.
				limited, release := context.WithTimeout(context.Background(), 10*time.Second)
				began := time.Now()
				answer, err := client.send(limited)
				report.add(answer, err, time.Since(began))
				release()
			}
		})
	}
	running.Wait()
	report.print()
}
