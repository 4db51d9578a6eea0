// Command proofsum reads the summaries that `placed dev --json` printed, one
// file per run, and prints what the demonstration proves: in how many seeds a
// pre-emptive migration was committed, and how long hosts were contended with
// and without moves. It runs nothing itself.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/placed-dev/placed/devfleet"
)

// wanted of the ten seeds must see a pre-emptive migration.
const wanted = 9

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: proofsum DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "proofsum:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s holds no summaries (%w)", dir, err)
	}
	runs := map[uint64]map[string]devfleet.Summary{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var s devfleet.Summary
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("%s: the run printed no summary: %w", file, err)
		}
		if runs[s.Seed] == nil {
			runs[s.Seed] = map[string]devfleet.Summary{}
		}
		runs[s.Seed][s.Automation] = s
	}
	return report(runs)
}

func report(runs map[uint64]map[string]devfleet.Summary) error {
	var seeds []uint64
	for seed := range runs {
		seeds = append(seeds, seed)
	}
	slices.Sort(seeds)
	fmt.Println("seed  preemptive  moves  contended s: observe  auto  downtime ms (median)  client errors  lost writes")
	proved, came, judged := 0, 0, 0
	var observed, moved float64
	var downtimes []float64
	var errors, lost int64
	for _, seed := range seeds {
		observe, auto := runs[seed]["observe"], runs[seed]["auto"]
		preemptive := 0
		var own []float64
		for _, m := range auto.Migrations {
			if m.CommittedIndex == 0 {
				continue
			}
			own = append(own, m.DowntimeMS)
			if m.Type == "preemptive" {
				preemptive++
			}
			if m.ContentionCame != nil {
				judged++
				if *m.ContentionCame {
					came++
				}
			}
		}
		if preemptive > 0 {
			proved++
		}
		downtimes = append(downtimes, own...)
		observed, moved = observed+observe.ContendedS, moved+auto.ContendedS
		errors += auto.Client.Errors + observe.Client.Errors
		lost += auto.Client.LostWrites + observe.Client.LostWrites
		fmt.Printf("%4d  %10d  %5d  %20.1f  %4.1f  %20.1f  %13d  %11d\n", seed, preemptive, len(own), observe.ContendedS, auto.ContendedS,
			median(own), auto.Client.Errors+observe.Client.Errors, auto.Client.LostWrites+observe.Client.LostWrites)
	}
	fmt.Printf("%d of %d seeds saw a pre-emptive migration (wanted %d); contended %.1f s observed, %.1f s with moves; ", proved, len(seeds), wanted, observed, moved)
	fmt.Printf("%d moves, median downtime %.1f ms; the predicted contention came in %d of %d judged; %d client errors, %d lost writes\n",
		len(downtimes), median(downtimes), came, judged, errors, lost)
	switch {
	case proved < min(wanted, len(seeds)):
		return fmt.Errorf("too few seeds saw a pre-emptive migration")
	case moved >= observed:
		return fmt.Errorf("contention did not fall")
	case lost > 0:
		return fmt.Errorf("writes were lost")
	}
	return nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
