// Command placed is the one binary: agent, operator's tool, sample fleet. This
// package holds flags, signals and exit codes, one file per command; what a
// command does lives in the packages it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

// version is set by the build (-X main.version=…).
var version = "dev"

// Exit codes, the same for every command.
const (
	exitOK       = 0
	exitError    = 1
	exitChanges  = 2 // changes planned, or unhealthy
	exitNotFound = 3
	exitDenied   = 4
	exitNoLeader = 5
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main with its surroundings as arguments, for tests.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	if message := err.Error(); message != "" {
		fmt.Fprintln(errs, "placed:", message)
	}
	return code
}

// exit ends a command with a code other than 1; Err may be empty when the
// command has said everything already.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

func exitCode(err error) int {
	var e exit
	if errors.As(err, &e) {
		return e.code
	}
	var refused *api.Error
	if errors.As(err, &refused) {
		switch refused.Status {
		case http.StatusNotFound:
			return exitNotFound
		case http.StatusForbidden, http.StatusUnauthorized:
			return exitDenied
		case http.StatusServiceUnavailable:
			return exitNoLeader
		}
	}
	return exitError
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "placed",
		Short:         "Predictive placement and live migration for KVM/libvirt hosts",
		Long:          "placed runs on each hypervisor, forecasts load, and moves workloads before their host is full.\nTry `placed dev`: a fleet of real agents on this machine.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newAgent(), newDev(), newConfig(),
		newStatus(), newMembers(), newHost(), newInstance(), newFeature(), newLease(),
		newPlan(), newEvents(), newWhy(), newWhyNot(), newForecast(), newPolicy(), newRule(), newCalendar(), newSimulate(),
		newTLS(), newKeygen(), newVersion(),
		newOperator(), newWorkload(), newProxy(), newLocal(), newGuard(),
	)
	return root
}
