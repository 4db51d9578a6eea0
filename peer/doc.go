// Package peer owns the calls that agents make to each other: a name, a JSON
// request, a JSON answer, over the rpc protocol of transport.
//
// It does not decide who may call what beyond the roles of a route, and it never
// repeats a call: what is safe to repeat is known only to the caller, who learns
// from the error whether the call certainly did not happen (ErrUnreachable), may
// have happened (ErrUnknownOutcome), or was answered (*Error).
//
// On the wire a call is an HTTP/1.1 POST to /v1/<name> inside the verified
// connection. Status 200 carries the answer, any other status an Error.
package peer
