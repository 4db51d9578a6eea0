// Command bench races the books of placed against etcd: three processes each on
// loopback, on one disk, with fsync, driven by clients in this process. It
// prints the table of docs/books.md.
//
// It lives in a module of its own so that the product does not depend on the
// etcd client. It judges nothing: whoever reads the table does.
package main
