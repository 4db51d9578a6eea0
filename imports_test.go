package placed_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of this repository.
const module = "github.com/placed-dev/placed"

// room is one line of the table in docs/architecture.md: which packages of the
// house and which libraries a package may import beside the standard library.
type room struct {
	pure bool
	// may lists packages of this module; "*" means every package that is not
	// in not.
	may []string
	not []string
	// libraries lists prefixes of import paths outside the module.
	libraries []string
	// only narrows a library to certain files, as "prefix" -> file names.
	only map[string][]string
	// std, if not nil, is the only part of the standard library allowed.
	std []string
}

// common libraries are open to every package that is not pure.
var common = []string{"github.com/hashicorp/go-hclog", "golang.org/x/sync", "golang.org/x/sys"}

// durable is open to them, too: whoever keeps a file keeps it whole.
const durable = "durable"

var table = map[string]room{
	"fleet":     {pure: true},
	"boost":     {pure: true, may: []string{"fleet"}},
	"precopy":   {pure: true, may: []string{"fleet"}},
	"cutover":   {pure: true, may: []string{"fleet"}},
	"trace":     {pure: true, may: []string{"fleet"}},
	"predictor": {pure: true, may: []string{"fleet", "boost"}, libraries: []string{"gonum.org/v1/gonum"}},
	"scorer":    {pure: true, may: []string{"fleet", "boost"}, libraries: []string{"gonum.org/v1/gonum"}},
	"planner":   {pure: true, may: []string{"fleet", "predictor", "scorer", "precopy"}},
	"fsm": {pure: true, may: []string{"fleet"}, libraries: []string{"github.com/hashicorp/raft"},
		only: map[string][]string{"github.com/hashicorp/raft": {"raft.go"}, "sync": {"raft.go"}}},
	"simulator": {pure: true, may: []string{"fleet", "boost", "precopy", "trace", "predictor", "scorer", "planner", "fsm", "simulator/reference"},
		libraries: []string{"gonum.org/v1/gonum"}},
	"simulator/reference": {pure: true},

	"durable":  {},
	"throttle": {},
	"gossip":   {may: []string{"fleet", "throttle"}, libraries: []string{"github.com/hashicorp/memberlist"}},
	"telemetry": {may: []string{"fleet"},
		libraries: []string{"go.etcd.io/bbolt", "github.com/prometheus/procfs", "github.com/klauspost/compress"}},
	"driver":         {may: []string{"fleet"}},
	"driver/region":  {may: []string{"fleet", "driver"}},
	"driver/fake":    {may: []string{"fleet", "driver"}},
	"driver/process": {may: []string{"fleet", "driver"}},
	"driver/libvirt": {may: []string{"fleet", "driver"}, libraries: []string{"libvirt.org/go"}},
	"transport":      {may: []string{"fleet", "throttle"}},
	"traffic":        {may: []string{"fleet"}, libraries: []string{"github.com/vishvananda/netlink", "github.com/google/nftables"}},
	"peer":           {may: []string{"fleet", "transport"}},
	"migrator": {may: []string{"fleet", "precopy", "cutover", "driver", "transport", "traffic"},
		libraries: []string{"github.com/klauspost/compress", "github.com/zeebo/xxh3"}},
	"consensus": {may: []string{"fleet", "fsm", "consensus/wal"},
		libraries: []string{"github.com/hashicorp/raft", "go.etcd.io/bbolt"},
		// raft-boltdb reads logs of older versions, nothing else.
		only: map[string][]string{"github.com/hashicorp/raft-boltdb": {"carry.go"}}},
	"consensus/wal": {libraries: []string{"github.com/hashicorp/raft"}},
	"controller":    {may: []string{"fleet", "boost", "precopy", "predictor", "scorer", "planner", "fsm"}},
	"calendar":      {may: []string{"fleet"}, libraries: []string{"github.com/teambition/rrule-go", "github.com/emersion/go-ical"}},
	"api":           {std: []string{}},
	"httpapi":       {may: []string{"fleet", "api"}, libraries: []string{"github.com/prometheus/client_golang"}},
	"config":        {libraries: []string{"github.com/hashicorp/hcl/v2", "github.com/zclconf/go-cty"}},
	"daemon": {may: []string{"*"}, not: []string{"simulator", "devfleet", "lab", "jepsen"},
		libraries: []string{"github.com/prometheus/client_golang", "github.com/coreos/go-systemd"}},
	"workload":         {},
	"scripts/testsum":  {},
	"scripts/mutants":  {},
	"transport/memnet": {}, // for tests only
	"virtual":          {}, // tests only: real voters in virtual time
	"scripts/proofsum": {may: []string{"devfleet"}},
	"devfleet":         {may: []string{"api", "config", "trace", "traces", "workload", "transport", "fleet"}},
	"traces":           {},
	"lab":              {may: []string{"api", "driver/libvirt", "trace", "traces"}, libraries: []string{"github.com/vishvananda/netlink"}},
	"lab/guest":        {},
	"lab/placedlab":    {may: []string{"lab", "api"}},
	"cmd/placed": {may: []string{"*"}, not: []string{"jepsen", "lab"},
		libraries: []string{"github.com/spf13/cobra", "gonum.org/v1/plot"}},
	"jepsen": {may: []string{"api", "workload"},
		libraries: []string{"github.com/anishathalye/porcupine", "github.com/hanwen/go-fuse", "github.com/vishvananda/netlink"}},
}

