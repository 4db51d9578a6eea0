package reference

// Forecaster decides what is overloaded by looking at the past of the same day
// only. Demand is in MIPS; machines go by their index.
type Forecaster interface {
	// Observe is told the demand at every decision instant; machines that no
	// longer live ask for nothing.
	Observe(step int, demand, nominal []float64)
	// Row is what is summed over the machines of a host, of constant length.
	Row(machine int) []float64
	// Over judges a host of so many MIPS from the sum of its machines' rows.
	Over(total, demand float64, sum []float64) bool
}

// Online makes a detector of a forecaster.
func Online(f Forecaster) Detector { return &online{forecaster: f} }

type online struct {
	forecaster      Forecaster
	demand, nominal []float64
}

func (o *online) observe(w *world) {
	for _, v := range w.vms {
		for len(o.demand) <= v.index {
			o.demand, o.nominal = append(o.demand, 0), append(o.nominal, 0)
		}
	}
	clear(o.demand)
	for _, v := range w.vms {
		o.demand[v.index], o.nominal[v.index] = v.demand, v.mips
	}
	o.forecaster.Observe(w.step, o.demand, o.nominal)
}

func (o *online) vector(_ *world, v *vm, _ *class) []float64 { return o.forecaster.Row(v.index) }

func (o *online) over(l load) bool { return o.forecaster.Over(l.total, l.demand, l.sum) }
