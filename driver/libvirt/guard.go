package libvirt

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// The guard's table is what this host knows of its own about domains that live
// elsewhere, and what it has admitted. It is small files in one directory, so that
// a hook of libvirtd can read it without the agent, the network or a leader.

// elsewhere says that a domain was given to another host.
type elsewhere struct {
	UUID  string       `json:"uuid"`
	Name  string       `json:"name"`
	To    fleet.HostID `json:"to"`
	Token fleet.Token  `json:"token"`
	// Disks that it writes and that may be the same storage here; Left are the
	// files that it has left behind, its disks having travelled.
	Disks []string   `json:"disks,omitempty"`
	Left  []leftover `json:"left,omitempty"`
}

func guardDir(dir string) string { return filepath.Join(dir, "guard") }

func elsewhereFile(dir, uuid string) string {
	return filepath.Join(guardDir(dir), "elsewhere-"+filepath.Base(uuid))
}

func admittedFile(dir string, id fleet.WorkloadID, t fleet.Token) string {
	return filepath.Join(guardDir(dir), "admitted-"+passage(id, t))
}

// passage names one workload's move, short and fit for a file. The token alone does
// not tell moves apart: all grants of one entry in the books have the same, and two
// guests that left in one pass would meet in each other's sockets.
func passage(id fleet.WorkloadID, t fleet.Token) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%d-%d-%x", t.Generation, t.Index, sum[:8])
}

// putGuard writes one file of the table whole or not at all.
func putGuard(path string, v any) error {
	if err := putRecord(path, v); err != nil {
		return fmt.Errorf("guard table: %w", err)
	}
	return nil
}

// writable lists the sources of a domain's writable disks, and apart from them the
// files that stay behind when it moves, because their content travels.
func (d definition) writable(p MovePolicy) (disks, left []string) {
	for _, k := range d.Disks {
		switch {
		case k.Kind == "none" || k.ReadOnly || k.Shared:
		case p.Storage != "shared" && k.travels():
			left = append(left, k.Source)
		default:
			disks = append(disks, k.Kind+" "+k.Source)
		}
	}
	return disks, left
}

// Guard answers libvirt's qemu hook: nil lets the operation pass. dir is the
// driver's directory, args are those of the hook (name, operation,
// sub-operation, extra) and in is the domain's XML. What it knows nothing of it
// lets pass; a "reconnect" always, because libvirtd kills the guest otherwise.
func Guard(dir string, args []string, in io.Reader) error {
	if len(args) < 2 {
		return errors.New("usage: placed guard DOMAIN OPERATION SUB-OPERATION EXTRA, as libvirt calls its qemu hook")
	}
	switch args[1] {
	case "prepare", "start", "migrate", "restore":
	default:
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(in, 4<<20))
	if err != nil {
		return nil // without the XML nothing is known of the domain
	}
	def, err := readDefinition(string(text))
	if err != nil {
		return nil
	}
	records, err := readElsewhere(dir)
	if err != nil || len(records) == 0 && args[1] != "migrate" {
		return nil
	}
	return judge(dir, args[1], def, records)
}

// judge decides by the table alone.
func judge(dir, operation string, def definition, records []elsewhere) error {
	admitted := false
	if !def.Journey.Token.IsZero() {
		_, err := os.Stat(admittedFile(dir, def.id(), def.Journey.Token))
		admitted = err == nil
	}
	if operation == "migrate" && !def.Journey.Token.IsZero() && !admitted {
		return fmt.Errorf("placed: domain %s comes in under token %s, which this host has not admitted", def.Name, def.Journey.Token)
	}
	if admitted {
		return nil
	}
	mine := map[string]bool{}
	disks, _ := def.writable(MovePolicy{Storage: "shared"})
	for _, k := range disks {
		mine[k] = true
	}
	for _, r := range records {
		if r.UUID == def.UUID {
			return fmt.Errorf("placed: domain %s (%s) was given to host %s under token %s: start it there; if that host is gone for good, remove %s",
				def.Name, def.UUID, r.To, r.Token, elsewhereFile(dir, r.UUID))
		}
		for _, k := range r.Disks {
			if mine[k] {
				return fmt.Errorf("placed: domain %s writes to %s, which belongs to domain %s on host %s", def.Name, k, r.Name, r.To)
			}
		}
	}
	return nil
}

func readElsewhere(dir string) ([]elsewhere, error) {
	files, err := filepath.Glob(filepath.Join(guardDir(dir), "elsewhere-*"))
	if err != nil {
		return nil, err
	}
	var out []elsewhere
	for _, path := range files {
		if strings.HasSuffix(path, ".new") {
			continue
		}
		data, err := os.ReadFile(path)
		var r elsewhere
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
