// Package region owns the driver for workloads that keep their whole state in
// one memfd (package workload is the sample of such a program): it starts them,
// finds them again after an agent restart, saves them, and reads, follows and
// fills their state for a migration. It needs no root and no hypervisor.
//
// It does not decide who may run where, holds no lease and moves no byte to
// another host.
//
// # What lies where
//
// Every workload has a directory below Config.Dir, named after its id with "/"
// written as "+":
//
//	spec.json         spec, token and process, written before it is needed
//	control.sock      the control socket of the process
//	lock              flocked by the process for as long as it lives
//	log, log.old      its output, this life and the one before
//	state.region      the saved state; there only while nothing runs
//	state.region.old  the state before the last start, for an operator
//
// "state.region" is put out of the way before the workload runs, so a file that
// is there is never older than what a process has acknowledged. Directories of
// workloads that died are kept below ".dead".
//
// # Who lives
//
// The lock is taken before the process is started and inherited by it. Whoever
// can take it knows that no process of this directory lives, whatever became of
// the agent that started it and of the process numbers.
package region
