// Command mutants shows that the tests would notice: it applies each planted bug
// of mutants/*.patch to a copy (go's -overlay, the sources stay as they are), runs
// the voters in virtual time and, where the patch touches the books, the property
// tests of the books, seed by seed, and prints which check caught it.
//
// It fails when a patch no longer applies and when a bug is not caught. A panic, a
// time-out or a run that was inconclusive is no catch.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	dir := flag.String("dir", "mutants", "directory of the patches")
	only := flag.String("run", "", "patches whose name matches this pattern")
	seeds := flag.Int("seeds", 20, "seeds until a bug counts as not caught")
	length := flag.Duration("length", 10*time.Minute, "virtual time of one seed")
	books := flag.Bool("books", true, "try the property tests of the books, too")
	booksOnly := flag.Bool("books-only", false, "try the property tests of the books alone, which is quick")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	rows, err := table(ctx, *dir, *only, search{*seeds, *length, *books, *booksOnly})
	write(os.Stdout, rows)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	for _, r := range rows {
		if r.promise == "" && r.property == "" {
			fmt.Fprintf(os.Stderr, "mutants: %s was not caught within %d seeds: the tests do not hold what they promise\n", r.name, *seeds)
			defer os.Exit(1)
		}
	}
}

// row is one planted bug and what caught it.
type row struct {
	name, title string
	promise     string // that the simulation found broken first, or ""
	seeds       int    // until then
	wall        time.Duration
	property    string // what the property tests said, "" if they noticed nothing
	tried       bool   // the property tests were run
	note        string
}

// search says how long to look.
type search struct {
	seeds  int           // of the simulation
	length time.Duration // of one seed, virtual
	books  bool          // try the property tests of the books, too
	// booksOnly leaves the voters in virtual time out.
	booksOnly bool
}

func table(ctx context.Context, dir, only string, s search) ([]row, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no patches in %s: run it from the root of the repository", dir)
	}
	var patches []patch
	for _, path := range paths {
		if !pattern.MatchString(filepath.Base(path)) {
			continue
		}
		p, err := readPatch(path)
		if err != nil {
			return nil, err
		}
		patches = append(patches, p)
	}
	// All must apply before the first is tried: that is the quick part.
	overlays := make([]map[string][]byte, len(patches))
	for i, p := range patches {
		if overlays[i], err = p.apply(os.ReadFile); err != nil {
			return nil, err
		}
	}
	var rows []row
	for i, p := range patches {
		r, err := try(ctx, p, overlays[i], s)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, r)
		fmt.Fprintf(os.Stderr, "%s: %s\n", r.name, r.summary())
	}
	return rows, nil
}

func (r row) summary() string {
	if r.promise == "" {
		return "not caught by the simulation; by the books' property tests: " + r.property
	}
	return fmt.Sprintf("%s after %d seeds, %.0f s", r.promise, r.seeds, r.wall.Seconds())
}

func write(to *os.File, rows []row) {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "FIGURE mutant\tcaught in virtual time by\tseeds\twall s\tcaught by the books' property tests\tnote")
	for _, r := range rows {
		promise, property := r.promise, r.property
		if promise == "" {
			promise = "-"
		}
		switch {
		case !r.tried:
			property = "not tried"
		case property == "":
			property = "-"
		}
		_, _ = fmt.Fprintf(w, "FIGURE %s\t%s\t%d\t%.0f\t%s\t%s\n", r.name, promise, r.seeds, r.wall.Seconds(), property, r.note)
	}
	_ = w.Flush()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
