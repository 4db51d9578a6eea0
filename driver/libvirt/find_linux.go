//go:build cgo && libvirt_dlopen

package libvirt

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// findProcess reads libvirt's pid file and makes sure that the process is the
// domain's QEMU.
func findProcess(dir, name, uuid string) (process, error) {
	text, err := os.ReadFile(filepath.Join(dir, name+".pid"))
	if err != nil {
		return process{}, fmt.Errorf("the number of the QEMU process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return process{}, fmt.Errorf("the number of the QEMU process: %w", err)
	}
	start, _, err := processStat(pid)
	if err != nil {
		return process{}, err
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return process{}, err
	}
	if !strings.Contains(string(command), "\x00-uuid\x00"+uuid+"\x00") {
		return process{}, fmt.Errorf("process %d is not the QEMU of domain %s", pid, name)
	}
	return process{PID: pid, Start: start, Boot: bootID()}, nil
}
