// Command pause does nothing until it is told to end. It holds the namespaces of a pod, and those of the node.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Process 1 inherits the orphans. Whoever ignores this signal has the kernel bury them.
	signal.Ignore(syscall.SIGCHLD)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
