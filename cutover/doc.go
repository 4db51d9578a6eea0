// Package cutover owns the two-party protocol that hands one workload from its
// source to its destination: two state machines, the durable words they give and
// the order in which words, messages and effects must happen.
//
// It carries nothing out: an event goes in, the ordered actions come out, and the
// migrator performs them. An action that fails, or a process that dies between
// two actions, is answered with one event, Restart, which tells the machine what
// is on disk and what runs. So crash and error share one path, the explored one.
//
// The rules (each side alone must keep them, whatever the other does):
//
//   - The destination runs only after its own word Activated is on disk, and
//     writes it only after Prepared and a learned Commit, or the source's
//     Relinquished.
//   - The destination's Refused is final: it never runs under that token.
//   - The source may thaw alone only while it has proposed nothing. Afterwards it
//     thaws on an applied Abort or the destination's Refused, and discards on the
//     destination's Activated; absence of an answer never decides.
//   - A restarted source that finds itself frozen cannot know whether it had
//     proposed: it takes it that it had.
//   - Relinquished is given only if no Abort was ever proposed here. Afterwards
//     only the destination's word moves the source, heard from it or, as an
//     aborted lease, from the books.
//   - The destination reports itself absent to the books only after Refused.
package cutover
