package libvirt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// room says what the NUMA cells lack for a domain that is expected, beside others that
// are expected and have not taken their memory yet; "" if it fits. A machine may have
// enough memory in all and not where the domain is bound to, or of the wrong pages:
// QEMU then does not start, or is killed later. Normal memory that may be anywhere is
// checked for the machine as a whole, by whoever admits.
func room(pools []Pool, expected [][]pageNeed, wanted []pageNeed) string {
	free := map[int64]map[int]int64{}
	for _, p := range pools {
		if free[p.Size] == nil {
			free[p.Size] = map[int]int64{}
		}
		free[p.Size][p.Cell] += p.Free
	}
	for _, needs := range expected {
		for _, n := range strictFirst(needs) {
			take(free[n.Size], n) // whether it fits was said when it was admitted
		}
	}
	for _, n := range strictFirst(wanted) {
		if n.Size == 0 && len(n.Cells) == 0 {
			continue
		}
		had := available(free[n.Size], n)
		if take(free[n.Size], n) > 0 {
			return n.lacks(had)
		}
	}
	return ""
}

// strictFirst orders needs so that what may be anywhere takes only what is left.
func strictFirst(needs []pageNeed) []pageNeed {
	out := slices.Clone(needs)
	slices.SortStableFunc(out, func(a, b pageNeed) int { return choices(a) - choices(b) })
	return out
}

func choices(n pageNeed) int {
	if len(n.Cells) == 0 {
		return maxCell + 1
	}
	return len(n.Cells)
}

func (n pageNeed) in(cell int) bool { return len(n.Cells) == 0 || slices.Contains(n.Cells, cell) }

func available(free map[int]int64, n pageNeed) (sum int64) {
	for cell, pages := range free {
		if n.in(cell) {
			sum += max(pages, 0)
		}
	}
	return sum
}

// take uses up the free pages, of the cell with most of them first, and returns how many
// are lacking.
func take(free map[int]int64, n pageNeed) int64 {
	left := n.Count
	for left > 0 {
		best, most := -1, int64(0)
		for cell, pages := range free {
			if n.in(cell) && (pages > most || pages == most && pages > 0 && cell < best) {
				best, most = cell, pages
			}
		}
		if best < 0 {
			return left
		}
		part := min(left, most)
		free[best] -= part
		left -= part
	}
	return 0
}

// lacks says in words what a domain does not find.
func (n pageNeed) lacks(had int64) string {
	where := "this host has"
	switch len(n.Cells) {
	case 0:
	case 1:
		where = fmt.Sprintf("NUMA cell %d has", n.Cells[0])
	default:
		where = "NUMA cells " + strings.Trim(strings.ReplaceAll(fmt.Sprint(n.Cells), " ", ", "), "[]") + " have"
	}
	if n.Size == 0 {
		return fmt.Sprintf("%s %s of memory free, and it is bound there with %s", where, fleet.FormatAmount(fleet.Memory, had), fleet.FormatAmount(fleet.Memory, n.Count))
	}
	return fmt.Sprintf("%s %d huge pages of %s free, and it needs %d there", where, had, fleet.FormatAmount(fleet.Memory, n.Size), n.Count)
}
