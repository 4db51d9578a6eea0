package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxAnswer bounds what the client reads of one answer.
const maxAnswer = 64 << 20

// writeAttempts: a write that meets an election or a broken connection is sent
// again under the same id, so it cannot happen twice.
const writeAttempts = 4

// get reads one object.
func get[T any](ctx context.Context, c *Client, path string, query url.Values, q QueryOptions) (T, Meta, error) {
	var out T
	if query == nil {
		query = url.Values{}
	}
	timeout := c.timeout
	if q.Stale {
		query.Set("stale", "true")
	}
	if q.Index > 0 {
		wait := q.Wait
		if wait <= 0 {
			wait = 30 * time.Second
		}
		wait = min(wait, MaxWait)
		query.Set("index", strconv.FormatUint(q.Index, 10))
		query.Set("wait", wait.String())
		timeout += wait
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := c.send(ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		return out, Meta{}, err
	}
	defer answer.Body.Close()
	meta, err := ParseMeta(answer.Header)
	if err != nil {
		return out, Meta{}, fmt.Errorf("GET %s: %w", path, err)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&out); err != nil {
		return out, meta, fmt.Errorf("GET %s: unreadable answer: %w", path, err)
	}
	return out, meta, nil
}

// write sends a write until it is answered, at most writeAttempts times.
func (c *Client) write(ctx context.Context, method, path string, body any) (Accepted, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return Accepted{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	var accepted Accepted
	err = c.repeat(ctx, method, path, content, &accepted)
	return accepted, err
}

// repeat sends a write under one id until it is answered.
func (c *Client) repeat(ctx context.Context, method, path string, content []byte, out any) error {
	id := rand.Text()
	for attempt := 1; ; attempt++ {
		err := c.writeOnce(ctx, method, path, content, id, out)
		if err == nil || attempt == writeAttempts || !worthRepeating(err) {
			return err
		}
		if !pause(ctx, c.retryDelay<<(attempt-1)) {
			return err
		}
	}
}

func (c *Client) writeOnce(ctx context.Context, method, path string, content []byte, id string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.send(ctx, method, path, nil, content, id)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s %s: unreadable answer: %w", method, path, err)
	}
	return nil
}

// worthRepeating: the agent could not be asked, or there was no leader. What an
// agent refused for another reason it will refuse again.
func worthRepeating(err error) bool {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Status == http.StatusServiceUnavailable
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// send makes one request and turns refusals into *Error. path is escaped. The
// caller closes the body of the answer.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte, id string) (*http.Response, error) {
	target, err := c.base.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(HeaderIdempotency, id)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("agent at %s does not answer: %w", c.base.Host, err)
	}
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, readRefusal(answer)
}

func readRefusal(answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // a cut-off body still names the status
	var body ErrorBody
	if json.Unmarshal(text, &body) == nil && body.Error != nil {
		body.Error.Status = answer.StatusCode
		return body.Error
	}
	return &Error{
		Status: answer.StatusCode, Code: CodeInternal,
		Message: fmt.Sprintf("unexpected answer %q", answer.Status),
		Hint:    "is the address that of a placed agent's HTTP API?",
	}
}
