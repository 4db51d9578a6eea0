package libvirt

import (
	"fmt"

	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/fleet"
)

// tunables are what libvirt lets be changed of a domain that runs. Memory is in bytes,
// what is not known or cannot be changed is 0.
type tunables struct {
	// Unified says that the host's cgroups are of version 2, whose weights libvirt
	// passes on as they are; those of version 1 begin at 1024.
	Unified bool
	// Shares is the cpu weight on libvirt's scale. Quota in µs per Period, of each
	// virtual cpu; 0 or less: no limit.
	Shares        int64
	Quota, Period int64
	VCPUs, Most   int64
	// Actual is the memory that the guest has, Largest what it may have, Usable
	// what it could give without harm, by its own word; -1: it does not say.
	Actual, Largest, Usable int64
	// Rigid says why its memory cannot be reclaimed, "" when it can.
	Rigid string
}

const (
	defaultSharesV1 = 1024
	defaultWeight   = 100
	// leastQuota is libvirt's least, µs; mostQuota more than any machine has,
	// millicores.
	leastQuota = 1000
	mostQuota  = 1_024_000
	// spare is how much more than it uses a guest keeps: a quarter. What it can
	// use again at once is its page cache's last reserve.
	spareDivisor = 4
)

// knobs are the tunables in the words of the contract, by kind.
func (t tunables) knobs() []fleet.Knob {
	var out []fleet.Knob
	if t.Shares > 0 {
		out = append(out, fleet.Knob{Kind: fleet.CPUWeight, Now: t.weight(), Least: 1, Most: 10_000})
	}
	if t.Quota > 0 && t.Period > 0 && t.VCPUs > 0 {
		out = append(out, fleet.Knob{Kind: fleet.CPUQuota, Now: t.Quota * 1000 * t.VCPUs / t.Period, Least: 100, Most: mostQuota})
	}
	if t.VCPUs > 0 && t.Most > t.VCPUs {
		out = append(out, fleet.Knob{Kind: fleet.VCPUs, Now: t.VCPUs, Least: 1, Most: t.Most})
	}
	if least := t.leastMemory(); t.Rigid == "" && t.Usable >= 0 && least > 0 && least < t.Actual {
		out = append(out, fleet.Knob{Kind: fleet.Balloon, Now: t.Actual, Least: least, Most: t.Largest})
	}
	return out
}

func (t tunables) weight() int64 {
	if t.Unified {
		return t.Shares
	}
	return (t.Shares*defaultWeight + defaultSharesV1/2) / defaultSharesV1
}

// shares is a weight on libvirt's scale.
func (t tunables) shares(weight int64) int64 {
	if t.Unified {
		return weight
	}
	return max(2, weight*defaultSharesV1/defaultWeight)
}

// quota is a limit of the whole domain in millicores as each virtual cpu gets it, µs
// per period.
func (t tunables) quota(millicores int64) (int64, error) {
	if t.VCPUs <= 0 || t.Period <= 0 {
		return 0, fmt.Errorf("it has no cpu limit that could be changed")
	}
	quota := millicores * t.Period / 1000 / t.VCPUs
	if quota < leastQuota {
		return 0, fmt.Errorf("a limit of %d thousandths of a core is less than libvirt allows for %d vCPUs", millicores, t.VCPUs)
	}
	return quota, nil
}

// leastMemory is what a guest is left with: what it uses and a quarter more.
func (t tunables) leastMemory() int64 {
	used := t.Actual - t.Usable
	return min(used+used/spareDivisor, t.Actual)
}

// rigid says why the memory of a domain cannot be reclaimed while it runs, "" when it
// can.
func rigid(text string) (string, error) {
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return "", fmt.Errorf("domain XML: %w", err)
	}
	switch {
	case x.MemoryBacking != nil && x.MemoryBacking.MemoryHugePages != nil:
		return "its memory is made of huge pages", nil
	case x.MemoryBacking != nil && x.MemoryBacking.MemoryLocked != nil:
		return "its memory is locked", nil
	case x.Devices == nil || x.Devices.MemBalloon == nil || x.Devices.MemBalloon.Model == "none":
		return "it has no balloon", nil
	case x.Devices.MemBalloon.AutoDeflate == "on":
		return "its guest takes memory back by itself (autodeflate)", nil
	case len(x.Devices.Hostdevs) > 0:
		return "a device of the host pins its memory", nil
	}
	return "", nil
}
