package libvirt

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/fleet"
)

// NodeDir is where the kernel shows NUMA cells with their memory and pools of huge
// pages (Documentation/admin-guide/mm/hugetlbpage.rst of Linux).
const NodeDir = "/sys/devices/system/node"

// Pool is the memory of one page size in one NUMA cell. Normal memory is a pool, too.
type Pool struct {
	Cell int
	Size int64 // of a page in bytes; 0 = normal memory, whose amounts are bytes
	// Total and Free are pages. Free normal memory includes what the kernel can
	// drop, its cache of files.
	Total, Free int64
}

// Pools reads every NUMA cell, sorted by cell and page size.
func Pools(dir string) ([]Pool, error) {
	nodes, err := filepath.Glob(filepath.Join(dir, "node[0-9]*"))
	if err != nil {
		return nil, err
	}
	var out []Pool
	for _, node := range nodes {
		cell, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(node), "node"))
		if err != nil {
			continue
		}
		normal, err := normalMemory(filepath.Join(node, "meminfo"))
		if err != nil {
			return nil, fmt.Errorf("memory of NUMA cell %d: %w", cell, err)
		}
		normal.Cell = cell
		out = append(out, normal)
		sizes, err := filepath.Glob(filepath.Join(node, "hugepages", "hugepages-*kB"))
		if err != nil {
			return nil, err
		}
		for _, path := range sizes {
			p, err := hugePool(path)
			if err != nil {
				return nil, fmt.Errorf("huge pages of NUMA cell %d: %w", cell, err)
			}
			p.Cell = cell
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Pool) int { return cmp.Or(cmp.Compare(a.Cell, b.Cell), cmp.Compare(a.Size, b.Size)) })
	return out, nil
}

func hugePool(dir string) (p Pool, err error) {
	kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
	p.Size = kib << 10
	for name, into := range map[string]*int64{"nr_hugepages": &p.Total, "free_hugepages": &p.Free} {
		text, readErr := os.ReadFile(filepath.Join(dir, name))
		if readErr == nil {
			*into, readErr = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		}
		err = errors.Join(err, readErr)
	}
	return p, err
}

// normalMemory reads a node's meminfo: lines as "Node 0 MemFree: 123 kB".
func normalMemory(path string) (p Pool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil // a cell without memory
	}
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		kib, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			continue // a line of another form
		}
		switch f[2] {
		case "MemTotal:":
			p.Total = kib << 10
		case "MemFree:", "Active(file):", "Inactive(file):", "SReclaimable:":
			p.Free += kib << 10
		}
	}
	return p, nil
}

// pageResource names pages of one size on all cells, or on one.
func pageResource(size int64, cell int) fleet.Resource {
	name := "hugepages/"
	if cell >= 0 {
		name += strconv.Itoa(cell) + "/"
	}
	return fleet.Resource(name + sizeText(size))
}

func sizeText(size int64) string { return strconv.FormatInt(size>>10, 10) + "K" }

// WithPages adds a host's huge pages to its capacity, per size, and per cell and size:
// a domain that is bound to a cell reserves both. Where its memory was measured the
// pools are taken out of it, for nobody else can have them.
func WithPages(capacity fleet.Vector, pools []Pool, measured bool) fleet.Vector {
	total := map[int64]int64{}
	for _, p := range pools {
		if p.Size == 0 || p.Total == 0 {
			continue
		}
		total[p.Size] += p.Total
		capacity = capacity.With(pageResource(p.Size, p.Cell), p.Total*1000)
		if measured && capacity.Memory != fleet.Unknown {
			capacity.Memory = max(capacity.Memory-p.Total*p.Size, 0)
		}
	}
	for _, size := range slices.Sorted(maps.Keys(total)) {
		capacity = capacity.With(pageResource(size, -1), total[size]*1000)
	}
	return capacity
}

