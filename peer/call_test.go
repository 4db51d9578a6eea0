package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

type question struct {
	Text string `json:"text"`
}

type reply struct {
	Text string       `json:"text"`
	From fleet.HostID `json:"from"`
	Role string       `json:"role"`
}

func addEcho(s *Server) {
	Serve(s, "echo", func(_ context.Context, from transport.Identity, q question) (reply, error) {
		return reply{Text: q.Text, From: from.ID, Role: from.Role}, nil
	})
}

func TestCallCarriesRequestAnswerAndIdentity(t *testing.T) {
	c := newCluster(t)
	a := c.serve(t, addEcho)
	for _, role := range []string{transport.RoleVoter, transport.RoleHost, transport.RoleOperator} {
		cl, dials := c.client(t, role)
		for i := range 20 {
			text := fmt.Sprintf("message %d", i)
			got, err := Call[question, reply](within(t, 10*time.Second), cl, a.at, "echo", question{text})
			must(t, err)
			if got != (reply{text, hostA, role}) {
				t.Fatalf("got %+v", got)
			}
		}
		if dials.Load() != 1 {
			t.Errorf("20 calls in a row opened %d connections", dials.Load())
		}
	}
}

// capacityError is a refusal as a handler's package would define it.
type capacityError struct{ Want, Free int64 }

func (e *capacityError) Error() string           { return fmt.Sprintf("wants %d, %d free", e.Want, e.Free) }
func (e *capacityError) RPCError() (string, any) { return "capacity", e }

func TestErrorsKeepCodeAndDetail(t *testing.T) {
	c := newCluster(t)
	cl, _ := c.client(t, transport.RoleHost)
	leader := c.serve(t, func(s *Server) {
		Serve(s, "grant", func(context.Context, transport.Identity, question) (reply, error) {
			return reply{}, fmt.Errorf("grant: %w", &capacityError{Want: 8, Free: 6})
		})
		Serve(s, "plain", func(context.Context, transport.Identity, question) (reply, error) {
			return reply{}, errors.New("the disk is full")
		})
	})
	// A voter forwards to the leader: the answer must come through unchanged.
	voter := c.serve(t, func(s *Server) {
		Serve(s, "grant", func(ctx context.Context, _ transport.Identity, q question) (reply, error) {
			return Call[question, reply](ctx, cl, leader.at, "grant", q)
		})
	})
	for name, to := range map[string]Address{"asked directly": leader.at, "forwarded": voter.at} {
		_, err := Call[question, reply](within(t, 10*time.Second), cl, to, "grant", question{})
		var answer *Error
		if !errors.As(err, &answer) || answer.Code != "capacity" {
			t.Fatalf("%s: got %v", name, err)
		}
		var detail capacityError
		must(t, json.Unmarshal(answer.Detail, &detail))
		if detail != (capacityError{8, 6}) || !strings.Contains(err.Error(), "wants 8, 6 free") || !strings.Contains(err.Error(), "call grant on host "+string(hostB)) {
			t.Errorf("%s: %v, detail %+v", name, err, detail)
		}
		if errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: a clear no is taken for something else: %v", name, err)
		}
	}
	_, err := Call[question, reply](within(t, 10*time.Second), cl, leader.at, "plain", question{})
	var answer *Error
	if !errors.As(err, &answer) || answer.Code != CodeFailed || answer.Message != "the disk is full" {
		t.Errorf("a plain error: %v", err)
	}
}

func TestServerRefusals(t *testing.T) {
	c := newCluster(t)
	a := c.serve(t, func(s *Server) {
		addEcho(s)
		Serve(s, "large", func(_ context.Context, _ transport.Identity, q question) (int, error) { return len(q.Text), nil }, MaxBody(4<<20))
		Serve(s, "flood", func(context.Context, transport.Identity, question) (string, error) {
			return strings.Repeat("x", DefaultMaxBody+1), nil
		})
		Serve(s, "members", func(context.Context, transport.Identity, question) (string, error) { return "ok", nil }, Roles(transport.RoleVoter, transport.RoleHost))
		s.Handle("raw", func(_ context.Context, _ transport.Identity, body []byte) (any, error) {
			return json.RawMessage(body), nil
		}, MaxBody(16))
		s.Handle("unencodable", func(context.Context, transport.Identity, []byte) (any, error) { return make(chan int), nil })
	})
	host, _ := c.client(t, transport.RoleHost)
	operator, _ := c.client(t, transport.RoleOperator)
	big := question{strings.Repeat("x", DefaultMaxBody)}
	for _, test := range []struct {
		name string
		call func() error
		code string // "" = works
	}{
		{"unknown call", func() error { return ask(t, host, a.at, "no-such", question{}) }, CodeUnknownCall},
		{"not the path of a call", func() error { return ask(t, host, a.at, "../echo", question{}) }, CodeUnknownCall},
		{"request too large", func() error { return ask(t, host, a.at, "echo", big) }, CodeTooLarge},
		{"larger limit of a route", func() error { return ask(t, host, a.at, "large", big) }, ""},
		{"smaller limit of a route", func() error { return ask(t, host, a.at, "raw", "seventeen letters") }, CodeTooLarge},
		{"answer too large", func() error { return ask(t, host, a.at, "flood", question{}) }, CodeTooLarge},
		{"role that may", func() error { return ask(t, host, a.at, "members", question{}) }, ""},
		{"role that may not", func() error { return ask(t, operator, a.at, "members", question{}) }, CodeForbidden},
		{"wrong type", func() error { return ask(t, host, a.at, "echo", []int{1}) }, CodeBadRequest},
		{"answer that is no JSON", func() error { return ask(t, host, a.at, "unencodable", 1) }, CodeFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.call()
			var answer *Error
			switch {
			case test.code == "" && err != nil:
				t.Fatal(err)
			case test.code != "" && (!errors.As(err, &answer) || answer.Code != test.code):
				t.Fatalf("got %v, want code %s", err, test.code)
			}
		})
	}
	t.Run("answer larger than the caller accepts", func(t *testing.T) {
		_, err := Call[question, reply](within(t, 10*time.Second), host, a.at, "echo", question{"long"}, MaxAnswer(5))
		if !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "larger than 5 bytes") {
			t.Fatalf("got %v", err)
		}
	})
}

