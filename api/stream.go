package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxLine bounds one line of the stream.
const maxLine = 1 << 20

// StreamOptions say which events to follow.
type StreamOptions struct {
	// After is where to begin; nil begins with the next event, the zero
	// Cursor with the oldest event that is kept.
	After *Cursor
	// Topics to follow, empty = all.
	Topics []string
	// Heartbeats are handed on too: they say that everything up to their
	// index has been handed on.
	Heartbeats bool
}

// Events calls handle for each event in order, exactly once, until ctx ends or
// handle returns an error, which is returned. A broken connection is made again
// at the place where it broke; a silent one counts as broken. When events were
// lost because the agent no longer keeps them, handle gets an event of
// TopicStream and TypeTruncated. A refusal that will not heal ends the stream.
func (c *Client) Events(ctx context.Context, o StreamOptions, handle func(Event) error) error {
	delay := c.retryDelay
	for {
		progressed, err := c.follow(ctx, &o, handle)
		var stop handleError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &stop):
			return stop.error
		case !healing(err):
			return err
		}
		if progressed {
			delay = c.retryDelay
		}
		if !pause(ctx, delay) {
			return ctx.Err()
		}
		delay = min(2*delay, 5*time.Second)
	}
}

// handleError marks an error of the caller's own function.
type handleError struct{ error }

// healing reports whether another attempt may succeed.
func healing(err error) bool {
	var refused *Error
	if !errors.As(err, &refused) {
		return true
	}
	return refused.Status >= 500 || refused.Status == http.StatusTooManyRequests
}

// follow reads one connection to its end and keeps o.After current.
func (c *Client) follow(ctx context.Context, o *StreamOptions, handle func(Event) error) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// An agent that is gone without a word is noticed by its silence.
	watchdog := time.AfterFunc(c.silence, cancel)
	defer watchdog.Stop()

	query := url.Values{"topic": o.Topics}
	if o.After != nil {
		query.Set("index", strconv.FormatUint(o.After.Index, 10))
		query.Set("seq", strconv.Itoa(o.After.Seq))
	}
	answer, err := c.send(ctx, http.MethodGet, "/v1/event/stream", query, nil, "")
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()

	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		watchdog.Reset(c.silence)
		var event Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return progressed, fmt.Errorf("event stream of %s: unreadable line: %w", c.base.Host, err)
		}
		progressed = true
		if o.Heartbeats || event.Topic != TopicStream || event.Type != TypeHeartbeat {
			if err := handle(event); err != nil {
				return true, handleError{err}
			}
		}
		if event.Topic != TopicStream || event.Type == TypeHeartbeat {
			after := event.Cursor()
			o.After = &after
		}
	}
	return progressed, lines.Err()
}