// pageNeed is memory of a guest that comes out of one page size, and out of some NUMA
// cells of the host only, if Cells are named.
type pageNeed struct {
	Size  int64 `json:"size"`  // of a page in bytes, 0 = normal
	Count int64 `json:"count"` // pages; of normal memory bytes
	Cells []int `json:"cells,omitempty"`
}

// resources are what the books count it as: pages of the size, and if it is bound to one
// cell also those of the cell. Of several cells nobody knows beforehand which it takes.
func (n pageNeed) resources() []fleet.Resource {
	out := []fleet.Resource{pageResource(n.Size, -1)}
	if len(n.Cells) == 1 {
		out = append(out, pageResource(n.Size, n.Cells[0]))
	}
	return out
}

// pageNeeds reads which memory a domain takes from where. A guest without cells of its
// own counts as one cell.
func pageNeeds(x libvirtxml.Domain, memory int64) (out []pageNeed) {
	cells := map[int]int64{0: memory}
	if x.CPU != nil && x.CPU.Numa != nil && len(x.CPU.Numa.Cell) > 0 {
		clear(cells)
		for i, c := range x.CPU.Numa.Cell {
			id := i
			if c.ID != nil {
				id = int(*c.ID)
			}
			cells[id] = scale(uint64(c.Memory), c.Unit)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cells)) {
		n := pageNeed{Size: pageSize(x, id), Count: cells[id], Cells: hostCells(x, id)}
		if n.Size > 0 {
			n.Count = (n.Count + n.Size - 1) / n.Size
		}
		i := slices.IndexFunc(out, func(o pageNeed) bool { return o.Size == n.Size && slices.Equal(o.Cells, n.Cells) })
		if i < 0 {
			out = append(out, n)
		} else {
			out[i].Count += n.Count
		}
	}
	return out
}

// defaultPage is the size of huge pages of which nobody has said another one.
const defaultPage = 2 << 20

// pageSize of the memory of one of the guest's cells.
func pageSize(x libvirtxml.Domain, cell int) (size int64) {
	if x.MemoryBacking == nil || x.MemoryBacking.MemoryHugePages == nil {
		return 0
	}
	pages := x.MemoryBacking.MemoryHugePages.Hugepages
	if len(pages) == 0 {
		return defaultPage
	}
	for _, p := range pages {
		if p.Nodeset == "" {
			size = scale(uint64(p.Size), p.Unit)
		}
	}
	for _, p := range pages {
		if p.Nodeset != "" && slices.Contains(parseSet(p.Nodeset), cell) {
			return scale(uint64(p.Size), p.Unit)
		}
	}
	return size
}

// hostCells that one of the guest's cells is bound to; none if it may be anywhere. Only
// a strict binding is one: what is merely preferred, QEMU starts without.
func hostCells(x libvirtxml.Domain, cell int) []int {
	if x.NUMATune == nil {
		return nil
	}
	bound := func(mode string) bool { return mode == "" || mode == "strict" || mode == "restrictive" }
	for _, m := range x.NUMATune.MemNodes {
		if int(m.CellID) == cell {
			if bound(m.Mode) {
				return parseSet(m.Nodeset)
			}
			return nil
		}
	}
	if m := x.NUMATune.Memory; m != nil && bound(m.Mode) && m.Nodeset != "" {
		return parseSet(m.Nodeset)
	}
	return nil
}

// maxCell bounds what is read from a set: more cells no machine has.
const maxCell = 1024

// parseSet reads libvirt's sets, "0-3,^2,7", ascending; what it cannot read it leaves
// out.
func parseSet(text string) []int {
	in := map[int]bool{}
	for _, word := range strings.Split(text, ",") {
		word, remove := strings.CutPrefix(strings.TrimSpace(word), "^")
		first, last, isRange := strings.Cut(word, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && isRange {
			to, err = strconv.Atoi(last)
		}
		if err != nil || from < 0 || to > maxCell {
			continue
		}
		for n := from; n <= to; n++ {
			in[n] = !remove
		}
	}
	maps.DeleteFunc(in, func(_ int, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(in))
}
