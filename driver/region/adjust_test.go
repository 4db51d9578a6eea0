package region

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// ownCgroup makes a cgroup with a cpu controller for the test, of the version that
// this machine has, or skips it where none may be made.
func ownCgroup(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, "placed-test-"+filepath.Base(t.TempDir())+"-"+strings.TrimPrefix(filepath.Base(filepath.Dir(t.TempDir())), "Test"))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		if _, err := openCgroup(dir); err == nil {
			return dir
		}
	}
	t.Skip("no cgroup with a cpu controller can be made here: the real one is not tested")
	return ""
}

// A workload's weight and limit are set in the kernel, survive the agent, and begin
// anew with a new process.
func TestAdjustARealProcess(t *testing.T) {
	dir, group := "", ownCgroup(t)
	dir = t.TempDir()
	open := func() *Driver {
		d := newTestDriver(t, dir, "")
		d.config.Cgroup = group
		return d
	}
	d := open()
	t.Cleanup(func() {
		endAll(t, dir)
		parent, err := openCgroup(group)
		if err != nil {
			t.Fatal(err)
		}
		open().sweepCgroups(parent)
	})
	found, _ := start(t, d, testSpec("w1", map[string]string{SettingCPULimit: "1.5"}))
	knobs, err := d.Knobs(deadline(t), "w1")
	want := []fleet.Knob{{Kind: fleet.CPUWeight, Now: 100, Least: 1, Most: 10_000}, {Kind: fleet.CPUQuota, Now: 1500, Least: 10, Most: maxQuota}}
	if err != nil || len(knobs) != 2 || knobs[0] != want[0] || knobs[1] != want[1] {
		t.Fatalf("knobs %+v, %v", knobs, err)
	}
	leaf, err := (cgroup{dir: group}).leaf(fileName("w1"))
	if err != nil {
		t.Fatal(err)
	}
	if inside, err := leaf.holds(found.PID); err != nil || !inside {
		t.Fatalf("process %d is not in %s: %v", found.PID, leaf.dir, err)
	}
	for kind, amount := range map[fleet.AdjustmentKind]int64{fleet.CPUWeight: 400, fleet.CPUQuota: 3000} {
		if err := d.Adjust(deadline(t), "w1", kind, amount); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Adjust(deadline(t), "w1", fleet.Balloon, 1); !errors.Is(err, driver.ErrCannotAdjust) {
		t.Errorf("a process has no balloon: %v", err)
	}
	d.Close()
	d = open() // the agent's next life
	if knobs, err = d.Knobs(deadline(t), "w1"); err != nil || knobs[0].Now != 400 || knobs[1].Now != 3000 {
		t.Errorf("after the agent's restart %+v, %v", knobs, err)
	}
	if err := d.Save(deadline(t), "w1"); err != nil {
		t.Fatal(err)
	}
	start(t, d, testSpec("w1", map[string]string{SettingCPULimit: "1.5"}))
	if knobs, err = d.Knobs(deadline(t), "w1"); err != nil || knobs[0].Now != 100 || knobs[1].Now != 1500 {
		t.Errorf("a new process begins with %+v, %v", knobs, err)
	}
	if err := d.Stop(deadline(t), "w1"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Knobs(deadline(t), "w1"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("knobs of a workload that is gone: %v", err)
	}
}

func TestWithoutACgroupNothingCanBeAdjusted(t *testing.T) {
	d := newHost(t, "")
	start(t, d, testSpec("w1", nil))
	if knobs, err := d.Knobs(deadline(t), "w1"); err != nil || len(knobs) != 0 {
		t.Errorf("knobs %+v, %v", knobs, err)
	}
	if err := d.Adjust(deadline(t), "w1", fleet.CPUWeight, 200); !errors.Is(err, driver.ErrCannotAdjust) || !strings.Contains(err.Error(), "option cgroup") {
		t.Errorf("adjust: %v", err)
	}
}

// The unified hierarchy's files, whatever this machine mounts.
func TestCgroupOfTheUnifiedHierarchy(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openCgroup(dir); err == nil || !strings.Contains(err.Error(), "option cgroup") {
		t.Errorf("an ordinary directory: %v", err)
	}
	put("cgroup.controllers", "memory pids\n")
	if _, err := openCgroup(dir); err == nil || !strings.Contains(err.Error(), "Delegate=cpu") {
		t.Errorf("without the cpu controller: %v", err)
	}
	put("cgroup.controllers", "cpuset cpu memory\n")
	put("cgroup.subtree_control", "")
	put("cpu.weight", "100\n")
	put("cpu.max", "max 100000\n")
	g, err := openCgroup(dir)
	if err != nil || !g.v2 {
		t.Fatalf("%+v, %v", g, err)
	}
	if quota, err := g.quota(); err != nil || quota != 0 {
		t.Errorf("no limit is read as %d, %v", quota, err)
	}
	if err := errors.Join(g.setWeight(250), g.setQuota(2500)); err != nil {
		t.Fatal(err)
	}
	weight, err1 := g.weight()
	quota, err2 := g.quota()
	if weight != 250 || quota != 2500 || errors.Join(err1, err2) != nil {
		t.Errorf("weight %d, quota %d, %v", weight, quota, errors.Join(err1, err2))
	}
	if text, _ := g.read("cpu.max"); text != "250000 100000" {
		t.Errorf("cpu.max holds %q", text)
	}
	for _, err := range []error{g.setWeight(0), g.setWeight(10_001), g.setQuota(5)} {
		if err == nil {
			t.Error("an amount the kernel does not know was taken")
		}
	}
}
