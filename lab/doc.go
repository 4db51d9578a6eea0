// Package lab owns real hosts on one machine: a libvirtd per network namespace,
// guests that check their own memory, a switch between them and a prober that
// sees from outside who answers.
//
// It proves nothing itself and knows no promise: the tests and the demo use it.
package lab
