package peer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// DefaultTime bounds a call whose context has no deadline.
const DefaultTime = 15 * time.Second

const (
	// idleConnTime is shorter than the server's, so that the server does not
	// close a connection just when a call is written to it.
	idleConnTime = 60 * time.Second
	// maxConnsPerHost bounds the calls that run at once against one host; more
	// wait until their deadline.
	maxConnsPerHost     = 256
	maxIdleConnsPerHost = 8
)

// ClientConfig of a Client.
type ClientConfig struct {
	// Dial opens a verified connection for calls: transport's Dial with RPC.
	// When it fails, nothing of a request was sent.
	Dial func(ctx context.Context, addr string, want fleet.HostID) (net.Conn, error)
}

// Client calls other agents; it keeps connections open between calls. It is safe
// for concurrent use and starts no goroutine before the first call.
type Client struct {
	http   *http.Client
	closed atomic.Bool
}

// NewClient makes a client. Close it when done.
func NewClient(config ClientConfig) *Client {
	pool := &http.Transport{
		DialContext: func(ctx context.Context, _, hostport string) (net.Conn, error) {
			to, err := decodeAddress(hostport)
			if err != nil {
				return nil, err
			}
			return config.Dial(ctx, to.Addr, to.ID)
		},
		MaxConnsPerHost:        maxConnsPerHost,
		MaxIdleConnsPerHost:    maxIdleConnsPerHost,
		IdleConnTimeout:        idleConnTime,
		MaxResponseHeaderBytes: headerBytes,
		DisableCompression:     true,
	}
	return &Client{http: &http.Client{
		Transport: pool,
		// An answer that sends us elsewhere is not of this protocol.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes idle connections and refuses further calls; calls under way end
// with their contexts.
func (c *Client) Close() {
	c.closed.Store(true)
	c.http.CloseIdleConnections()
}

// CallOption overrides a default of one call.
type CallOption func(*callSettings)

type callSettings struct{ maxAnswer int64 }

// MaxAnswer sets the largest answer accepted, in bytes; default DefaultMaxBody.
func MaxAnswer(n int64) CallOption { return func(s *callSettings) { s.maxAnswer = n } }

// Call makes one call. The deadline of ctx travels with it; without one it is
// DefaultTime. The error is, or wraps, ErrUnreachable, ErrUnknownOutcome or the
// *Error that the peer answered.
func Call[Req, Resp any](ctx context.Context, c *Client, to Address, name string, req Req, options ...CallOption) (Resp, error) {
	var resp Resp
	body, err := json.Marshal(req)
	if err != nil {
		return resp, failure(to, name, fmt.Errorf("%w: encode the request: %w", ErrUnreachable, err))
	}
	settings := callSettings{maxAnswer: DefaultMaxBody}
	for _, option := range options {
		option(&settings)
	}
	text, err := c.call(ctx, to, name, body, settings)
	if err != nil {
		return resp, failure(to, name, err)
	}
	if resp, err = decode[Resp](text); err != nil {
		return resp, failure(to, name, fmt.Errorf("%w: the answer is not valid: %w", ErrUnknownOutcome, err))
	}
	return resp, nil
}

func (c *Client) call(ctx context.Context, to Address, name string, body []byte, settings callSettings) ([]byte, error) {
	if c.closed.Load() {
		return nil, fmt.Errorf("%w: the client is closed", ErrUnreachable)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTime)
		defer cancel()
	}
	// sent says that a connection was given to the request, so that bytes of it
	// may have left. net/http repeats a request by itself only when it wrote
	// nothing of it; each attempt begins with GetConn.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	request, err := newRequest(ctx, to, name, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		if !sent.Load() {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, cause(err))
		}
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, cause(err))
	}
	defer func() { _ = answer.Body.Close() }() // the answer was read, or failed
	return readAnswer(answer, settings.maxAnswer)
}

func newRequest(ctx context.Context, to Address, name string, body []byte) (*http.Request, error) {
	if to.Addr == "" {
		return nil, errors.New("its address is not known")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+encodeAddress(to)+pathPrefix+name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Host = "placed"
	request.Header.Set("Content-Type", "application/json")
	if deadline, ok := ctx.Deadline(); ok {
		ms := max(1, time.Until(deadline).Milliseconds())
		request.Header.Set(timeHeader, strconv.FormatInt(ms, 10))
	}
	return request, nil
}

func readAnswer(answer *http.Response, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: the answer was cut short: %w", ErrUnknownOutcome, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: the answer is larger than %d bytes", ErrUnknownOutcome, limit)
	}
	if answer.StatusCode == http.StatusOK {
		return text, nil
	}
	var refusal Error
	if err := json.Unmarshal(text, &refusal); err != nil || refusal.Code == "" {
		return nil, &Error{Code: CodeFailed, Message: fmt.Sprintf("it answered %s: %.200q", answer.Status, text)}
	}
	return nil, &refusal
}

// cause drops net/http's "Post <url>", which holds only our encoded address.
func cause(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// encodeAddress turns id and address into one host name, which is the key of
// net/http's pool: a connection verified for one host never serves a call for
// another that took over its address.
func encodeAddress(a Address) string {
	return hex.EncodeToString([]byte(string(a.ID) + "\n" + a.Addr))
}

func decodeAddress(hostport string) (Address, error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return Address{}, err
	}
	text, err := hex.DecodeString(host)
	if err != nil {
		return Address{}, err
	}
	id, addr, ok := strings.Cut(string(text), "\n")
	if !ok {
		return Address{}, fmt.Errorf("address %q has no host id", text)
	}
	return Address{ID: fleet.HostID(id), Addr: addr}, nil
}

// decode reads exactly one JSON value. Unknown fields are accepted: agents of
// neighbouring versions speak with each other.
func decode[T any](text []byte) (T, error) {
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	return v, nil
}