// impure lists packages of the standard library that a pure package may not
// touch, with the reason; "net" does not mean "net/netip", which is arithmetic.
var impure = map[string]string{
	"os": "does IO", "os/exec": "does IO", "os/signal": "does IO", "net": "does IO", "net/http": "does IO",
	"log": "the shell logs", "log/slog": "the shell logs", "syscall": "does IO", "math/rand": "global random source",
	"crypto/rand": "not reproducible", "io/ioutil": "does IO", "sync": "no goroutines, so nothing to guard",
	"runtime": "depends on the machine", "testing": "belongs into tests",
}

// impureNames are identifiers that read a clock or a random source.
var impureNames = map[string][]string{
	"time":         {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"},
	"math/rand/v2": {"Int", "IntN", "Int64", "Int64N", "Uint32", "Uint64", "Float64", "Float32", "Perm", "Shuffle", "NormFloat64", "ExpFloat64", "N"},
	"context":      {"WithTimeout", "WithDeadline", "Background", "TODO"},
}

type source struct {
	dir, name string
	file      *ast.File
	positions *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || d.Name() == "bench" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(filepath.Dir(path)), filepath.Base(path), file, positions})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("only %d source files found: the test looks in the wrong place", len(all))
	}
	return all
}

// TestImportTable holds every import of the product against the table.
func TestImportTable(t *testing.T) {
	for _, s := range sources(t) {
		r, ok := table[s.dir]
		if !ok {
			t.Errorf("%s: package %s has no line in the import table; add one with its reason to docs/architecture.md", s.name, s.dir)
			continue
		}
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if reason := r.refuses(path, s.name); reason != "" {
				t.Errorf("%s: import %q: %s", s.positions.Position(spec.Pos()), path, reason)
			}
		}
	}
}

// refuses says why the file may not import the path, or "".
func (r room) refuses(path, file string) string {
	for prefix, files := range r.only {
		if under(path, prefix) {
			if slices.Contains(files, file) {
				return ""
			}
			return "allowed in " + strings.Join(files, ", ") + " only"
		}
	}
	if under(path, module) {
		own := strings.TrimPrefix(path, module+"/")
		if own == durable && !r.pure && r.std == nil {
			return ""
		}
		if slices.Contains(r.may, own) || slices.Contains(r.may, "*") && !slices.Contains(r.not, own) {
			return ""
		}
		return "this arrow is not in the import table"
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		if reason, bad := impure[path]; bad && r.pure {
			return "the package is pure: " + reason
		}
		return ""
	}
	allowed := r.libraries
	if !r.pure && r.std == nil {
		allowed = append(slices.Clone(common), r.libraries...)
	}
	for _, prefix := range allowed {
		if under(path, prefix) {
			return ""
		}
	}
	return "this library is not in the import table"
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/") || strings.HasPrefix(path, prefix+"-")
}

// TestPurity: pure packages start no goroutine, read no clock, use no global
// random source and keep no package-level state that changes.
func TestPurity(t *testing.T) {
	for _, s := range sources(t) {
		if !table[s.dir].pure {
			continue
		}
		names := map[string]string{} // local name of an import -> path
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			local := path[strings.LastIndex(path, "/")+1:]
			if path == "math/rand/v2" {
				local = "rand"
			}
			if spec.Name != nil {
				local = spec.Name.Name
			}
			names[local] = path
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a pure package starts no goroutine", s.positions.Position(n.Pos()))
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				if ok && slices.Contains(impureNames[names[pkg.Name]], n.Sel.Name) {
					t.Errorf("%s: a pure package does not call %s.%s: take it as an argument", s.positions.Position(n.Pos()), pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestPackageComments: every package says what it owns.
func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil && len(s.file.Doc.Text()) > 60
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment that says what it owns and what it does not do", dir)
		}
	}
}

// TestTheTestBites: the rules above refuse what they are meant to refuse.
func TestTheTestBites(t *testing.T) {
	for _, c := range []struct {
		dir, file, path string
		allowed         bool
	}{
		{"planner", "plan.go", "os", false},
		{"planner", "plan.go", module + "/fsm", false},
		{"planner", "plan.go", module + "/predictor", true},
		{"planner", "plan.go", "github.com/hashicorp/go-hclog", false},
		{"fsm", "state.go", "github.com/hashicorp/raft", false},
		{"fsm", "raft.go", "github.com/hashicorp/raft", true},
		{"predictor", "joint.go", module + "/scorer", false},
		{"migrator", "source.go", module + "/driver/libvirt", false},
		{"daemon", "daemon.go", module + "/devfleet", false},
		{"daemon", "daemon.go", module + "/driver/region", true},
		{"api", "client.go", "github.com/hashicorp/go-hclog", false},
		{"transport", "dial.go", "github.com/hashicorp/go-hclog", true},
	} {
		if got := table[c.dir].refuses(c.path, c.file) == ""; got != c.allowed {
			t.Errorf("%s/%s importing %s: allowed = %v, want %v", c.dir, c.file, c.path, got, c.allowed)
		}
	}
}
