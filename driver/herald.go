package driver

// Herald is a Driver that hears from its hypervisor when workloads come, go or change,
// so that nobody has to wait for the next inventory.
type Herald interface {
	Driver
	// News receives after something may have changed; what, an inventory tells.
	// News that nobody has taken yet are not repeated. One reader.
	News() <-chan struct{}
}
