// Package telemetry owns what a host knows of its own load: samples of its
// workloads and of itself, their means per tick of the load clock, and the
// history of a month on local disk.
//
// It forecasts nothing, sends nothing and never opens a trace; the caller says
// which processes are workloads and what time it is.
package telemetry
