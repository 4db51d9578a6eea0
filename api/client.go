package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// DefaultAddress is asked when neither Config nor the environment names one.
const DefaultAddress = "http://127.0.0.1:4102"

// Config of a client. Empty fields come from the environment variable named
// beside them.
type Config struct {
	// Address is "host:port", an http or https URL, or "unix:///path/of/socket".
	Address    string // PLACED_ADDR
	CACert     string // PLACED_CACERT: file with the CA of the agents
	ClientCert string // PLACED_CLIENT_CERT
	ClientKey  string // PLACED_CLIENT_KEY
	ServerName string // PLACED_TLS_SERVER_NAME
	// Timeout of one request beside the time a blocking query waits; 0 means
	// 15 s. Streams have none: they live by heartbeats.
	Timeout time.Duration
	// Getenv replaces os.Getenv, for tests.
	Getenv func(string) string
}

// Client talks to one agent, which passes writes on to the leader. It is safe for
// concurrent use.
type Client struct {
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	// retryDelay is the first pause before a write or a stream is tried again.
	retryDelay time.Duration
	// silence is how long a stream may be without a line, heartbeats included.
	silence time.Duration
}

// New checks the configuration and returns a client. It connects to nothing.
func New(c Config) (*Client, error) {
	c = c.withEnvironment()
	base, transport, err := c.target()
	if err != nil {
		return nil, err
	}
	if transport.TLSClientConfig, err = c.tls(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	return &Client{
		base: base,
		http: &http.Client{
			Transport: transport,
			// An agent never redirects an API call; following one would carry
			// a write elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: c.Timeout, retryDelay: 250 * time.Millisecond, silence: 20 * time.Second,
	}, nil
}

// Address is where the client asks.
func (c *Client) Address() string { return c.base.String() }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c Config) withEnvironment() Config {
	getenv := c.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	for _, f := range []struct {
		field *string
		name  string
	}{
		{&c.Address, "PLACED_ADDR"}, {&c.CACert, "PLACED_CACERT"},
		{&c.ClientCert, "PLACED_CLIENT_CERT"}, {&c.ClientKey, "PLACED_CLIENT_KEY"},
		{&c.ServerName, "PLACED_TLS_SERVER_NAME"},
	} {
		if *f.field == "" {
			*f.field = getenv(f.name)
		}
	}
	if c.Address == "" {
		c.Address = DefaultAddress
	}
	return c
}

// target reads the address into a base URL and a transport that reaches it.
func (c Config) target() (*url.URL, *http.Transport, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   4,
		ForceAttemptHTTP2:     true,
		ExpectContinueTimeout: time.Second,
	}
	address := c.Address
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, transport, nil
	}
	if !strings.Contains(address, "://") {
		scheme := "http://"
		if c.CACert != "" || c.ClientCert != "" {
			scheme = "https://"
		}
		address = scheme + address
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, nil, fmt.Errorf("address %q: %w", c.Address, err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || strings.Trim(base.Path, "/") != "" {
		return nil, nil, fmt.Errorf("address %q: want host:port, http(s)://host:port or unix:///path", c.Address)
	}
	return &url.URL{Scheme: base.Scheme, Host: base.Host}, transport, nil
}

func (c Config) tls() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CACert != "" {
		pem, err := os.ReadFile(c.CACert)
		if err != nil {
			return nil, fmt.Errorf("CA certificate (PLACED_CACERT): %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA certificate %s holds no PEM certificate", c.CACert)
		}
	}
	if (c.ClientCert == "") != (c.ClientKey == "") {
		return nil, fmt.Errorf("client certificate and key go together: set both PLACED_CLIENT_CERT and PLACED_CLIENT_KEY, or neither")
	}
	if c.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate %s: %w", c.ClientCert, err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
