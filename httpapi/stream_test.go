package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// openStream returns a function that reads the next line.
func openStream(t *testing.T, url string) func() api.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("status %d, content type %q", response.StatusCode, response.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(response.Body)
	return func() api.Event {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		var event api.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		return event
	}
}

// skipHeartbeats returns the next line that is no heartbeat.
func skipHeartbeats(next func() api.Event) api.Event {
	for {
		if event := next(); event.Type != api.TypeHeartbeat {
			return event
		}
	}
}

func TestStream(t *testing.T) {
	backend := newDemo(3)
	base := serve(t, Config{Backend: backend, Heartbeat: 20 * time.Millisecond})
	start := backend.Meta().Index

	next := openStream(t, base+"/v1/event/stream")
	if first := next(); first.Topic != api.TopicStream || first.Index != start {
		t.Fatalf("the first line is %+v, want a heartbeat at %d", first, start)
	}
	for range 3 {
		if beat := next(); beat.Type != api.TypeHeartbeat {
			t.Fatalf("in silence: %+v", beat)
		}
	}
	one := backend.say(fleet.TopicHost, "one")
	two := backend.say(fleet.TopicLease, "two")
	for i, want := range []uint64{one, two} {
		if got := skipHeartbeats(next); got.Index != want {
			t.Fatalf("event %d has index %d, want %d", i, got.Index, want)
		}
	}
	// A heartbeat after events says how far the stream is complete.
	if beat := next(); beat.Index != two {
		t.Fatalf("heartbeat at %d, want %d", beat.Index, two)
	}

	// Resume by index, by topic, and from the beginning.
	if got := skipHeartbeats(openStream(t, fmt.Sprintf("%s/v1/event/stream?index=%d", base, one))); got.Message != "two" {
		t.Errorf("resumed after one: %+v", got)
	}
	if got := skipHeartbeats(openStream(t, base+"/v1/event/stream?index=0&topic=lease,policy")); got.Message != "two" {
		t.Errorf("first of the topic: %+v", got)
	}
	if got := skipHeartbeats(openStream(t, base+"/v1/event/stream?index=0")); got.Type != "leader-elected" {
		t.Errorf("first kept event: %+v", got)
	}
}

// Who resumes at what is no longer kept is told so, and then gets what is kept.
func TestStreamTruncated(t *testing.T) {
	backend := newDemo(3)
	backend.say(fleet.TopicHost, "forgotten")
	backend.oldest = backend.say(fleet.TopicHost, "kept")
	base := serve(t, Config{Backend: backend})
	next := openStream(t, base+"/v1/event/stream?index=5")
	if got := skipHeartbeats(next); got.Type != api.TypeTruncated {
		t.Fatalf("%+v", got)
	}
	if got := skipHeartbeats(next); got.Message != "kept" {
		t.Fatalf("%+v", got)
	}
}

// More events than one pull holds arrive all, in order, once.
func TestStreamLongBacklog(t *testing.T) {
	backend := newDemo(3)
	first := backend.Meta().Index
	for i := range 3*eventBatch + 7 {
		backend.say(fleet.TopicHost, fmt.Sprint(i))
	}
	next := openStream(t, fmt.Sprintf("%s/v1/event/stream?index=%d", serve(t, Config{Backend: backend}), first))
	for i := range 3*eventBatch + 7 {
		if got := skipHeartbeats(next); got.Message != fmt.Sprint(i) {
			t.Fatalf("event %d is %q", i, got.Message)
		}
	}
}

func TestStreamsAreBoundedAndEndWithTheServer(t *testing.T) {
	backend := newDemo(3)
	base, stop := serveUntil(t, Config{Backend: backend, MaxStreams: 1, StopTimeout: 5 * time.Second})
	next := openStream(t, base+"/v1/event/stream")
	next()
	status, body := get(t, base+"/v1/event/stream")
	if status != 429 || !strings.Contains(body, "1 event streams are open") {
		t.Errorf("second stream: status %d %s", status, body)
	}
	if _, page := get(t, base+"/v1/metrics"); !strings.Contains(page, "placed_http_streams 1") {
		t.Error("the open stream is not counted")
	}
	http.DefaultClient.CloseIdleConnections()
	began := time.Now()
	stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("an open stream held the stop up for %s", took)
	}
}
