package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The prober stands at the switch, outside of every host and of placed. It sends
// each probe to every host's port at the same moment, addressed so that a copy of
// the guest answers wherever it runs, and notes through which port each answer
// came and which number the guest gave it. So it sees two running copies even
// where a network would hide one.

// Sight is what a prober has seen.
type Sight struct {
	Started time.Time     `json:"started"`
	Every   time.Duration `json:"every"`
	Probes  uint64        `json:"probes"`
	// Stays are the times the guest has answered from one host, in order.
	Stays []Stay `json:"stays"`
	// Double counts the answers whose number the guest had given before: two
	// copies that run go on from the same number, and so does a copy that is
	// older than what the guest has already answered. (The probes' numbers say
	// nothing: a stopped copy answers late what its host has kept for it.)
	Double int `json:"double"`
	// Gap is the longest time between two answers, At its begin.
	Gap   time.Duration `json:"gap"`
	GapAt time.Duration `json:"gap_at"`
}

// Stay is a run of answers from one host.
type Stay struct {
	Host       string        `json:"host"`
	From, To   time.Duration `json:"-"`
	FromMS     float64       `json:"from_ms"`
	ToMS       float64       `json:"to_ms"`
	Answers    int           `json:"answers"`
	FirstCount uint64        `json:"first_count"`
	LastCount  uint64        `json:"last_count"`
}

const probeSource = 40000

// Probe sends probes to a guest until ctx ends, and tells what it saw. It must
// run in a process of its own: it moves its thread into the switch's namespace.
func Probe(ctx context.Context, namespace, guest string, ports []string, every time.Duration) (Sight, error) {
	runtime.LockOSThread() // never unlocked: the thread stays in the namespace
	if err := enter(namespace); err != nil {
		return Sight{}, err
	}
	to, err := netip.ParseAddr(guest)
	if err != nil {
		return Sight{}, err
	}
	p := &prober{to: to, began: time.Now(), seen: map[uint64]string{}}
	for _, name := range ports {
		fd, err := openPort(name)
		if err != nil {
			return Sight{}, err
		}
		defer unix.Close(fd)
		p.ports = append(p.ports, port{fd: fd, host: "h" + strings.TrimPrefix(name, "g")})
	}
	s := Sight{Started: p.began, Every: every}
	next := p.began
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(next) {
			s.Probes++
			p.send(s.Probes)
			next = now.Add(every)
		}
		p.receive(&s, next)
	}
	return s, nil
}

type port struct {
	fd   int
	host string
}

type prober struct {
	ports []port
	to    netip.Addr
	began time.Time
	seen  map[uint64]string // the guest's own number of an answer -> through which host it came
	last  time.Duration
}

// openPort takes all protocols: a port of a bridge hands only such listeners what
// the bridge then takes.
func openPort(name string) (int, error) {
	proto := int(htons(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return -1, err
	}
	index, err := interfaceIndex(fd, name)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("port %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

// interfaceIndex asks the kernel in this thread's namespace.
func interfaceIndex(fd int, name string) (int, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, err
	}
	return int(r.Uint32()), nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// send puts one probe on every port. A link that is down loses it: as in life.
func (p *prober) send(seq uint64) {
	frame := probeFrame(p.to, seq)
	for _, out := range p.ports {
		_ = unix.Send(out.fd, frame, 0)
	}
}

// probeFrame is Ethernet broadcast, IPv4 and UDP with the number as payload. The
// UDP checksum is left out, as IPv4 allows.
func probeFrame(to netip.Addr, seq uint64) []byte {
	f := make([]byte, 0, 64)
	f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x78, 0x00, 0xfe, 0x08, 0x00)
	header := []byte{0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 10, 78, 0, switchHost}
	dst := to.As4()
	header = append(header, dst[:]...)
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum+sum>>16))
	f = append(f, header...)
	f = binary.BigEndian.AppendUint16(f, probeSource)
	f = binary.BigEndian.AppendUint16(f, 7777)
	f = append(f, 0, 16, 0, 0)
	return binary.BigEndian.AppendUint64(f, seq)
}

// receive takes answers until the next probe is due.
func (p *prober) receive(s *Sight, until time.Time) {
	fds := make([]unix.PollFd, len(p.ports))
	for i, in := range p.ports {
		fds[i] = unix.PollFd{Fd: int32(in.fd), Events: unix.POLLIN}
	}
	wait := max(int(time.Until(until).Milliseconds()), 1)
	if n, err := unix.Poll(fds, wait); n <= 0 || err != nil {
		return
	}
	buf := make([]byte, 2048)
	for i, in := range p.ports {
		if fds[i].Revents&unix.POLLIN == 0 {
			continue
		}
		for {
			n, _, err := unix.Recvfrom(in.fd, buf, 0)
			if err != nil {
				break
			}
			p.answer(s, in.host, buf[:n])
		}
	}
}

func (p *prober) answer(s *Sight, host string, f []byte) {
	from := p.to.As4()
	if len(f) < 58 || f[23] != 17 || [4]byte(f[26:30]) != from || binary.BigEndian.Uint16(f[34:]) != 7777 || binary.BigEndian.Uint16(f[36:]) != probeSource {
		return
	}
	count, at := binary.BigEndian.Uint64(f[50:]), time.Since(p.began)
	_, twice := p.seen[count]
	p.seen[count] = host
	if twice {
		s.Double++
	}
	if p.last > 0 && at-p.last > s.Gap {
		s.Gap, s.GapAt = at-p.last, p.last
	}
	p.last = at
	ms := float64(at) / float64(time.Millisecond)
	if n := len(s.Stays); n > 0 && s.Stays[n-1].Host == host {
		t := &s.Stays[n-1]
		t.To, t.ToMS, t.LastCount = at, ms, count
		t.Answers++
	} else {
		s.Stays = append(s.Stays, Stay{Host: host, From: at, To: at, FromMS: ms, ToMS: ms, Answers: 1, FirstCount: count, LastCount: count})
	}
}

// ProbeMain is the prober's process: arguments are the namespace, the guest's
// address, the interval and the ports; it ends when its standard input does, and
// prints what it saw as JSON.
func ProbeMain(args []string) error {
	if len(args) < 4 {
		return errors.New("usage: probe NAMESPACE GUEST INTERVAL PORT…")
	}
	every, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	s, err := Probe(ctx, args[0], args[1], slices.Clone(args[3:]), every)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}
