package fleet

// Resource names one dimension of a Vector. The four built-in resources have
// fixed base units; every other name is a custom resource counted in
// thousandths (hugepages are one custom resource per NUMA cell and page size).
type Resource string

// The built-in resources and their base units.
const (
	CPU    Resource = "cpu"    // millicores
	Memory Resource = "memory" // bytes
	Net    Resource = "net"    // bytes per second
	Disk   Resource = "disk"   // bytes per second
)

// Resources lists the built-in resources in the order in which a Vector stores,
// encodes and prints them.
func Resources() [4]Resource { return [4]Resource{CPU, Memory, Net, Disk} }
