package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
	"github.com/placed-dev/placed/trace"
)

// matrix is which workloads of each host could go on on which other: by what hosts
// have and workloads require, whatever is free there.
type matrix struct {
	Hosts []string     `json:"hosts"`
	Cells []matrixCell `json:"cells"`
}

// matrixCell is one direction between two hosts, or two kinds of equal hosts.
type matrixCell struct {
	From      string          `json:"from"`
	To        string          `json:"to"`
	Workloads int             `json:"workloads"`
	Can       int             `json:"can"`
	Cannot    []matrixRefusal `json:"cannot,omitempty"`
}

type matrixRefusal struct {
	Reason    string   `json:"reason"`
	Workloads []string `json:"workloads"`
}

func showMatrix(cmd *cobra.Command, a *asker, c *api.Client) error {
	file, _, err := c.Fleet(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	read, err := trace.ReadFleet(bytes.NewReader(text))
	if err != nil {
		return err
	}
	m := matrixOf(read.View)
	if a.json {
		return printJSON(cmd.OutOrStdout(), m)
	}
	return m.print(cmd.OutOrStdout())
}

// kindOfHost are hosts that no workload can tell apart.
type kindOfHost struct {
	name  string
	hosts []fleet.HostView
}

// kindsOf groups equal hosts once there are too many of them for a table. Where ways
// between single hosts are barred each host is its own kind.
func kindsOf(view fleet.View) []kindOfHost {
	const shown = 12
	group := len(view.Hosts) > shown && !scorer.NewWays(view.Links).Barred()
	var out []kindOfHost
	place := map[string]int{}
	for _, h := range view.Hosts {
		if h.State == fleet.HostLeft {
			continue
		}
		key := string(h.ID)
		if group {
			key = fmt.Sprint(h.Capabilities)
		}
		i, known := place[key]
		if !known {
			i = len(out)
			place[key], out = i, append(out, kindOfHost{name: nameOfHost(h)})
		}
		out[i].hosts = append(out[i].hosts, h)
	}
	for i, k := range out {
		if n := len(k.hosts); n > 1 {
			out[i].name = fmt.Sprintf("%s and %d like it", k.name, n-1)
		}
	}
	return out
}

func nameOfHost(h fleet.HostView) string {
	if name := h.Labels["name"]; name != "" {
		return name
	}
	return string(h.ID)
}

func matrixOf(view fleet.View) matrix {
	kinds, ways := kindsOf(view), scorer.NewWays(view.Links)
	out := matrix{Hosts: make([]string, len(kinds))}
	for i, from := range kinds {
		out.Hosts[i] = from.name
		for j, to := range kinds {
			if i == j && len(from.hosts) == 1 {
				continue
			}
			cell := matrixCell{From: from.name, To: to.name}
			for _, w := range view.Workloads {
				source := slices.IndexFunc(from.hosts, func(h fleet.HostView) bool { return h.ID == w.Owner })
				if source < 0 {
					continue
				}
				cell.add(w, &from.hosts[source].Host, to.hosts[0], ways)
			}
			out.Cells = append(out.Cells, cell)
		}
	}
	return out
}

func (c *matrixCell) add(w fleet.WorkloadView, from *fleet.Host, to fleet.HostView, ways scorer.Ways) {
	c.Workloads++
	ok, why := scorer.Compatible(w, from, to, ways)
	if movable, pinned := w.Movable(); !movable {
		ok, why = false, "it is "+pinned
	}
	if ok {
		c.Can++
		return
	}
	i := slices.IndexFunc(c.Cannot, func(r matrixRefusal) bool { return r.Reason == why })
	if i < 0 {
		i, c.Cannot = len(c.Cannot), append(c.Cannot, matrixRefusal{Reason: why})
	}
	c.Cannot[i].Workloads = append(c.Cannot[i].Workloads, string(w.ID))
}

// print shows how many of a row's workloads could go to a column's host, and below
// why the others could not.
func (m matrix) print(out io.Writer) error {
	err := table(out, "FROM \\ TO\t"+strings.Join(m.Hosts, "\t"), func(w io.Writer) {
		for _, from := range m.Hosts {
			row := from
			for _, to := range m.Hosts {
				i := slices.IndexFunc(m.Cells, func(c matrixCell) bool { return c.From == from && c.To == to })
				switch {
				case i < 0:
					row += "\t"
				case m.Cells[i].Workloads == 0:
					row += "\t-"
				default:
					row += fmt.Sprintf("\t%d of %d", m.Cells[i].Can, m.Cells[i].Workloads)
				}
			}
			fmt.Fprintln(w, row)
		}
	})
	for _, c := range m.Cells {
		for _, r := range c.Cannot {
			list := r.Workloads
			if len(list) > 5 {
				list = append(slices.Clone(list[:5]), fmt.Sprintf("%d more", len(r.Workloads)-5))
			}
			fmt.Fprintf(out, "%s → %s  %s: %s\n", c.From, c.To, strings.Join(list, ", "), r.Reason)
		}
	}
	return err
}
