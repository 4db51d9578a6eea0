package main

import (
	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/driver/libvirt"
)

// newGuard is libvirt's qemu hook. It must be quick and depend on nothing: no
// libvirt call (libvirtd waits for it), no network, no agent.
func newGuard() *cobra.Command {
	dir := "/var/lib/placed/libvirt"
	c := &cobra.Command{
		Use:   "guard DOMAIN OPERATION SUB-OPERATION EXTRA",
		Short: "Refuse to start a domain that was given to another host (libvirt's qemu hook)",
		Long: "Installed as /etc/libvirt/hooks/qemu (a script that runs: exec placed guard \"$@\"), it refuses to start a domain that placed\n" +
			"has given to another host, a domain on such a domain's disk, and an incoming migration under a token that this host has\n" +
			"not admitted. What it knows nothing of passes.",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return libvirt.Guard(dir, args, cmd.InOrStdin())
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "the libvirt driver's directory")
	return c
}
