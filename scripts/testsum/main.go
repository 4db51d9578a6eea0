// Command testsum reads `go test -json` from standard input, shows what an
// engineer wants to see of it, and ends with one line that counts skips by
// reason. It runs no test itself: the pipe's first command does.
//
// Failed tests are printed with their whole output, passed ones are counted. A
// skip whose reason matches -forbid is a failure: with the data at hand a data
// test must run.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

func main() {
	forbid := flag.String("forbid", "", "a skip whose reason matches this pattern fails the run")
	show := flag.String("show", `^(\S+:\d+: )?FIGURE `, "lines of tests that match this pattern are printed")
	flag.Parse()
	s := summary{forbid: regexp.MustCompile(*forbid), anyForbidden: *forbid != "", show: regexp.MustCompile(*show),
		output: map[string][]string{}, skips: map[string]int{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // a build error, as the compiler said it
			s.failed = s.failed || strings.Contains(in.Text(), "FAIL")
			continue
		}
		s.add(e)
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "testsum: reading the tests' output:", err)
		os.Exit(1)
	}
	if !s.finish() {
		os.Exit(1)
	}
}

type summary struct {
	forbid       *regexp.Regexp
	anyForbidden bool
	show         *regexp.Regexp
	output       map[string][]string // per package or test, until it ends
	skips        map[string]int
	passed       int
	failed       bool
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		s.output[key] = append(s.output[key], e.Output)
		if line := strings.TrimSpace(e.Output); s.show.MatchString(line) {
			fmt.Println("    " + line)
		}
	case "fail", "build-fail":
		s.failed = true
		fmt.Printf("FAIL %s\n%s", strings.TrimSpace(key), strings.Join(s.output[key], ""))
		delete(s.output, key)
		if e.Test == "" {
			s.unended(e.Package)
		}
	case "skip":
		if e.Test != "" {
			s.skip(key)
		}
		delete(s.output, key)
	case "pass":
		if e.Test != "" {
			s.passed++
		} else {
			fmt.Printf("ok   %s (%.1f s)\n", e.Package, e.Elapsed)
		}
		delete(s.output, key)
	}
}

// unended prints what the tests said that were running when their process was
// ended, by a time-out or a crash: they have no verdict of their own.
func (s *summary) unended(pkg string) {
	for _, key := range slices.Sorted(maps.Keys(s.output)) {
		if strings.HasPrefix(key, pkg+" ") {
			fmt.Printf("FAIL %s: it was running when the process ended\n%s", key, strings.Join(s.output[key], ""))
			delete(s.output, key)
		}
	}
}

var location = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

func (s *summary) skip(key string) {
	reason := "no reason given"
	for _, line := range s.output[key] {
		if location.MatchString(line) {
			reason = strings.TrimSpace(location.ReplaceAllString(line, ""))
		}
	}
	s.skips[reason]++
	fmt.Printf("SKIP %s: %s\n", key, reason)
	if s.anyForbidden && s.forbid.MatchString(reason) {
		s.failed = true
		fmt.Printf("FAIL %s: this test may not be skipped here\n", key)
	}
}

func (s *summary) finish() bool {
	reasons := make([]string, 0, len(s.skips))
	total := 0
	for reason, n := range s.skips {
		reasons = append(reasons, fmt.Sprintf("%d × %s", n, reason))
		total += n
	}
	slices.Sort(reasons)
	verdict := "passed"
	if s.failed {
		verdict = "FAILED"
	}
	fmt.Printf("%s: %d tests passed, %d skipped", verdict, s.passed, total)
	if total > 0 {
		fmt.Printf(" (%s)", strings.Join(reasons, "; "))
	}
	fmt.Println()
	return !s.failed
}
