package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/traffic"
)

// newProxy runs the holding proxy of one host. An agent starts it; it outlives
// the agent.
func newProxy() *cobra.Command {
	var c traffic.Config
	cmd := &cobra.Command{Use: "proxy", Short: "The traffic proxy of one host (started by its agent)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Logger = hclog.New(&hclog.LoggerOptions{Name: "proxy", Output: cmd.ErrOrStderr()})
			proxy, err := traffic.NewProxy(c)
			if err != nil {
				return err
			}
			return proxy.Run(cmd.Context())
		}}
	f := cmd.Flags()
	f.StringVar(&c.Dir, "dir", "", "directory of its control socket")
	f.StringVar(&c.Address, "address", "", "IP address on which clients reach workloads")
	f.IntVar(&c.PeerPort, "peer-port", 0, "port for the proxies of other hosts")
	must(cmd.MarkFlagRequired("dir"))
	must(cmd.MarkFlagRequired("address"))
	return cmd
}
