package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func noEnvironment(string) string { return "" }

func TestNew(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config  Config
		address string
		fault   string
	}{
		{Config{}, DefaultAddress, ""},
		{Config{Address: "h1:7480"}, "http://h1:7480", ""},
		{Config{Address: "https://h1:7480/"}, "https://h1:7480", ""},
		{Config{Address: "unix:///run/placed.sock"}, "http://localhost", ""},
		{Config{Address: "[::1]:7480"}, "http://[::1]:7480", ""},
		{Config{Address: "ftp://h1"}, "", "want host:port"},
		{Config{Address: "http://h1/v1"}, "", "want host:port"},
		{Config{Address: "http://"}, "", "want host:port"},
		{Config{Address: "h1:port"}, "", "h1:port"},
		{Config{CACert: "/nowhere/ca.pem"}, "", "PLACED_CACERT"},
		{Config{CACert: notPEM}, "", "no PEM certificate"},
		{Config{ClientCert: "a.pem"}, "", "go together"},
		{Config{ClientCert: notPEM, ClientKey: notPEM}, "", "client certificate"},
	} {
		c.config.Getenv = noEnvironment
		client, err := New(c.config)
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%+v: %v", c.config, err)
		case c.fault == "" && client.Address() != c.address:
			t.Errorf("%+v: address %s, want %s", c.config, client.Address(), c.address)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%+v: error %v, want %q", c.config, err, c.fault)
		}
	}
}

// The environment fills what the configuration leaves empty, and only that.
func TestEnvironment(t *testing.T) {
	getenv := func(name string) string {
		return map[string]string{"PLACED_ADDR": "10.0.0.1:7480"}[name]
	}
	from, err := New(Config{Getenv: getenv})
	if err != nil || from.Address() != "http://10.0.0.1:7480" {
		t.Errorf("%v %v", from, err)
	}
	over, err := New(Config{Address: "10.0.0.2:7480", Getenv: getenv})
	if err != nil || over.Address() != "http://10.0.0.2:7480" {
		t.Errorf("%v %v", over, err)
	}
}

// Whatever answers on the port, the client says something an operator can use.
func TestStrangeAnswers(t *testing.T) {
	var status atomic.Int64
	var body atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://192.0.2.1/")
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, body.Load())
	}))
	defer server.Close()
	client, err := New(Config{Address: server.URL, Getenv: noEnvironment})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{404, "<html>nginx", "HTTP API"},
		{302, "", "302 Found"}, // never followed
		{200, "<html>", "unreadable answer"},
		{409, `{"error":{"code":"conflict","message":"taken","hint":"wait"}}`, "taken (conflict): wait"},
	} {
		status.Store(int64(c.status))
		body.Store(c.body)
		_, _, err := client.Hosts(context.Background(), QueryOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d %q: %v, want %q", c.status, c.body, err, c.want)
		}
	}
	server.Close()
	if _, _, err := client.Hosts(context.Background(), QueryOptions{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("nobody there: %v", err)
	}
}

// A stream that goes silent is taken for broken and resumed behind the last event.
func TestEventsNoticeSilence(t *testing.T) {
	var connections atomic.Int64
	resumed := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if connections.Add(1) == 1 {
			line, _ := json.Marshal(Event{Index: 7, Seq: 2, Topic: "host", Message: "one"})
			fmt.Fprintf(w, "%s\n", line)
			w.(http.Flusher).Flush()
			<-r.Context().Done() // says nothing more
			return
		}
		select {
		case resumed <- r.URL.RawQuery:
		default:
		}
		<-r.Context().Done()
	}))
	defer server.Close()
	client, err := New(Config{Address: server.URL, Getenv: noEnvironment})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.silence, client.retryDelay = 100*time.Millisecond, time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- client.Events(ctx, StreamOptions{}, func(Event) error { return nil }) }()
	select {
	case query := <-resumed:
		if query != "index=7&seq=2" {
			t.Errorf("resumed with %q", query)
		}
	case <-ctx.Done():
		t.Error("the silent stream was not given up")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCursor(t *testing.T) {
	at := Event{Index: 5, Seq: 3}.Cursor()
	for _, c := range []struct {
		event Event
		want  bool
	}{
		{Event{Index: 4, Seq: 9}, false}, {Event{Index: 5, Seq: 3}, false},
		{Event{Index: 5, Seq: 4}, true}, {Event{Index: 6}, true},
	} {
		if at.Before(c.event) != c.want {
			t.Errorf("%+v", c.event)
		}
	}
	if After(5).Before(Event{Index: 5, Seq: 1 << 20}) || !After(5).Before(Event{Index: 6}) {
		t.Error("After(5) is not behind entry 5")
	}
}

func FuzzParseMeta(f *testing.F) {
	f.Add("17", "true", "250")
	f.Add("", "", "")
	f.Add("-1", "yes", "9999999999999999999")
	f.Fuzz(func(t *testing.T, index, leader, contact string) {
		h := http.Header{}
		h.Set(HeaderIndex, index)
		h.Set(HeaderKnownLeader, leader)
		h.Set(HeaderLastContact, contact)
		meta, err := ParseMeta(h)
		if err != nil || meta.LastContact < 0 || meta.LastContact > time.Hour {
			return
		}
		again := http.Header{}
		meta.Write(again)
		if second, err := ParseMeta(again); err != nil || second != meta {
			t.Errorf("%+v became %+v, %v", meta, second, err)
		}
	})
}
