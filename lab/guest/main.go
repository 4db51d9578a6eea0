package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Ports of the guest.
const (
	echoPort    = 7777
	controlPort = 7778
)

func main() {
	if err := run(); err != nil {
		fmt.Println("guest:", err)
	}
	select {} // the first process must not end
}

func run() error {
	cmdline, err := boot()
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(cmdline["guest.ws"])
	if err != nil {
		size = 32 << 20
	}
	m, err := newMemory(size)
	if err != nil {
		return err
	}
	if rate, err := strconv.ParseInt(cmdline["guest.rate"], 10, 64); err == nil {
		m.setRate(rate)
	}
	go m.dirty()
	b := &burner{}
	if share, err := strconv.Atoi(cmdline["guest.burn"]); err == nil {
		b.share.Store(int64(share))
	}
	go b.burn()
	d, err := openDisk()
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if d != nil {
		go d.dirty()
	}
	go echo()
	fmt.Println("guest: ready")
	return control(m, b, d)
}

// echo answers a datagram with itself and a counter: every answer this guest has
// ever given has another number, so a copy of the guest gives itself away.
func echo() {
	conn, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", echoPort))
	if err != nil {
		fmt.Println("guest: echo:", err)
		return
	}
	buf := make([]byte, 2048)
	for count := uint64(1); ; count++ {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			continue
		}
		_, _ = conn.WriteTo(binary.BigEndian.AppendUint64(buf[:n:n], count), from) // a lost answer is what the prober looks for
	}
}

// burner uses a share of one CPU, in percent.
type burner struct{ share atomic.Int64 }

func (b *burner) burn() {
	const period = 20 * time.Millisecond
	for {
		busy := time.Duration(b.share.Load()) * period / 100
		for end := time.Now().Add(busy); time.Now().Before(end); {
			for range 2000 {
				sink = sink*3 + 1
			}
		}
		time.Sleep(period - busy)
	}
}

var sink uint64

// control serves one command per line: check (memory and disk), rate BYTES, burn PERCENT, stats.
func control(m *memory, b *burner, d *disk) error {
	l, err := net.Listen("tcp4", fmt.Sprintf(":%d", controlPort))
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(conn, m, b, d)
	}
}

func serve(conn net.Conn, m *memory, b *burner, d *disk) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		number := int64(0)
		if len(words) > 1 {
			number, _ = strconv.ParseInt(words[1], 10, 64)
		}
		answer := "ok"
		switch words[0] {
		case "check":
			err := m.check()
			if err == nil && d != nil {
				err = d.check()
			}
			if err != nil {
				answer = "broken: " + err.Error()
			}
		case "rate":
			m.setRate(number)
		case "burn":
			b.share.Store(min(max(number, 0), 100))
		case "stats":
			rate, written := m.stats()
			uptime, _ := os.ReadFile("/proc/uptime")
			answer = fmt.Sprintf("ok rate=%d written=%d burn=%d uptime=%s", rate, written, b.share.Load(), strings.Fields(string(uptime) + " ?")[0])
		default:
			answer = "unknown command"
		}
		if _, err := fmt.Fprintln(conn, answer); err != nil {
			return
		}
	}
}
