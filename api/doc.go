// Package api owns the wire types of placed's HTTP API and the Go client for it.
//
// It decides nothing and knows none of placed's other packages, so that any
// program can import it with the standard library alone. Field names are
// snake_case; durations are numbers whose name carries the unit (…_ms machine
// time, …_s seconds); times are RFC 3339; an absent time means "not yet" or
// "not applicable".
package api
