package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Watch is a running prober.
type Watch struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   bytes.Buffer
	errs  bytes.Buffer
}

// Watch starts a prober of a guest as a process of its own: argv is a program
// that calls ProbeMain with what is appended.
func (l *Lab) Watch(g Guest, every time.Duration, argv ...string) (*Watch, error) {
	args := append(argv[1:], l.SwitchNamespace(), g.Address(), every.String())
	for _, h := range l.Hosts {
		args = append(args, h.port())
	}
	w := &Watch{cmd: exec.Command(argv[0], args...)}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.errs
	var err error
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.cmd.Start()
}

// Stop ends the prober and returns what it saw.
func (w *Watch) Stop() (Sight, error) {
	_ = w.stdin.Close() // its end is the signal
	if err := w.cmd.Wait(); err != nil {
		return Sight{}, fmt.Errorf("prober: %w: %s", err, w.errs.Bytes())
	}
	var s Sight
	err := json.Unmarshal(w.out.Bytes(), &s)
	return s, err
}
