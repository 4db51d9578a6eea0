package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// guestWith plays the agent in a guest, by its protocol: a command that ends after some
// time with some status, or an agent that says nothing.
type guestWith struct {
	program string
	takes   time.Duration
	exit    int
	signal  int
	mute    bool

	ran   []string
	began time.Time
}

func (g *guestWith) ask(ctx context.Context, command string) (string, error) {
	if g.mute {
		<-ctx.Done()
		return "", errors.New("Guest agent is not responding")
	}
	var c struct {
		Execute   string
		Arguments struct {
			Path string
			Arg  []string
			PID  int
		}
	}
	if err := json.Unmarshal([]byte(command), &c); err != nil {
		return "", err
	}
	switch {
	case c.Execute == "guest-ping":
		return `{"return":{}}`, nil
	case c.Execute == "guest-exec" && c.Arguments.Path == g.program:
		g.ran, g.began = append(g.ran, strings.Join(c.Arguments.Arg, " ")), time.Now()
		return `{"return":{"pid":77}}`, nil
	case c.Execute == "guest-exec":
		return "", errors.New("Guest agent command failed: no such file")
	case c.Execute == "guest-exec-status" && c.Arguments.PID == 77 && time.Since(g.began) < g.takes:
		return `{"return":{"exited":false}}`, nil
	case c.Execute == "guest-exec-status" && c.Arguments.PID == 77:
		answer, err := json.Marshal(map[string]any{"return": map[string]any{"exited": true, "exitcode": g.exit, "signal": g.signal}})
		return string(answer), err
	}
	return "", errors.New("unknown command " + command)
}

// TestNotice: a guest is waited for until it is ready, never longer than its time, and
// whatever it does the move is not kept from going on.
func TestNotice(t *testing.T) {
	for name, c := range map[string]struct {
		guest guestWith
		took  time.Duration
		said  string
	}{
		"ready soon":   {guestWith{program: "/n", takes: 1900 * time.Millisecond}, 2 * time.Second, `told "before" and was ready after 2s`},
		"never ready":  {guestWith{program: "/n", takes: time.Hour}, 5 * time.Second, "it has not ended in time"},
		"says no":      {guestWith{program: "/n", exit: 3}, 0, "ended with 3"},
		"killed":       {guestWith{program: "/n", signal: 9}, 0, "signal 9"},
		"no program":   {guestWith{program: "/other"}, 0, "no such file"},
		"mute agent":   {guestWith{mute: true}, 5 * time.Second, "not responding"},
		"told in full": {guestWith{program: "/n", takes: time.Millisecond}, execPoll, "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now() // virtual
				said := ask(c.guest.ask).tell(t.Context(), 5*time.Second, "/n", noticeBefore, "5")
				if took := time.Since(began); took != c.took || !strings.Contains(said, c.said) {
					t.Errorf("after %s: %s; want %s and %q", took, said, c.took, c.said)
				}
				if c.guest.program == "/n" && (len(c.guest.ran) != 1 || c.guest.ran[0] != "before 5") {
					t.Errorf("it ran %q", c.guest.ran)
				}
			})
		})
	}
}

// TestNoticeOfAStop: who stops the agent does not wait for a guest.
func TestNoticeOfAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		g := guestWith{program: "/n", takes: time.Hour}
		ask(g.ask).tell(ctx, time.Minute, "/n", noticeBefore)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// TestProbe: a guest has arrived well when it is heard, or, without a card on a bridge,
// when its agent answers; and each of the other cases is said.
func TestProbe(t *testing.T) {
	silent := []card{{MAC: "52:54:00:00:00:01", Bridge: "br0"}}
	for name, c := range map[string]struct {
		found sighting
		well  bool
		words string
	}{
		"heard":             {sighting{cards: 1}, true, "heard on its network"},
		"heard, agent mute": {sighting{cards: 1, agent: true}, true, "heard on its network"},
		"both":              {sighting{cards: 1, agent: true, answered: true}, true, "and its agent answers"},
		"agent alone":       {sighting{agent: true, answered: true}, true, "its agent answers"},
		"silent, agent":     {sighting{cards: 2, silent: silent, agent: true, answered: true}, false, "1 of 2 are silent"},
		"silent":            {sighting{cards: 1, silent: silent}, false, "bridge br0"},
		"agent mute":        {sighting{agent: true}, false, "does not answer"},
		"nothing to see":    {sighting{}, true, "nothing can be seen"},
	} {
		if said, well := c.found.verdict(); well != c.well || !strings.Contains(said, c.words) {
			t.Errorf("%s: %v %q, want %v with %q", name, well, said, c.well, c.words)
		}
	}
}

// TestProbeAsks: the agent is asked until it answers, beside listening, and given up after
// the probe's time.
func TestProbeAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		late := ask(func(context.Context, string) (string, error) {
			if tries++; tries < 4 {
				return "", errors.New("Guest agent is not connected")
			}
			return `{"return":{}}`, nil
		})
		began := time.Now() // virtual
		if found := (arrivedGuest{Agent: true}).probe(t.Context(), t.TempDir(), late); !found.answered || time.Since(began) != 3*execPoll {
			t.Errorf("after %s: %+v", time.Since(began), found)
		}
		mute := guestWith{mute: true}
		began = time.Now()
		if found := (arrivedGuest{Agent: true}).probe(t.Context(), t.TempDir(), mute.ask); found.answered || time.Since(began) != probeTime {
			t.Errorf("after %s: %+v", time.Since(began), found)
		}
	})
}

func FuzzAgent(f *testing.F) {
	f.Add(`{"return":{"exited":true,"exitcode":1}}`)
	f.Add(`{"return":[]}`)
	f.Fuzz(func(t *testing.T, answer string) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = ask(func(context.Context, string) (string, error) { return answer, nil }).run(ctx, "/n")
		})
	})
}
