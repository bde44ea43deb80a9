// Command kube is every program of a Kubernetes node and its control plane, each under the name that its own
// release gives it: `kube kubelet --config …`. They are linked together because linking is what a cold build waits for.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// released holds the programs of Kubernetes itself.
var released = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-proxy":              proxy.NewProxyCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

// ours holds what stands beside it: the store, the certificates, and the addresses of Services.
var ours = map[string]func(args []string) error{
	"addresses":  addresses,
	"etcd":       etcd,
	"identities": identities,
}

func main() {
	if len(os.Args) < 2 {
		unknown("")
	}
	name, args := os.Args[1], os.Args[2:]
	if program, found := released[name]; found {
		// Some of these commands print os.Args, so they see the line that their own binary would have had.
		os.Args = os.Args[1:]
		command := program()
		command.SetArgs(args)
		os.Exit(cli.Run(command))
	}
	program, found := ours[name]
	if !found {
		unknown(name)
	}
	if err := program(args); err != nil {
		fmt.Fprintf(os.Stderr, "kube %s: %v\n", name, err)
		os.Exit(1)
	}
}

func unknown(name string) {
	var names []string
	for name := range released {
		names = append(names, name)
	}
	for name := range ours {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "kube: no program %q; allowed: %s\n", name, strings.Join(names, ", "))
	os.Exit(2)
}
