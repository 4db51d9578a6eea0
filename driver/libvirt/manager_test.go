package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestManagers: each manager is known by what it leaves in a definition, and a domain
// that nobody manages is nobody's.
func TestManagers(t *testing.T) {
	smbios := func(key, value string) string {
		return `<sysinfo type='smbios'><system><entry name='` + key + `'>` + value + `</entry></system></sysinfo>`
	}
	for text, want := range map[string]string{
		`<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>a</nova:name></nova:instance></metadata>`: "nova",
		smbios("product", "OpenStack Nova"):                                            "nova",
		smbios("product", "OpenStack Compute"):                                         "nova",
		`<metadata><ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0"/></metadata>`: "oVirt",
		smbios("product", "oVirt Node"):                                                "oVirt",
		smbios("product", "RHEV Hypervisor"):                                           "oVirt",
		smbios("manufacturer", "Apache Software Foundation"):                           "CloudStack",
		smbios("product", "CloudStack KVM Hypervisor"):                                 "CloudStack",
		`<metadata><kubevirt xmlns="http://kubevirt.io"><uid/></kubevirt></metadata>`:  "KubeVirt",
		smbios("manufacturer", "Dell Inc."):                                            "",
		`<metadata><x:app xmlns:x="https://example.org"/></metadata>`:                  "",
		``: "",
	} {
		d, err := readDefinition(`<domain type='kvm'><name>d</name><uuid>00000000-0000-4000-9000-00000000000b</uuid>` + text + `</domain>`)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if d.ManagedBy != want {
			t.Errorf("%s is managed by %q, want %q", text, d.ManagedBy, want)
		}
		managed := false
		for _, b := range d.movable(MovePolicy{Storage: "shared"}) {
			managed = managed || strings.Contains(b.Reason, "managed by "+want)
		}
		if managed != (want != "") {
			t.Errorf("%s: blocked for its manager: %v", text, managed)
		}
	}
}

// TestPacemaker: the resources of the host's cluster are its domains, by the name in
// the file that the resource names, and a change of the cluster is seen.
func TestPacemaker(t *testing.T) {
	dir := t.TempDir()
	cib, definition := filepath.Join(dir, "cib.xml"), filepath.Join(dir, "resource-7.xml")
	if err := os.WriteFile(definition, []byte(`<domain type='kvm'><name>payroll</name></domain>`), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(resources string, at time.Time) {
		t.Helper()
		text := `<cib validate-with="pacemaker-3.9"><configuration><resources>` + resources + `</resources></configuration></cib>`
		if err := os.WriteFile(cib, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(cib, at, at); err != nil {
			t.Fatal(err)
		}
	}
	p := &pacemaker{cib: cib}
	if p.manages("payroll") {
		t.Error("a host without Pacemaker has a resource")
	}
	at := time.Unix(1e9, 0)
	write(`<primitive id="ip" class="ocf" provider="heartbeat" type="IPaddr2"><instance_attributes id="i">
		<nvpair id="n" name="config" value="/etc/libvirt/qemu/innocent.xml"/></instance_attributes></primitive>
		<group id="g"><primitive id="vm" class="ocf" provider="heartbeat" type="VirtualDomain"><instance_attributes id="a">
		<nvpair id="b" name="hypervisor" value="qemu:///system"/><nvpair id="c" name="config" value="`+definition+`"/>
		</instance_attributes></primitive></group>
		<primitive id="old" class="ocf" provider="heartbeat" type="VirtualDomain"><instance_attributes id="d">
		<nvpair id="e" name="config" value="/nowhere/mail.xml"/></instance_attributes></primitive>`, at)
	for name, want := range map[string]bool{"payroll": true, "mail": true, "innocent": false, "resource-7": false} {
		if have := p.manages(name); have != want {
			t.Errorf("%s is Pacemaker's: %v", name, have)
		}
	}
	write("", at.Add(time.Second))
	if p.manages("payroll") {
		t.Error("a resource that was removed is still Pacemaker's")
	}
}
