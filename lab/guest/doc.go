// Command guest is the whole system of a lab guest: the static /init of its
// initrd. It owns a memory dirtier, a CPU burner, a UDP echo and a control port
// with an integrity check of every page of its working set.
//
// It stores nothing and knows nothing of hosts or migrations: whatever a move
// breaks must show in what it answers.
package main
