package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

func newTLS() *cobra.Command {
	tls := &cobra.Command{Use: "tls", Short: "Make the cluster's CA and certificates"}
	ca := &cobra.Command{Use: "ca", Short: "The certificate authority of one cluster"}
	cert := &cobra.Command{Use: "cert", Short: "Certificates of hosts and operators"}
	ca.AddCommand(newCACreate())
	cert.AddCommand(newCertCreate())
	tls.AddCommand(ca, cert)
	return tls
}

func newCACreate() *cobra.Command {
	var dir, cluster string
	cmd := &cobra.Command{Use: "create", Short: "Make a CA; keep its key away from the hosts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := transport.LoadCA(dir); err == nil {
				return fmt.Errorf("%s holds a CA already: making a new one would cut off every host that trusts it; choose another --dir", dir)
			}
			authority, err := transport.NewCA(cluster)
			if err != nil {
				return err
			}
			if err := authority.Write(dir); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "CA of cluster %s written to %s\n", cluster, dir)
			return nil
		}}
	cmd.Flags().StringVar(&dir, "dir", ".", "where to write it")
	cmd.Flags().StringVar(&cluster, "cluster", "", "id of the cluster, part of every certificate")
	must(cmd.MarkFlagRequired("cluster"))
	return cmd
}

func newCertCreate() *cobra.Command {
	var ca, role, id, out string
	var addresses []string
	var days int
	cmd := &cobra.Command{Use: "create", Short: "Issue the certificate of one host (voter, host) or operator", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			authority, err := transport.LoadCA(ca)
			if err != nil {
				return err
			}
			certPEM, keyPEM, err := authority.Issue(role, fleet.HostID(id), addresses, time.Duration(days)*24*time.Hour)
			if err != nil {
				return err
			}
			certFile, keyFile := filepath.Join(out, role+"-"+id+".pem"), filepath.Join(out, role+"-"+id+"-key.pem")
			if err := os.MkdirAll(out, 0o700); err != nil {
				return err
			}
			if err := transport.WritePair(certFile, keyFile, certPEM, keyPEM); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", certFile, keyFile)
			return nil
		}}
	f := cmd.Flags()
	f.StringVar(&ca, "ca", ".", "directory of the CA")
	f.StringVar(&role, "role", "host", "voter | host | operator")
	f.StringVar(&id, "id", "", "UUID of the host, or name of the operator")
	f.StringSliceVar(&addresses, "address", nil, "names and IP addresses of the host")
	f.StringVar(&out, "out", ".", "where to write certificate and key")
	f.IntVar(&days, "days", 365, "validity")
	must(cmd.MarkFlagRequired("id"))
	return cmd
}

func newKeygen() *cobra.Command {
	return &cobra.Command{Use: "keygen", Short: "Print a new gossip key (32 bytes, base64)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key := make([]byte, 32)
			if _, err := rand.Read(key); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), base64.StdEncoding.EncodeToString(key))
			return nil
		}}
}

// must is for mistakes in this program's own flag names.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
