package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// eventBatch is how many events one pull takes.
const eventBatch = 256

// streamWrite is how long a client may take to read what was sent; a slower one
// is cut off and resumes by index.
const streamWrite = 10 * time.Second

var topics = []string{
	fleet.TopicHost, fleet.TopicWorkload, fleet.TopicLease, fleet.TopicMigration,
	fleet.TopicDecision, fleet.TopicPolicy, fleet.TopicCluster,
}

// stream sends events as NDJSON until the client goes or the agent stops. The
// state of a stream is its cursor: nothing is queued for a slow client.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	wanted, after, err := s.streamOptions(r.URL.Query())
	if err != nil {
		return err
	}
	if !s.streams.take() {
		return refuseBusy("event streams", cap(s.streams))
	}
	defer s.streams.give()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	ctx, cancel := untilStop(r)
	defer cancel()

	// The first pull decides whether there is a stream or an error.
	page, err := s.backend.Events(ctx, after, eventBatch)
	if err != nil {
		return err
	}
	out := newLines(w)
	s.backend.Meta().Write(w.Header())
	heartbeat := time.NewTicker(s.config.Heartbeat)
	defer heartbeat.Stop()
	if err := out.mark(after, api.TypeHeartbeat); err != nil {
		return nil
	}
	for {
		if page.Truncated {
			if err := out.mark(after, api.TypeTruncated); err != nil {
				return nil
			}
		}
		for _, event := range page.Events {
			after = event.Cursor()
			if len(wanted) == 0 || slices.Contains(wanted, event.Topic) {
				if err := out.send(event); err != nil {
					return nil
				}
			}
		}
		if err := out.flush(); err != nil {
			return nil
		}
		if len(page.Events) < eventBatch {
			if alive := s.awaitEvents(ctx, page.Changed, heartbeat, out, &after); !alive {
				return nil
			}
		}
		if page, err = s.backend.Events(ctx, after, eventBatch); err != nil {
			if ctx.Err() == nil {
				s.logger.Warn("event stream ends", "index", after.Index, "error", err)
			}
			return nil
		}
	}
}

// awaitEvents sends heartbeats until there is news; false = the stream is over.
func (s *Server) awaitEvents(ctx context.Context, changed <-chan struct{}, heartbeat *time.Ticker, out *lines, after *api.Cursor) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case <-heartbeat.C:
			if out.mark(*after, api.TypeHeartbeat) != nil {
				return false
			}
		}
	}
}

// streamOptions reads ?topic, ?index and ?seq. Without an index the stream begins
// with the next event; index=0 begins with the oldest one that is kept.
func (s *Server) streamOptions(query url.Values) ([]string, api.Cursor, error) {
	var wanted []string
	for _, value := range query["topic"] {
		for topic := range strings.SplitSeq(value, ",") {
			if topic == "" || topic == "*" {
				continue
			}
			if !slices.Contains(topics, topic) {
				return nil, api.Cursor{}, invalid("topics are "+strings.Join(topics, ", "), "there is no topic %.40q", topic)
			}
			wanted = append(wanted, topic)
		}
	}
	if !query.Has("index") {
		return wanted, api.After(s.backend.Meta().Index), nil
	}
	index, err := strconv.ParseUint(query.Get("index"), 10, 64)
	if err != nil {
		return nil, api.Cursor{}, invalid("use the index of the last event you have", "index=%.40q is not a number", query.Get("index"))
	}
	after := api.After(index)
	if index == 0 {
		after = api.Cursor{}
	}
	if query.Has("seq") {
		seq, err := strconv.ParseInt(query.Get("seq"), 10, 32)
		if err != nil || seq < 0 {
			return nil, api.Cursor{}, invalid("use the seq of the last event you have", "seq=%.40q is not possible", query.Get("seq"))
		}
		after.Seq = int(seq)
	}
	return wanted, after, nil
}

// lines writes NDJSON with a deadline per write.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	encoder *json.Encoder
}

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	l := &lines{w: w, control: http.NewResponseController(w), encoder: json.NewEncoder(w)}
	extendDeadlines(l.control, 0)
	return l
}

func (l *lines) send(event api.Event) error {
	// Not every writer has deadlines; a missing one only costs the limit.
	_ = l.control.SetWriteDeadline(time.Now().Add(streamWrite))
	return l.encoder.Encode(event)
}

func (l *lines) flush() error { return l.control.Flush() }

// mark writes a line about the stream itself: it is complete up to the cursor.
func (l *lines) mark(after api.Cursor, kind string) error {
	event := api.Event{Index: after.Index, Seq: after.Seq, At: time.Now().UTC(), Topic: api.TopicStream, Type: kind}
	if kind == api.TypeTruncated {
		event.Message = "older events are no longer kept: read the objects again"
	}
	if err := l.send(event); err != nil {
		return err
	}
	return l.flush()
}