func ask(t testing.TB, cl *Client, to Address, name string, req any) error {
	_, err := Call[any, any](within(t, 10*time.Second), cl, to, name, req)
	return err
}

func TestDeadlineTravelsAndCancelReachesTheHandler(t *testing.T) {
	c := newCluster(t)
	left, gone := make(chan time.Duration, 1), make(chan error, 1)
	a := c.serve(t, func(s *Server) {
		Serve(s, "wait", func(ctx context.Context, _ transport.Identity, _ question) (reply, error) {
			deadline, _ := ctx.Deadline()
			left <- time.Until(deadline)
			<-ctx.Done()
			gone <- ctx.Err()
			return reply{}, ctx.Err()
		}, MaxTime(30*time.Second))
	})
	cl, _ := c.client(t, transport.RoleHost)

	ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
	result := make(chan error, 1)
	go func() { _, err := Call[question, reply](ctx, cl, a.at, "wait", question{}); result <- err }()
	if d := <-left; d > 7*time.Second || d < time.Second {
		t.Errorf("the handler has %s left, the caller gave 7 s", d)
	}
	cancel() // the caller goes away: the handler must not go on for 7 s
	<-gone
	if err := <-result; !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Errorf("the caller sees %v", err)
	}

	long, cancelLong := context.WithTimeout(context.Background(), time.Hour)
	defer cancelLong()
	go func() { _, err := Call[question, reply](long, cl, a.at, "wait", question{}); result <- err }()
	if d := <-left; d > 30*time.Second {
		t.Errorf("the handler got %s, its limit is 30 s", d)
	}
	cancelLong()
	<-gone
	<-result
}

// A hundred callers wait at once in one handler, and none is kept out.
func TestManyLongPollsAtOnce(t *testing.T) {
	c := newCluster(t)
	const n = 100
	var inside sync.WaitGroup
	inside.Add(n)
	a := c.serve(t, func(s *Server) {
		Serve(s, "poll", func(ctx context.Context, _ transport.Identity, i int) (int, error) {
			inside.Done()
			all := make(chan struct{})
			go func() { inside.Wait(); close(all) }()
			select {
			case <-all:
				return i, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
	})
	cl, _ := c.client(t, transport.RoleHost)
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() {
			if got, err := Call[int, int](within(t, 30*time.Second), cl, a.at, "poll", i); err != nil || got != i {
				t.Errorf("poll %d: %d, %v", i, got, err)
			}
		})
	}
	calls.Wait()
}

func TestHandleTwicePanics(t *testing.T) {
	s := NewServer(ServerConfig{})
	addEcho(s)
	defer func() {
		if recover() == nil {
			t.Error("a second registration was accepted")
		}
	}()
	addEcho(s)
}

// The pool's key stands for exactly one host and address.
func TestAddressKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Address{ID: fleet.HostID(rapid.StringMatching(`[a-z0-9._:/-]{0,40}`).Draw(t, "id")), Addr: rapid.StringMatching(`[a-z0-9.:\[\]]{1,40}`).Draw(t, "addr")}
		got, err := decodeAddress(encodeAddress(a) + ":80")
		if err != nil || got != a {
			t.Fatalf("%v became %v, %v", a, got, err)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	c := newCluster(b)
	a := c.serve(b, addEcho)
	cl, _ := c.client(b, transport.RoleHost)
	for b.Loop() {
		if _, err := Call[question, reply](context.Background(), cl, a.at, "echo", question{"x"}); err != nil {
			b.Fatal(err)
		}
	}
}
