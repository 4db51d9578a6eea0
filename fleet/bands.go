package fleet

// Bands are what the leader makes of one series beyond its features: either
// calibrated quantiles that bend the plain forecast, or the word that no forecast
// of this series may be acted upon.
type Bands struct {
	// Model that the calibrated quantiles come from, as "pool/cpu version 7".
	Model string `json:"model,omitempty"`
	// Reactive: no forecast has earned trust. The series counts with what it
	// uses now, Reason says why.
	Reactive bool   `json:"reactive,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// From[k] and To[k] are ascending amounts in base units for Tick+k+1: where
	// the plain forecast says From[k][i], To[k][i] is meant. Both are empty when
	// the plain forecast stands as it is.
	From [][]float64 `json:"from,omitempty"`
	To   [][]float64 `json:"to,omitempty"`
}
