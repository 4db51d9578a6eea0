// Package scorer owns the choice of a destination: which hosts may take one
// workload, with the reason for each that may not, and in which order the rest
// come, with the parts of every score.
//
// It forecasts nothing and plans nothing: what a host's demand would be with
// the workload on it comes in as a fleet.Forecast, and who moves is decided by
// planner.
package scorer
