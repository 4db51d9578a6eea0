// Package trace owns the reading and writing of load traces as CSV: one series
// of values per workload on a fixed time step.
//
// It opens no file, unpacks nothing and knows no unit: what a value means is its
// caller's business.
package trace
