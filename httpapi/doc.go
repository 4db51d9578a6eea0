// Package httpapi owns the HTTP face of an agent: the /v1 handlers, the event
// stream, the metrics page and the embedded web UI.
//
// It decides nothing and holds no state of the cluster: everything it shows or
// changes goes through the Backend that it declares.
package httpapi
