package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/transport"
)

// Limits. A route may override DefaultMaxBody and DefaultMaxTime.
const (
	DefaultMaxBody = 1 << 20          // bytes, of a request and of an answer
	DefaultMaxTime = 60 * time.Second // a handler's time, whatever the caller asks for

	headerTime  = 5 * time.Second  // to receive a request's header
	bodyTime    = 30 * time.Second // to receive its body
	answerTime  = 30 * time.Second // to send the answer once the handler returned
	idleTime    = 90 * time.Second // longer than the client's: the client closes first
	headerBytes = 8 << 10
	stopTime    = 5 * time.Second // for answers under way when the server stops
)

// Handler answers one call. from is the verified caller. ctx ends at the deadline
// of the caller, when the caller goes away, or when the server stops.
type Handler func(ctx context.Context, from transport.Identity, body []byte) (any, error)

// Option overrides a default of one route.
type Option func(*route)

// MaxBody sets the largest request and answer of a route, in bytes.
func MaxBody(n int64) Option { return func(r *route) { r.maxBody = n } }

// MaxTime sets how long a handler may take at most.
func MaxTime(d time.Duration) Option { return func(r *route) { r.maxTime = d } }

// Roles restricts who may call; without it every role may.
func Roles(roles ...string) Option { return func(r *route) { r.roles = roles } }

// ServerConfig of a Server.
type ServerConfig struct {
	// Listener hands over verified connections: transport's, for RPC.
	Listener net.Listener
	Logger   hclog.Logger
}

// Server answers the calls of other agents.
type Server struct {
	config  ServerConfig
	logger  hclog.Logger
	calls   sync.WaitGroup // handlers that run
	mu      sync.RWMutex
	routes  map[string]*route // guarded by mu
	stopped func() bool       // set by Run before it serves
}

// NewServer makes a server; routes may be added before and while it runs.
func NewServer(config ServerConfig) *Server {
	if config.Logger == nil {
		config.Logger = hclog.NewNullLogger()
	}
	return &Server{config: config, logger: config.Logger, routes: map[string]*route{}, stopped: func() bool { return false }}
}

// Handle registers a call. A name registered twice is a mistake in the program
// and panics.
func (s *Server) Handle(name string, h Handler, options ...Option) {
	r := &route{name: name, handler: h, maxBody: DefaultMaxBody, maxTime: DefaultMaxTime}
	for _, option := range options {
		option(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.routes[name] != nil {
		panic(fmt.Sprintf("peer: call %q registered twice", name))
	}
	s.routes[name] = r
}

// Serve registers a call with typed request and answer.
func Serve[Req, Resp any](s *Server, name string, f func(ctx context.Context, from transport.Identity, req Req) (Resp, error), options ...Option) {
	s.Handle(name, func(ctx context.Context, from transport.Identity, body []byte) (any, error) {
		req, err := decode[Req](body)
		if err != nil {
			return nil, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("the request of %s is not valid: %v", name, err)}
		}
		return f(ctx, from, req)
	}, options...)
}

// Run serves until ctx ends. Handlers are told to stop at once and their answers
// get a few seconds to leave; Run returns after all of them have ended.
func (s *Server) Run(ctx context.Context) error {
	handling, endHandlers := context.WithCancel(ctx)
	defer endHandlers()
	s.stopped = func() bool { return handling.Err() != nil }
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		BaseContext:       func(net.Listener) context.Context { return handling },
		ConnContext:       withCaller,
		ErrorLog:          s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.config.Listener) }()

	var err error
	select {
	case err = <-served: // the listener ended before we did
		endHandlers()
		err = errors.Join(err, s.stop(server))
	case <-ctx.Done():
		err = s.stop(server)
		<-served
	}
	s.calls.Wait()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve calls of other agents: %w", err)
	}
	return nil
}

func (s *Server) stop(server *http.Server) error {
	grace, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		s.logger.Warn("calls still running at stop; closing their connections")
		err = server.Close()
	}
	if errors.Is(err, net.ErrClosed) { // transport closed the listener first
		return nil
	}
	return err
}

type callerKey struct{}

// withCaller remembers who is at the other end of a connection.
func withCaller(ctx context.Context, conn net.Conn) context.Context {
	if from, ok := transport.PeerOf(conn); ok {
		return context.WithValue(ctx, callerKey{}, from)
	}
	return ctx
}
