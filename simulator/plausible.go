package simulator

import "fmt"

// implausible says what about the load an operator should look at before he
// believes the figures.
func (s *Simulation) implausible() []string {
	var out []string
	all := 0.0
	for _, c := range s.capacity {
		all += c
	}
	total, silent, huge, first := 0.0, 0, 0, ""
	for _, w := range s.cfg.Workloads {
		sum, most := 0.0, 0.0
		for _, d := range w.Demand[s.cfg.From:s.cfg.To] {
			sum, most = sum+d, max(most, d)
		}
		total += sum / float64(s.cfg.To-s.cfg.From)
		if most == 0 {
			silent++
		}
		if most > s.capacity[s.hosts[w.Owner]] {
			if huge++; first == "" {
				first = string(w.ID)
			}
		}
	}
	switch mean := total / all; {
	case mean > 1:
		out = append(out, fmt.Sprintf("the fleet is asked for %.0f %% of what it has on average: no placement can serve that", 100*mean))
	case mean < 0.02:
		out = append(out, fmt.Sprintf("the fleet is asked for %.1f %% of what it has on average: is the unit of the traces right?", 100*mean))
	}
	if huge > 0 {
		out = append(out, fmt.Sprintf("%d workloads alone ask for more than their host has (the first is %s): no move helps them", huge, first))
	}
	if 2*silent > len(s.cfg.Workloads) {
		out = append(out, fmt.Sprintf("%d of %d workloads ask for nothing in the whole window", silent, len(s.cfg.Workloads)))
	}
	return out
}
