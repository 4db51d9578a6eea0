// Package predictor owns the way from a workload's history to a forecast: the
// features a host computes tick by tick, the centre and spread the leader
// derives from them, the joint demand of a host, its contention, and the
// backtest that says how far any of it may be trusted.
//
// It measures nothing, keeps no history beyond its eight-day ring and decides
// no move: `now` is a tick number given by the caller.
package predictor
