// Package workload owns the sample process that moves: a process whose whole
// state lies in one memfd, which burns CPU and dirties pages as a trace tells it
// and serves a small key-value protocol, together with its client and a load
// that proves from outside that no acknowledged write is lost.
//
// It does not decide where it runs, copies nothing to another host and knows no
// host, lease or token beyond the opaque text it was given: that is the business
// of whichever agent connects to its control socket.
//
// # Life
//
// The process is meant to outlive the agent that started it. It ignores SIGINT,
// SIGTERM and SIGHUP, so that a Ctrl-C typed for the agent does not end it; it
// ends on the control request "exit" and on SIGKILL. Frozen, it stays frozen
// until an agent thaws it: the loss of the control connection changes nothing.
//
// # Client protocol
//
// One line per request and one line per answer over TCP, at most 4 KiB each:
//
//	PING          PONG <id> <pid> <counter>
//	SET <k> <v>   OK <counter>        in the state before the answer leaves
//	GET <k>       VALUE <v> | NONE
//	INCR          OK <counter>
//	INFO          one line of JSON
//	VERIFY        OK pages=<n> keys=<n> counter=<n> | BAD <reason>
//	ECHO <text>   <text>
//	anything else ERR <reason>
//
// The counter counts acknowledged writes and never goes back. A frozen process
// reads requests and answers them only after it is thawed.
//
// # Control protocol
//
// One JSON object per line and direction over the Unix socket "control.sock" in
// the workload's directory; see ControlRequest and ControlAnswer.
package workload
