package main

import (
	"context"
	"flag"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcd runs one member on the loopback address, without TLS and without waiting for the disk: what it holds is
// thrown away with the cluster. It survives its own restart, not a power cut.
func etcd(args []string) error {
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	config := embed.NewConfig()
	flags.StringVar(&config.Dir, "data", "", "folder of the data")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	config.QuotaBackendBytes = 4 << 30
	config.AutoCompactionMode, config.AutoCompactionRetention = "periodic", "5m"

	stopped, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer release()
	member, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer member.Close()
	select {
	case <-stopped.Done():
		return nil
	case err := <-member.Err():
		return err
	}
}
