// Package libvirt drives the domains of one libvirtd with the QEMU driver: what
// is there, what it uses, what it needs, and the hypervisor's part of a move.
//
// It decides nothing about owners: it starts, resumes and ends a copy when the
// migrator says so, and never ends a domain that did not come under a token of
// ours. It needs libvirt.so.0 at run time only; a build without cgo has a stub.
package libvirt
