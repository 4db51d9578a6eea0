package libvirt

import "testing"

// TestDue: everything is read first, the dear groups rarely, and what is not read
// keeps its last value.
func TestDue(t *testing.T) {
	if Due(0) != groupAll {
		t.Errorf("the first sampling reads %b", Due(0))
	}
	counts := map[Group]int{}
	for n := 1; n <= 12; n++ {
		for _, r := range rates {
			if Due(n)&r.group != 0 {
				counts[r.group]++
			}
		}
	}
	for group, want := range map[Group]int{GroupCPU: 12, GroupNet: 12, GroupDisk: 4, GroupMemory: 2, GroupDirty: 1} {
		if counts[group] != want {
			t.Errorf("group %b is read %d times in 12, want %d", group, counts[group], want)
		}
	}
	last := Statistics{CPU: 1, Wait: 2, Balloon: 3, Received: 4, Read: 5, Dirty: 6}
	if got := (Statistics{CPU: 10, Wait: 20}).merge(last, GroupCPU); got.CPU != 10 || got.Wait != 20 || got.Balloon != 3 || got.Received != 4 || got.Read != 5 || got.Dirty != 6 {
		t.Errorf("merged %+v", got)
	}
}
