package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected messages of testdata/bad")

func mustLoad(t *testing.T, paths ...string) Config {
	t.Helper()
	c, err := Load(paths...)
	if err != nil {
		t.Fatalf("Load(%v):\n%v", paths, err)
	}
	return c
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*")
	if err != nil || len(files) < 3 {
		t.Fatalf("testdata/good: %v, %v", files, err)
	}
	for _, file := range files {
		mustLoad(t, file)
	}
}

// One bad file per mistake: the message names file, line, what and remedy.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/bad: %v, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			_, err := Load(file)
			if err == nil {
				t.Fatal("the file was accepted")
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the error is a %T", err)
			}
			for _, p := range problems {
				if p.File != file || p.Line == 0 || p.Message == "" || p.Remedy == "" {
					t.Errorf("file, line, message or remedy is missing: %#v", p)
				}
			}
			golden := strings.TrimSuffix(file, ".hcl") + ".want"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.hcl")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		large: "larger than 1 MiB", empty: "holds no *.hcl file", filepath.Join(dir, "none.hcl"): "does not exist",
	} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Load(%s) = %v, want %q and the path", path, err, want)
		}
	}
	if _, err := Load(); err == nil {
		t.Error("Load() of nothing succeeded")
	}
	// All mistakes of all files come at once.
	_, err := Load("testdata/bad/bad_bytes.hcl", "testdata/bad/unknown_key.hcl", large)
	if err == nil || !strings.Contains(err.Error(), "bnd") || !strings.Contains(err.Error(), "larger") {
		t.Errorf("Load of three files reported only: %v", err)
	}
}

func TestDirectoryMergesInLexicalOrder(t *testing.T) {
	c := mustLoad(t, "testdata/good/dir")
	if c.Node.Zone != "rack-2" || c.Node.ID != "host-1" {
		t.Errorf("node = %+v", *c.Node)
	}
	if len(c.Drivers) != 2 || c.Drivers[0].Dir != "/srv/regions" || !slices.Equal(c.Drivers[0].Command, []string{"one"}) {
		t.Errorf("drivers = %+v", c.Drivers)
	}
	if c.Intervals.Pass.Value() != 30*time.Second || c.Policy.Automation != "observe" {
		t.Error("defaults are lost")
	}
}

func TestValues(t *testing.T) {
	c := mustLoad(t, "testdata/good/dev.hcl")
	wall, load := c.LoadClock.Times()
	if want := time.Date(2026, 3, 2, 10, 0, 0, 5e8, time.UTC); !wall.Equal(want) {
		t.Errorf("wall = %s", wall)
	}
	if load.Day() != 22 || c.LoadClock.Scale != 300 || c.Capacity.Memory.Value() != 2<<30 || c.Reserve.Memory.Value() != 0 {
		t.Errorf("values are off: %v %+v", load, *c.Capacity)
	}
	for text, want := range map[Bytes]int64{"": 0, "7": 7, "1.5KiB": 1536, "2 MB": 2e6, "1TiB": 1 << 40, "3B": 3} {
		if got, err := text.parse(); got != want || err != nil {
			t.Errorf("Bytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []Bytes{"-1", "x", "1PiB", "NaN", "InfGiB", "GiB"} {
		if got, err := text.parse(); err == nil {
			t.Errorf("Bytes(%q) = %d, want an error", text, got)
		}
	}
}

// The example names every key of every block, once, and says of each whether a
// reload is enough, as the tags have it.
func TestExampleIsComplete(t *testing.T) {
	const path = "../config.hcl.example"
	mustLoad(t, path)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blockLine := regexp.MustCompile(`^(\w+)( "[\w-]+")? \{`)
	keyLine := regexp.MustCompile(`^  (\w+) +=|^  (\w+) =`)
	marker := regexp.MustCompile(`\[(reload|restart)\]`)
	found := map[string]string{}
	block, pending := "", ""
	for _, line := range strings.Split(string(source), "\n") {
		if m := blockLine.FindStringSubmatch(line); m != nil {
			block = m[1]
			if m[2] != "" {
				block += ".*"
			}
		}
		mark := marker.FindStringSubmatch(line)
		if m := keyLine.FindStringSubmatch(line); m != nil && block != "" {
			if mark != nil {
				pending = mark[1]
			}
			found[block+"."+m[1]+m[2]] = pending
			pending = ""
		} else if mark != nil {
			pending = mark[1]
		}
	}
	for _, key := range Keys() {
		want := "restart"
		if key.Reload {
			want = "reload"
		}
		if found[key.Name] != want {
			t.Errorf("the example marks %s as %q, want %q", key.Name, found[key.Name], want)
		}
		delete(found, key.Name)
	}
	for name := range found {
		t.Errorf("the example has a key %s that does not exist", name)
	}
}

func TestDiff(t *testing.T) {
	before := mustLoad(t, "testdata/good/dev.hcl")
	after := mustLoad(t, "testdata/good/dev.hcl")
	if reload, restart := Diff(before, after); len(reload)+len(restart) != 0 {
		t.Errorf("equal configurations differ: %v %v", reload, restart)
	}
	after.Node.LogLevel, after.Cluster.Join = "warn", nil
	after.RPC.Bind, after.Node.Zone = "127.0.0.1:9", "elsewhere"
	after.Drivers = append(after.Drivers, &Driver{Name: "process"})
	after.Drivers[0] = &Driver{Name: "region"}
	reload, restart := Diff(before, after)
	if want := []string{"cluster.join", "node.log_level"}; !slices.Equal(reload, want) {
		t.Errorf("reload = %v, want %v", reload, want)
	}
	if want := []string{"node.zone", "rpc.bind", "driver.process", "driver.region"}; !slices.Equal(restart, want) {
		t.Errorf("restart = %v, want %v", restart, want)
	}
}

// Whatever the bytes, Parse answers with a configuration or with problems that
// name the file, and a configuration it accepts has no nil block.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.hcl")
	for _, file := range append(files, "../config.hcl.example") {
		source, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		c, err := Parse("fuzz.hcl", source)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		if again := c.check(); len(again) != 0 {
			t.Fatalf("accepted, but %v", again)
		}
		Diff(c, Default())
	})
}
