// Package memnet is a network in memory for tests: hosts, links with latency,
// jitter, loss and one-way cuts, and stream connections that behave on them as
// TCP does (in order, sent again after a loss, silent while a link is cut). It
// waits on timers and channels only, so it works inside testing/synctest.
//
// It does not encrypt, and nothing but tests may import it.
package memnet
