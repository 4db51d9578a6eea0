// Package trace owns the reading and writing of load traces as CSV, one series
// of values per workload on a fixed time step, and the reading of fleet files
// (JSON to fleet.View).
//
// It opens no file, unpacks nothing and knows no unit of a trace: what a value
// means is its caller's business.
package trace
