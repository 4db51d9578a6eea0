package httpapi

import (
	"context"
	"net"
	"testing"
	"time"
)

// serve runs a server on a loopback port until the test ends and returns its
// base URL. It fails the test when Serve does not end cleanly.
func serve(t *testing.T, c Config) string {
	t.Helper()
	base, _ := serveUntil(t, c)
	return base
}

func serveUntil(t *testing.T, c Config) (base string, stop func()) {
	t.Helper()
	server, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(60 * time.Second):
			t.Error("Serve did not end within 60 s")
		}
	}
	t.Cleanup(stop)
	return "http://" + listener.Addr().String(), stop
}
