package libvirt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// cells writes what the kernel shows of NUMA cells.
func cells(t *testing.T, pools ...Pool) string {
	t.Helper()
	dir := t.TempDir()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range pools {
		node := filepath.Join(dir, fmt.Sprintf("node%d", p.Cell))
		if p.Size == 0 {
			write(filepath.Join(node, "meminfo"), fmt.Sprintf("Node %d MemTotal: %d kB\nNode %d MemFree: %d kB\nNode %d Inactive(file): 1024 kB\nNode %d HugePages_Total: 3\n",
				p.Cell, p.Total>>10, p.Cell, p.Free>>10, p.Cell, p.Cell))
			continue
		}
		pool := filepath.Join(node, "hugepages", fmt.Sprintf("hugepages-%dkB", p.Size>>10))
		write(filepath.Join(pool, "nr_hugepages"), fmt.Sprintln(p.Total))
		write(filepath.Join(pool, "free_hugepages"), fmt.Sprintln(p.Free))
	}
	return dir
}

// TestPools: cells and pools are read as the kernel shows them, and become resources per
// size, and per cell and size.
func TestPools(t *testing.T) {
	dir := cells(t, Pool{Cell: 0, Total: 8 << 30, Free: 1 << 30}, Pool{Cell: 1, Total: 8 << 30, Free: 2 << 30}, Pool{Cell: 0, Size: 2 << 20, Total: 512, Free: 100}, Pool{Cell: 1, Size: 2 << 20, Total: 256, Free: 256},
		Pool{Cell: 1, Size: 1 << 30, Total: 2, Free: 2}, Pool{Cell: 0, Size: 1 << 30})
	pools, err := Pools(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(pools) != 6 || pools[0].Free != 1<<30+1<<20 || pools[1] != (Pool{0, 2 << 20, 512, 100}) {
		t.Errorf("pools %+v", pools)
	}
	got := WithPages(fleet.Vector{Memory: 16 << 30}, pools, true)
	for name, want := range map[fleet.Resource]int64{"hugepages/2048K": 768000, "hugepages/0/2048K": 512000, "hugepages/1/2048K": 256000, "hugepages/1048576K": 2000, "hugepages/0/1048576K": 0,
		fleet.Memory: 16<<30 - 768<<21 - 2<<30} {
		if got.Get(name) != want {
			t.Errorf("%s: %d, want %d", name, got.Get(name), want)
		}
	}
	if got := WithPages(fleet.Vector{Memory: 16 << 30}, pools, false); got.Memory != 16<<30 {
		t.Error("memory that an operator has set was changed")
	}
	if err := os.WriteFile(filepath.Join(dir, "node0/hugepages/hugepages-2048kB/nr_hugepages"), []byte("many"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Pools(dir); err == nil {
		t.Error("a pool that cannot be read was")
	}
}

// TestPageNeeds: where a domain's memory comes from, by page size and host cell, and what
// the books count of it.
func TestPageNeeds(t *testing.T) {
	const numa = `<cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/><cell id='1' cpus='1' memory='2' unit='GiB'/></numa></cpu>`
	for name, c := range map[string]struct{ xml, want, reserve string }{
		"plain":           {``, "[{0 3221225472 []}]", "memory 3.125 GiB"},
		"default size":    {`<memoryBacking><hugepages/></memoryBacking>`, "[{2097152 1536 []}]", "memory 128 MiB, hugepages/2048K 1536"},
		"bound":           {`<memoryBacking><hugepages/></memoryBacking><numatune><memory mode='strict' nodeset='1'/></numatune>`, "[{2097152 1536 [1]}]", "memory 128 MiB, hugepages/1/2048K 1536, hugepages/2048K 1536"},
		"preferred":       {`<numatune><memory mode='preferred' nodeset='1'/></numatune>`, "[{0 3221225472 []}]", "memory 3.125 GiB"},
		"two sizes":       {numa + `<memoryBacking><hugepages><page size='1' unit='GiB' nodeset='1'/><page size='2' unit='MiB' nodeset='0'/></hugepages></memoryBacking>`, "[{2097152 512 []} {1073741824 2 []}]", "memory 128 MiB, hugepages/1048576K 2, hugepages/2048K 512"},
		"one cell only":   {numa + `<memoryBacking><hugepages><page size='2' unit='MiB' nodeset='1'/></hugepages></memoryBacking>`, "[{0 1073741824 []} {2097152 1024 []}]", "memory 1.125 GiB, hugepages/2048K 1024"},
		"a cell per cell": {numa + `<numatune><memory mode='strict' nodeset='0-1'/><memnode cellid='1' mode='strict' nodeset='3'/></numatune>`, "[{0 1073741824 [0 1]} {0 2147483648 [3]}]", "memory 3.125 GiB"},
	} {
		d, err := readDefinition(`<domain type='kvm'><name>d</name><memory unit='GiB'>3</memory>` + c.xml + `</domain>`)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.Pages); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		reserve := d.spec(128 << 20).Reserve
		reserve.CPU = 0
		if got := reserve.String(); got != c.reserve {
			t.Errorf("%s reserves %s, want %s", name, got, c.reserve)
		}
	}
}

// TestRoom: the reason names the cell and the page size, and what others who are expected
// will take is taken already.
func TestRoom(t *testing.T) {
	pools := []Pool{{0, 0, 8 << 30, 1 << 30}, {1, 0, 8 << 30, 6 << 30}, {0, 2 << 20, 600, 500}, {1, 2 << 20, 600, 100}}
	for _, c := range []struct {
		expected [][]pageNeed
		wanted   []pageNeed
		why      string
	}{
		{nil, []pageNeed{{0, 100 << 30, nil}}, ""}, // the machine as a whole is another's check
		{nil, []pageNeed{{2 << 20, 600, nil}}, ""},
		{nil, []pageNeed{{2 << 20, 601, nil}}, "this host has 600 huge pages of 2 MiB free, and it needs 601 there"},
		{nil, []pageNeed{{2 << 20, 101, []int{1}}}, "NUMA cell 1 has 100 huge pages of 2 MiB free, and it needs 101 there"},
		{nil, []pageNeed{{1 << 30, 1, nil}}, "this host has 0 huge pages of 1 GiB free, and it needs 1 there"},
		{nil, []pageNeed{{2 << 20, 600, []int{0, 1}}, {2 << 20, 1, []int{1}}}, "NUMA cells 0, 1 have 599 huge pages of 2 MiB free, and it needs 600 there"},
		{nil, []pageNeed{{0, 2 << 30, []int{0}}}, "NUMA cell 0 has 1 GiB of memory free, and it is bound there with 2 GiB"},
		{[][]pageNeed{{{2 << 20, 500, nil}}}, []pageNeed{{2 << 20, 100, []int{1}}}, ""}, // it takes the fuller cell
		{[][]pageNeed{{{2 << 20, 90, []int{1}}}}, []pageNeed{{2 << 20, 100, []int{1}}}, "NUMA cell 1 has 10 huge pages of 2 MiB free, and it needs 100 there"},
	} {
		if got := room(pools, c.expected, c.wanted); got != c.why {
			t.Errorf("%v after %v: %q, want %q", c.wanted, c.expected, got, c.why)
		}
	}
}

// TestRoomNeverOverdrawn: whatever was admitted one after the other, the pages of each
// cell suffice for what is bound to it, and those of the host for all.
func TestRoomNeverOverdrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := []Pool{{0, 2 << 20, 100, rapid.Int64Range(0, 100).Draw(t, "0")}, {1, 2 << 20, 100, rapid.Int64Range(0, 100).Draw(t, "1")}}
		var admitted [][]pageNeed
		for range rapid.IntRange(1, 12).Draw(t, "domains") {
			wanted := []pageNeed{{2 << 20, rapid.Int64Range(1, 60).Draw(t, "pages"), rapid.SampledFrom([][]int{nil, {0}, {1}, {0, 1}}).Draw(t, "cells")}}
			if room(pools, admitted, wanted) == "" {
				admitted = append(admitted, wanted)
			}
		}
		var all int64
		bound := map[int]int64{}
		for _, needs := range admitted {
			all += needs[0].Count
			if len(needs[0].Cells) == 1 {
				bound[needs[0].Cells[0]] += needs[0].Count
			}
		}
		if all > pools[0].Free+pools[1].Free || bound[0] > pools[0].Free || bound[1] > pools[1].Free {
			t.Fatalf("%v admitted into %v", admitted, pools)
		}
	})
}

func FuzzSet(f *testing.F) {
	f.Add("0-3,^2,7")
	f.Fuzz(func(t *testing.T, text string) {
		set := parseSet(text)
		if !slices.IsSorted(set) || len(set) > maxCell+1 {
			t.Errorf("%q is %v", text, set)
		}
	})
}

func TestSets(t *testing.T) {
	for text, want := range map[string]string{"0-3,^2,7": "[0 1 3 7]", "": "[]", "x,1": "[1]", "3-1": "[]", "0-99999999": "[]"} {
		if got := fmt.Sprint(parseSet(text)); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if !strings.HasSuffix(string(pageResource(2<<20, 3)), "/3/2048K") {
		t.Errorf("%s", pageResource(2<<20, 3))
	}
}
