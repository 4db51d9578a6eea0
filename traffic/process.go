package traffic

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// protocolVersion is that of the control socket and of the forward preamble.
const protocolVersion = 1

// Identity says which process serves; StartTime and BootID tell it from a later
// one with the same number.
type Identity struct {
	Protocol  int    `json:"protocol"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks since boot, proc(5)
	BootID    string `json:"boot_id"`
	Address   string `json:"address"`
	PeerPort  int    `json:"peer_port"`
}

// identify reads who a process is from /proc.
func identify(pid int) (Identity, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("boot id: %w", err)
	}
	start, err := startTime(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTime: start, BootID: strings.TrimSpace(string(boot))}, nil
}

// startTime is field 22 of /proc/PID/stat, counted after the command in
// parentheses, which may itself contain anything.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("start time of process %d: /proc/%d/stat has only %d fields", pid, pid, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

func (i Identity) same(o Identity) bool {
	return i.PID == o.PID && i.StartTime == o.StartTime && i.BootID == o.BootID
}
