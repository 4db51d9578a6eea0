package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// ErrUnknownOutcome: the connection broke after the request had left, so that
// it may have been done or not.
var ErrUnknownOutcome = errors.New("connection broke before the answer: outcome unknown")

// ErrNoServer: no address could be dialled; nothing was sent.
var ErrNoServer = errors.New("no address answers")

// Refusal is an answer "ERR …" or "BAD …": the workload lives and says no.
type Refusal struct {
	Request string
	Answer  string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Request, r.Answer) }

// Client speaks the client protocol to one workload under several addresses
// (one per host that forwards to it). It keeps one connection and stays with an
// address until that fails. It is not safe for concurrent use: one request at a
// time is its contract with the proxy's holding between messages.
type Client struct {
	addrs []string
	next  int
	conn  net.Conn
	in    *bufio.Reader
}

// dialTime bounds one attempt to connect, so that a dead host does not use up
// the deadline of a request.
const dialTime = time.Second

// retryPause keeps a client from hammering addresses that refuse.
const retryPause = 20 * time.Millisecond

// NewClient returns a client that has not connected yet.
func NewClient(addrs []string) *Client { return &Client{addrs: append([]string(nil), addrs...)} }

// Close ends the connection; the client may be used again.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn, c.in = nil, nil
	return err
}

// Do sends one request and returns the answer, without interpreting it, within
// ctx's deadline. It tries every address until one takes the connection
// (ErrNoServer), and never sends the request twice (ErrUnknownOutcome).
func (c *Client) Do(ctx context.Context, line string) (string, error) {
	if strings.ContainsAny(line, "\r\n") || len(line) >= MaxLine {
		return "", fmt.Errorf("request must be one line below %d bytes", MaxLine)
	}
	if err := c.connect(ctx); err != nil {
		return "", err
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := c.exchange(line)
	if !stop() && err == nil {
		// The deadline has struck this connection; the answer is good.
		_ = c.Close()
		return answer, nil
	}
	if err != nil {
		c.fail()
		return "", fmt.Errorf("%s at %s: %w: %w", verb(line), conn.RemoteAddr(), ErrUnknownOutcome, errors.Join(err, ctx.Err()))
	}
	return answer, nil
}

func (c *Client) exchange(line string) (string, error) {
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		return "", err
	}
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(answer, "\n"), nil
}

// connect keeps the connection there is, or tries every address once.
func (c *Client) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	var failed error = ErrNoServer
	for range c.addrs {
		dialer := net.Dialer{Timeout: dialTime}
		conn, err := dialer.DialContext(ctx, "tcp", c.addrs[c.next])
		if err == nil {
			c.conn, c.in = conn, bufio.NewReaderSize(conn, MaxLine)
			return nil
		}
		failed = fmt.Errorf("%w; %w", failed, err)
		c.next = (c.next + 1) % len(c.addrs)
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// fail gives up the connection and turns to the next address.
func (c *Client) fail() {
	_ = c.Close()
	c.next = (c.next + 1) % len(c.addrs)
}

// again repeats a request that may be done twice without harm until it is
// answered or ctx ends.
func (c *Client) again(ctx context.Context, line string) (string, error) {
	for {
		answer, err := c.Do(ctx, line)
		if err == nil {
			if strings.HasPrefix(answer, "ERR ") || strings.HasPrefix(answer, "BAD ") {
				return "", &Refusal{Request: verb(line), Answer: answer}
			}
			return answer, nil
		}
		if ctx.Err() != nil || !errors.Is(err, ErrNoServer) && !errors.Is(err, ErrUnknownOutcome) {
			return "", err
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return "", err
		}
	}
}

// Set stores the value and returns the counter; it is repeated until ctx ends.
func (c *Client) Set(ctx context.Context, key, value string) (uint64, error) {
	answer, err := c.again(ctx, "SET "+key+" "+value)
	if err != nil {
		return 0, err
	}
	return parseCounter(answer)
}

// Get returns the value and whether there is one; it is repeated until ctx ends.
func (c *Client) Get(ctx context.Context, key string) (string, bool, error) {
	answer, err := c.again(ctx, "GET "+key)
	if err != nil {
		return "", false, err
	}
	if answer == "NONE" {
		return "", false, nil
	}
	value, ok := strings.CutPrefix(answer, "VALUE ")
	if !ok {
		return "", false, fmt.Errorf("GET: answer %.64q is neither VALUE nor NONE", answer)
	}
	return value, true, nil
}

// Incr counts one and returns the counter. It is sent once only: an
// ErrUnknownOutcome may have counted.
func (c *Client) Incr(ctx context.Context) (uint64, error) {
	answer, err := c.Do(ctx, "INCR")
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(answer, "ERR ") {
		return 0, &Refusal{Request: "INCR", Answer: answer}
	}
	return parseCounter(answer)
}

// Ping returns the id, process and counter that answer.
func (c *Client) Ping(ctx context.Context) (id string, pid int, counter uint64, err error) {
	answer, err := c.again(ctx, "PING")
	if err != nil {
		return "", 0, 0, err
	}
	if _, err := fmt.Sscanf(answer, "PONG %s %d %d", &id, &pid, &counter); err != nil {
		return "", 0, 0, fmt.Errorf("PING: answer %.64q: %w", answer, err)
	}
	return id, pid, counter, nil
}

// Verify has the workload check its whole state; a *Refusal says what is wrong.
func (c *Client) Verify(ctx context.Context) (Verified, error) {
	answer, err := c.again(ctx, "VERIFY")
	if err != nil {
		return Verified{}, err
	}
	var v Verified
	if _, err := fmt.Sscanf(answer, "OK pages=%d keys=%d counter=%d", &v.Pages, &v.Keys, &v.Counter); err != nil {
		return Verified{}, fmt.Errorf("VERIFY: answer %.64q: %w", answer, err)
	}
	return v, nil
}

// Info describes the workload as it sees itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	answer, err := c.again(ctx, "INFO")
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal([]byte(answer), &info); err != nil {
		return Info{}, fmt.Errorf("INFO: %w", err)
	}
	return info, nil
}

func parseCounter(answer string) (uint64, error) {
	text, ok := strings.CutPrefix(answer, "OK ")
	n, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("answer %.64q is not OK with a counter", answer)
	}
	return n, nil
}

func verb(line string) string {
	v, _, _ := strings.Cut(line, " ")
	return v
}
