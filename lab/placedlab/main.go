// Command placedlab starts and stops a lab of real hosts, shows a predicted
// contention moving a guest in one, and is its prober.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/placed-dev/placed/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "placedlab:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) {
	fmt.Printf(time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: placedlab up --binary PLACED | demo --binary PLACED | down [NAME…]")
	}
	cfg := lab.Config{}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	binary := flags.String("binary", "bin/placed", "a placed with the libvirt driver")
	if args[0] == "up" || args[0] == "demo" {
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
	}
	switch args[0] {
	case "up":
		return up(ctx, cfg, *binary)
	case "demo":
		return demo(ctx, cfg, *binary)
	case "down":
		names := args[1:] // that of a test, which a kill has left behind
		if len(names) == 0 {
			names = []string{"lab", demoName}
		}
		var errs []error
		for _, name := range names {
			errs = append(errs, lab.Down(ctx, lab.Config{Name: name}))
		}
		return errors.Join(errs...)
	case "probe":
		return lab.ProbeMain(args[1:])
	}
	return fmt.Errorf("unknown command %q: want up, demo or down", args[0])
}

// guests of the lab: two on the first host, one on the second, none on the third.
var guests = []struct {
	host  int
	guest lab.Guest
}{
	{0, lab.Guest{Name: "web", N: 1, Rate: 1 << 20, Burn: 10, Autostart: true}},
	{0, lab.Guest{Name: "db", N: 2, Rate: 4 << 20, Burn: 10, Autostart: true}},
	{1, lab.Guest{Name: "cache", N: 3, Rate: 2 << 20, Burn: 5, Autostart: true}},
}

func up(ctx context.Context, cfg lab.Config, binary string) error {
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return err
	}
	for _, g := range guests {
		if err := l.Boot(ctx, l.Hosts[g.host], g.guest); err != nil {
			return err
		}
		say("guest %s runs on %s", g.guest.Name, l.Hosts[g.host].Name)
	}
	if err := l.PrepareAgents(ctx, lab.AgentConfig{Binary: binary, Cores: 8, Memory: "4GiB"}); err != nil {
		return err
	}
	if err := l.StartAgents(ctx); err != nil {
		return err
	}
	for _, h := range l.Hosts {
		say("%s: agent at %s, virsh -c '%s'", h.Name, h.Address, h.URI())
	}
	say("a command inside a host: nsenter --net=/run/netns/%s bin/placed status", l.Hosts[0].Namespace())
	return nil
}
