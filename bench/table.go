package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// table collects the rows for docs/books.md.
type table struct {
	rows  [][5]string
	notes []string
}

func (t *table) add(work, placed, etcd, reached, reach string) {
	t.rows = append(t.rows, [5]string{work, placed, etcd, reached, reach})
	fmt.Fprintf(os.Stderr, "  %s: placed %s, etcd %s, %s\n", work, placed, etcd, reached)
}

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
	fmt.Fprintf(os.Stderr, "  "+format+"\n", args...)
}

// noise states what else the machine does.
func (t *table) noise(when string) {
	load, _ := os.ReadFile("/proc/loadavg")
	pressure, _ := os.ReadFile("/proc/pressure/cpu")
	some, _, _ := strings.Cut(string(pressure), " total")
	t.note("%s: load average %s, cpu pressure %s, %d cores", when, strings.Join(strings.Fields(string(load))[:3], " "), strings.TrimPrefix(some, "some "), runtime.NumCPU())
}

func (t *table) print(out io.Writer) {
	fmt.Fprint(out, "| work | placed | etcd | placed / etcd | to reach |\n|---|---|---|---|---|\n")
	for _, row := range t.rows {
		fmt.Fprintf(out, "| %s |\n", strings.Join(row[:], " | "))
	}
	fmt.Fprintln(out)
	for _, n := range t.notes {
		fmt.Fprintf(out, "- %s\n", n)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
