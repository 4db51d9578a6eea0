package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings say how much is measured; the short form is for development.
type settings struct {
	placed, etcd string // binaries
	dir          string
	rows         []string
	clients      []int // of the throughput rows
	rounds       int
	measure      time.Duration // one closed loop
	latency      time.Duration // the run at 200/s
	reporters    int
	kills        int
	transfers    int
}

func main() {
	s := settings{rounds: 3, measure: 5 * time.Second, latency: 60 * time.Second, reporters: 1000, kills: 20, transfers: 40}
	short := flag.Bool("short", os.Getenv("BENCH_SHORT") != "", "a run of about a minute, for development (BENCH_SHORT=1)")
	rows := flag.String("rows", "latency,grants,batches,transfers,kills", "what to measure")
	flag.StringVar(&s.placed, "placed", "", "the placed binary")
	flag.StringVar(&s.etcd, "etcd", "etcd", "the etcd binary")
	flag.StringVar(&s.dir, "dir", "", "where the processes keep their data; on the disk to be measured")
	clients := flag.String("clients", "1,16,64", "how many clients the throughput rows have, one after the other")
	measure := flag.Duration("measure", 0, "one closed loop of a throughput row (5 s; 2 s in the short form)")
	kills := flag.Int("kills", 0, "kills of each leader (20; 2 in the short form)")
	flag.Parse()
	if *short {
		s.rounds, s.measure, s.latency, s.reporters, s.kills, s.transfers = 1, 2*time.Second, 12*time.Second, 1000, 2, 6
	}
	if *kills > 0 {
		s.kills = *kills
	}
	if *measure > 0 {
		s.measure = *measure
	}
	s.rows = strings.Split(*rows, ",")
	for _, n := range strings.Split(*clients, ",") {
		count, err := strconv.Atoi(n)
		if err != nil || count < 1 {
			fmt.Fprintf(os.Stderr, "bench: -clients: %q is not a number of clients\n", n)
			os.Exit(2)
		}
		s.clients = append(s.clients, count)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (s settings) wants(row string) bool { return slices.Contains(s.rows, row) }

func run(ctx context.Context, s settings) (err error) {
	if s.placed, err = filepath.Abs(s.placed); err != nil {
		return err
	}
	if _, err := os.Stat(s.placed); err != nil {
		return fmt.Errorf("--placed: %w", err)
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "bench-books-"); err != nil {
			return err
		}
		defer os.RemoveAll(s.dir)
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	e, err := startEtcd(ctx, s)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer e.stop()
	p, err := startPlaced(ctx, s)
	if err != nil {
		return fmt.Errorf("placed: %w", err)
	}
	defer p.stop()
	t := &table{}
	t.noise("before")
	for _, row := range []struct {
		name    string
		measure func(context.Context, settings, *etcd, *placed, *table) error
	}{
		{"latency", measureLatency}, {"grants", measureGrants}, {"batches", measureBatches}, {"transfers", measureTransfers}, {"kills", measureKills},
	} {
		if !s.wants(row.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s %s…\n", time.Now().Format(time.TimeOnly), row.name)
		if err := row.measure(ctx, s, e, p, t); err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
	}
	t.noise("after")
	t.print(os.Stdout)
	return nil
}
