package httpapi

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/placed-dev/placed/api"
)

//go:embed openapi.json
var openAPI []byte

//go:embed ui
var uiFiles embed.FS

// Config of a Server. Zero limits mean the defaults named beside them.
type Config struct {
	Backend Backend
	Logger  hclog.Logger
	// Registry receives the metrics of this package and is what /v1/metrics
	// shows; nil = a registry of its own.
	Registry *prometheus.Registry
	Version  string
	// AllowedHosts are DNS names under which clients may reach the API. IP
	// addresses and localhost always work; any other name is refused, so that
	// a page of an attacker cannot reach a loopback API by DNS rebinding.
	AllowedHosts []string
	// MaxStreams bounds the event streams (64), MaxWaiting the blocking
	// queries (256) that are open at one time.
	MaxStreams int
	MaxWaiting int
	// Heartbeat is the longest silence on an event stream (5 s).
	Heartbeat time.Duration
	// Timeout bounds a request beside the time a blocking query waits (10 s).
	Timeout time.Duration
	// StopTimeout is how long Serve lets requests end (5 s).
	StopTimeout time.Duration
}

// Server answers the HTTP API of one agent.
type Server struct {
	config  Config
	backend Backend
	logger  hclog.Logger
	metrics *metrics
	streams slots
	waiting slots
	handler http.Handler
}

// New builds the handlers and registers the metrics. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Backend == nil {
		return nil, errors.New("http API: no backend")
	}
	c = c.withDefaults()
	s := &Server{
		config: c, backend: c.Backend, logger: c.Logger,
		streams: make(slots, c.MaxStreams), waiting: make(slots, c.MaxWaiting),
	}
	var err error
	if s.metrics, err = newMetrics(c.Registry, c.Backend, c.Version); err != nil {
		return nil, fmt.Errorf("http API: %w", err)
	}
	if s.handler, err = s.build(); err != nil {
		return nil, fmt.Errorf("http API: %w", err)
	}
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	for _, n := range []struct {
		field *int
		value int
	}{{&c.MaxStreams, 64}, {&c.MaxWaiting, 256}} {
		if *n.field <= 0 {
			*n.field = n.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.Heartbeat, 5 * time.Second}, {&c.Timeout, 10 * time.Second}, {&c.StopTimeout, 5 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return c
}

// Handler answers requests, with every check but the limits on connections.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers on the listener until ctx ends, then ends the streams, lets other
// requests finish for StopTimeout and returns once all of them have ended. It
// closes the listener. It may run on several listeners at one time.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	requests, endRequests := context.WithCancel(context.Background())
	defer endRequests()
	var running sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			s.handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		// Blocking queries and streams set their own.
		WriteTimeout:   30 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(requests, stoppingKey{}, ctx)
		},
		ErrorLog: s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("http API on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
		err = s.stop(server)
		<-served // http.ErrServerClosed, by our own doing
	}
	endRequests()
	server.Close()
	running.Wait()
	return err
}

func (s *Server) stop(server *http.Server) error {
	patience, cancel := context.WithTimeout(context.Background(), s.config.StopTimeout)
	defer cancel()
	if err := server.Shutdown(patience); err != nil {
		s.logger.Warn("requests did not end in time and were cut off", "after", s.config.StopTimeout)
	}
	return nil
}

// stoppingKey holds the context that ends when Serve begins to stop: long
// requests end with it, short ones may finish.
type stoppingKey struct{}

// untilStop returns the request's context, ended also when the server stops.
func untilStop(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	stopping, ok := r.Context().Value(stoppingKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	release := context.AfterFunc(stopping, cancel)
	return ctx, func() { release(); cancel() }
}

// slots bounds how many of one kind of request are open.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }

// refuseBusy is the answer when there is no slot left.
func refuseBusy(what string, most int) *api.Error {
	return &api.Error{
		Status: http.StatusTooManyRequests, Code: api.CodeTooBusy,
		Message: fmt.Sprintf("%d %s are open, which is the most this agent serves", most, what),
		Hint:    "close some, or ask another agent",
	}
}
