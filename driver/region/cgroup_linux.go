package region

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroup is one directory of the kernel's cpu controller, in the unified hierarchy
// (v2) or in the older one of its own (v1). Amounts are on one scale: weights as in
// v2, 100 for everybody; limits in millicores.
type cgroup struct {
	dir string
	v2  bool
}

const (
	leafPrefix    = "workload-"
	defaultWeight = 100
	defaultShares = 1024   // v1 for the default weight
	quotaPeriod   = 100000 // µs, the kernel's own default
)

// openCgroup finds out which kind of directory it is and lets its leaves be
// controlled.
func openCgroup(dir string) (cgroup, error) {
	g := cgroup{dir: dir}
	if _, err := os.Stat(g.path("cpu.shares")); err == nil {
		return g, nil
	}
	controllers, err := os.ReadFile(g.path("cgroup.controllers"))
	if err != nil {
		return g, fmt.Errorf("%s is no cgroup with a cpu controller (%w): correct the driver's option cgroup", dir, err)
	}
	if !strings.Contains(" "+strings.TrimSpace(string(controllers))+" ", " cpu ") {
		return g, fmt.Errorf("the cgroup %s does not have the cpu controller: let its parent delegate it (systemd: Delegate=cpu)", dir)
	}
	g.v2 = true
	return g, g.write("cgroup.subtree_control", "+cpu")
}

func (g cgroup) path(name string) string { return filepath.Join(g.dir, name) }

func (g cgroup) write(name, text string) error {
	if err := os.WriteFile(g.path(name), []byte(text), 0); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

func (g cgroup) read(name string) (string, error) {
	text, err := os.ReadFile(g.path(name))
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (g cgroup) number(name string) (int64, error) {
	text, err := g.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cgroup: %s: %w", g.path(name), err)
	}
	return n, nil
}

// leaf returns the cgroup of one workload, made if it is not there.
func (g cgroup) leaf(name string) (cgroup, error) {
	leaf := cgroup{dir: g.path(leafPrefix + name), v2: g.v2}
	if err := os.Mkdir(leaf.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return leaf, fmt.Errorf("cgroup: %w", err)
	}
	return leaf, nil
}

// leaves lists the workloads that have a cgroup here.
func (g cgroup) leaves() (names []string) {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if name, ours := strings.CutPrefix(e.Name(), leafPrefix); ours && e.IsDir() {
			names = append(names, name)
		}
	}
	return names
}

// holds says whether the process is in the cgroup.
func (g cgroup) holds(pid int) (bool, error) {
	text, err := g.read("cgroup.procs")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == strconv.Itoa(pid) {
			return true, nil
		}
	}
	return false, nil
}

// take brings a process into the cgroup, with all of its threads.
func (g cgroup) take(pid int) error { return g.write("cgroup.procs", strconv.Itoa(pid)) }

func (g cgroup) weight() (int64, error) {
	if g.v2 {
		return g.number("cpu.weight")
	}
	shares, err := g.number("cpu.shares")
	return (shares*defaultWeight + defaultShares/2) / defaultShares, err
}

func (g cgroup) setWeight(weight int64) error {
	if weight < 1 || weight > 10_000 {
		return fmt.Errorf("cpu weight %d: 1 to 10000 are possible", weight)
	}
	if g.v2 {
		return g.write("cpu.weight", strconv.FormatInt(weight, 10))
	}
	return g.write("cpu.shares", strconv.FormatInt(max(2, weight*defaultShares/defaultWeight), 10))
}

// quota is the limit in millicores, 0 without one.
func (g cgroup) quota() (int64, error) {
	if g.v2 {
		text, err := g.read("cpu.max")
		if err != nil {
			return 0, err
		}
		amount, period, _ := strings.Cut(text, " ")
		if amount == "max" {
			return 0, nil
		}
		n, err1 := strconv.ParseInt(amount, 10, 64)
		of, err2 := strconv.ParseInt(period, 10, 64)
		if err := errors.Join(err1, err2); err != nil || of <= 0 {
			return 0, fmt.Errorf("cgroup: %s holds %q", g.path("cpu.max"), text)
		}
		return n * 1000 / of, nil
	}
	n, err := g.number("cpu.cfs_quota_us")
	if err != nil || n < 0 {
		return 0, err
	}
	of, err := g.number("cpu.cfs_period_us")
	if err != nil || of <= 0 {
		return 0, err
	}
	return n * 1000 / of, nil
}

// setQuota limits to so many millicores; 0 takes the limit away.
func (g cgroup) setQuota(millicores int64) error {
	if millicores < 0 || millicores > 0 && millicores < 10 {
		return fmt.Errorf("cpu limit of %d thousandths of a core: at least 10 are needed", millicores)
	}
	quota := millicores * quotaPeriod / 1000
	switch {
	case g.v2 && millicores == 0:
		return g.write("cpu.max", "max")
	case g.v2:
		return g.write("cpu.max", fmt.Sprintf("%d %d", quota, quotaPeriod))
	case millicores == 0:
		return g.write("cpu.cfs_quota_us", "-1")
	}
	if err := g.write("cpu.cfs_period_us", strconv.Itoa(quotaPeriod)); err != nil {
		return err
	}
	return g.write("cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
}
