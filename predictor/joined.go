package predictor

// Joined is a demand with one more member, like Demand.Add, whose scenarios are added up
// step by step when they are asked for. A workload is tried on every host of a fleet,
// and of most of them one step says that it does not fit.
type Joined struct {
	demand Demand
	member Block
	lag    int
}

// Join returns the demand with one more member.
func (d Demand) Join(b Block) Joined {
	if !d.dated {
		d.tick, d.dated = b.tick, true
	}
	return Joined{demand: d, member: b, lag: lagOf(d.tick, b)}
}

// Tick returns the last observed tick: step k is for Tick+k.
func (j *Joined) Tick() int64 { return j.demand.tick }

// Centre returns the sum of the members' centres at a step (1..Steps).
func (j *Joined) Centre(step int) float64 {
	k := index(step)
	centre := j.demand.centres[k]
	if j.member.amounts != nil {
		centre = addBounded(centre, j.member.centres[leading(k, j.lag)])
	}
	return float64(centre) / fraction
}

// Quantile is Demand.Quantile.
func (j *Joined) Quantile(step int, level float64) float64 {
	row := j.row(index(step))
	return quantileOf(arranged(row[:], level), level)
}

// Exceeds is Demand.Exceeds.
func (j *Joined) Exceeds(step int, limit float64) float64 {
	row := j.row(index(step))
	return exceedsOf(row[:], limit)
}

// row adds up the scenarios of one step (0 = the next tick).
func (j *Joined) row(k int) (out [Window]int64) {
	if j.demand.scenarios != nil {
		out = j.demand.scenarios[k]
	}
	if j.member.amounts != nil {
		j.member.addTo(&out, k, j.lag)
	}
	return out
}
