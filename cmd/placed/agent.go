package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/daemon"
)

// exitStore: the agent stopped because its log could not be trusted any more. A
// service manager should not simply start it again.
const exitStore = 70

func newAgent() *cobra.Command {
	var files []string
	cmd := &cobra.Command{Use: "agent", Short: "Run the agent of this host", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, files) }}
	cmd.Flags().StringSliceVar(&files, "config", []string{"/etc/placed.d"}, "file or directory of HCL files; may be repeated, later ones override")
	return cmd
}

func runAgent(cmd *cobra.Command, files []string) error {
	file, err := config.Load(files...)
	if err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "placed", Level: hclog.LevelFromString(file.Node.LogLevel), Output: cmd.ErrOrStderr()})
	cfg, err := daemon.FromFile(file, version, log)
	if err != nil {
		return err
	}
	d, err := daemon.New(cfg)
	if err != nil {
		return err
	}
	defer d.Close()

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	reloading, stop := context.WithCancel(cmd.Context())
	done := make(chan struct{})
	go func() { // ends with reloading, waited for below
		defer close(done)
		for {
			select {
			case <-reloading.Done():
				return
			case <-hangup:
				file = reload(d, file, files, log)
			}
		}
	}()
	err = d.Run(cmd.Context())
	stop()
	<-done
	var store *consensus.StoreError
	if errors.As(err, &store) {
		return exit{code: exitStore, err: err}
	}
	return err
}

// reload takes over what may change while the agent runs. Whatever is wrong with
// the new files, the agent goes on with what it has.
func reload(d *daemon.Daemon, old config.Config, files []string, log hclog.Logger) config.Config {
	fresh, err := config.Load(files...)
	if err != nil {
		log.Error("reload refused, the agent goes on as it was", "error", err)
		return old
	}
	reloadable, restart := config.Diff(old, fresh)
	cfg, err := daemon.FromFile(fresh, version, log)
	if err == nil {
		err = d.Reload(cfg)
	}
	if err != nil {
		log.Error("reload refused, the agent goes on as it was", "error", err)
		return old
	}
	log.SetLevel(hclog.LevelFromString(fresh.Node.LogLevel))
	log.Info("configuration reloaded", "changed", fmt.Sprint(reloadable))
	if len(restart) > 0 {
		log.Warn("some changes wait for a restart of the agent", "fields", fmt.Sprint(restart))
	}
	return fresh
}
