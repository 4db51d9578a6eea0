// Package wal owns the files of raft's log: segments that are only appended to,
// with one fdatasync for each append.
//
// It does not know what an entry means and puts no checksum of its own into an
// entry that is handed out; who reads entries checks them (consensus does).
//
// # Format
//
// A segment is a file of fixed size, filled with zeros before it is used, so that
// an append changes no metadata of the file system. Its first sector of 512 bytes
// is the header, the others hold records, one behind the other. The last byte of
// every sector is a mark and no content, and every record ends with a mark, so a
// sector that was written is never all zeros.
//
// There are four kinds of records: entries (one append), a cut (entries from an
// index on are void: a new leader contradicts them), a drop (entries below an
// index are void: a snapshot holds them) and a close (the log goes on in the next
// segment, which is on disk already). Reading all records in order gives the log,
// whatever a crash has left. Segments without a living entry are removed, oldest
// first.
//
// # What a crash may leave, and what it may not
//
// Records are written and synced one by one. What was not synced when the power
// went is one record, the last one; of its sectors any may have been written and
// the others are as they were: zeros. Such a record was never acknowledged. It is
// wiped when the log is opened, and a word is logged. Everything else that does
// not check out is damage to what was acknowledged, and Open refuses it: a bad
// record all of whose sectors were written, a bad record before a good one, a file
// that is shorter than it was made, a missing file in the middle or behind a close.
package wal
