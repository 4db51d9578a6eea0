package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/placed-dev/placed/api"
)

// fetch reads one object for the answer.
type fetch func(ctx context.Context, r *http.Request) (any, error)

// read makes the handler of a read: wait if asked to, then a barrier unless the
// caller takes a stale answer, then the object.
func (s *Server) read(get fetch) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := queryOptions(r.URL.Query())
		if err != nil {
			return err
		}
		control := http.NewResponseController(w)
		extendDeadlines(control, q.Wait+2*s.config.Timeout)
		if q.Index > 0 {
			if err := s.wait(r, q); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
		defer cancel()
		if err := s.catchUp(ctx, w, q); err != nil {
			return err
		}
		// Taken before the read: the answer is at least this new, so a
		// blocking query that follows misses nothing.
		meta := s.backend.Meta()
		object, err := get(ctx, r)
		meta.Write(w.Header())
		if err != nil {
			return err
		}
		s.writeJSON(w, r, http.StatusOK, object)
		return nil
	}
}

// wait blocks until the log is beyond the index or the wait is over; both are
// followed by an ordinary answer.
func (s *Server) wait(r *http.Request, q api.QueryOptions) error {
	if !s.waiting.take() {
		return refuseBusy("blocking queries", cap(s.waiting))
	}
	defer s.waiting.give()
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	ctx, release := untilStop(r)
	defer release()
	ctx, cancel := context.WithTimeout(ctx, q.Wait)
	defer cancel()
	if err := s.backend.Wait(ctx, q.Index); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for index %d: %w", q.Index, err)
	}
	return nil
}

// extendDeadlines replaces the connection's limits where a request may take
// longer. Handlers that run without a connection (tests) have none.
func extendDeadlines(c *http.ResponseController, d time.Duration) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	for _, set := range []func(time.Time) error{c.SetReadDeadline, c.SetWriteDeadline} {
		if err := set(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return // the connection is gone; the next write says so
		}
	}
}

// queryOptions reads ?stale, ?index and ?wait.
func queryOptions(query url.Values) (api.QueryOptions, error) {
	var q api.QueryOptions
	var err error
	if query.Has("stale") {
		if q.Stale, err = boolean(query.Get("stale")); err != nil {
			return q, invalid("use ?stale or ?stale=false", "stale=%.40q is neither true nor false", query.Get("stale"))
		}
	}
	if text := query.Get("index"); text != "" {
		if q.Index, err = strconv.ParseUint(text, 10, 64); err != nil {
			return q, invalid("take it from the "+api.HeaderIndex+" header of an earlier answer", "index=%.40q is not a number", text)
		}
	}
	if q.Index == 0 {
		return q, nil
	}
	q.Wait = 30 * time.Second
	if text := query.Get("wait"); text != "" {
		if q.Wait, err = duration(text); err != nil || q.Wait <= 0 || q.Wait > api.MaxWait {
			q.Wait = 0
			return q, invalid("use a duration such as 10s, at most "+api.MaxWait.String(), "wait=%.40q is not a duration between 0 and %s", text, api.MaxWait)
		}
	}
	return q, nil
}

// boolean reads a boolean whose mere presence means true.
func boolean(text string) (bool, error) {
	if text == "" {
		return true, nil
	}
	return strconv.ParseBool(text)
}

// duration reads "10s" or a plain number of seconds.
func duration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(text)
}

// limit reads ?limit.
func limit(query url.Values) (int, error) {
	const standard, most = 100, 1000
	text := query.Get("limit")
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, invalid(fmt.Sprintf("use a number from 1 to %d", most), "limit=%.40q is not possible", text)
	}
	return n, nil
}

// require reads a query parameter that must be there.
func require(query url.Values, name string) (string, error) {
	value := query.Get(name)
	if value == "" {
		return "", invalid("add ?"+name+"=…", "parameter %s is missing", name)
	}
	return value, nil
}

// catchUp makes what is read as new as the question, unless it allows a stale answer.
func (s *Server) catchUp(ctx context.Context, w http.ResponseWriter, q api.QueryOptions) error {
	if q.Stale {
		return nil
	}
	err := s.backend.Sync(ctx)
	if err != nil {
		s.backend.Meta().Write(w.Header())
	}
	return err
}
