package libvirt

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"time"

	"libvirt.org/go/libvirtxml"
)

// Domains that another manager starts, moves and ends are recognised and left to it:
// two managers that each correct the other would never come to rest.

// marks are what other managers leave in a domain's definition: a namespace in its
// metadata, or what the guest is told of its hardware (SMBIOS system product or
// manufacturer).
var marks = []struct{ manager, namespace, product string }{
	{"nova", "openstack.org/xmlns/libvirt/nova", "OpenStack"},
	{"oVirt", "ovirt.org/vm", "oVirt"},
	{"oVirt", "ovirt.org/vm/tune", "RHEV"},
	{"CloudStack", "apache.org/cloudstack", "CloudStack"},
	{"CloudStack", "apache.org/cloudstack", "Apache Software Foundation"},
	{"KubeVirt", "kubevirt.io", "KubeVirt"},
	{"Pacemaker", "clusterlabs.org", "Pacemaker"},
}

// managerOf names the manager whose mark a definition bears, "" for none.
func managerOf(x libvirtxml.Domain) string {
	metadata := ""
	if x.Metadata != nil {
		metadata = x.Metadata.XML
	}
	for _, m := range marks {
		if strings.Contains(metadata, m.namespace) {
			return m.manager
		}
	}
	for _, info := range x.SysInfo {
		if info.SMBIOS == nil || info.SMBIOS.System == nil {
			continue
		}
		for _, e := range info.SMBIOS.System.Entry {
			for _, m := range marks {
				if (e.Name == "product" || e.Name == "manufacturer") && strings.HasPrefix(e.Value, m.product) {
					return m.manager
				}
			}
		}
	}
	return ""
}

// pacemaker knows which domains the cluster manager of this host runs. It leaves no
// mark in them; its configuration (the CIB, which every member keeps on disk) names
// the file of each domain's definition.
type pacemaker struct {
	cib     string // path; absent on a host without Pacemaker
	changed time.Time
	domains map[string]bool // by name
}

// manages says whether the domain of that name is a resource of the cluster.
func (p *pacemaker) manages(name string) bool {
	info, err := os.Stat(p.cib)
	if err != nil {
		p.changed, p.domains = time.Time{}, nil
		return false
	}
	if !info.ModTime().Equal(p.changed) {
		if text, err := os.ReadFile(p.cib); err == nil {
			p.changed, p.domains = info.ModTime(), clusterDomains(text)
		} // else it is just being replaced: the last reading stands
	}
	return p.domains[name]
}

// clusterDomains reads the names of all VirtualDomain resources from a CIB.
func clusterDomains(cib []byte) map[string]bool {
	out := map[string]bool{}
	inside := false
	for dec := xml.NewDecoder(strings.NewReader(string(cib))); ; {
		t, err := dec.Token()
		if t == nil || err != nil {
			return out
		}
		switch e := t.(type) {
		case xml.StartElement:
			switch {
			case e.Name.Local == "primitive":
				inside = attribute(e, "type") == "VirtualDomain"
			case inside && e.Name.Local == "nvpair" && attribute(e, "name") == "config":
				out[domainName(attribute(e, "value"))] = true
			}
		case xml.EndElement:
			inside = inside && e.Name.Local != "primitive"
		}
	}
}

// domainName is the name in a definition's file; where that cannot be read, by
// custom, the file's.
func domainName(path string) string {
	if text, err := os.ReadFile(path); err == nil {
		var x libvirtxml.Domain
		if x.Unmarshal(string(text)) == nil && x.Name != "" {
			return x.Name
		}
	}
	return strings.TrimSuffix(filepath.Base(path), ".xml")
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
