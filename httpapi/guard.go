package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/placed-dev/placed/api"
)

// contentPolicy: the page loads nothing from elsewhere, runs no inline code and
// is shown in no frame.
const contentPolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

// guard refuses what a browser was tricked into sending, and sets the headers
// that every answer carries.
func (s *Server) guard(next http.Handler) http.Handler {
	// Writes with an Origin or Sec-Fetch-Site of another site are refused.
	sameSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.hostAllowed(r.Host) {
			s.refuse(w, r, WithHint(fmt.Errorf("host name %.100q in the request: %w", r.Host, ErrDenied),
				"use the agent's IP address or localhost, or add the name to the allowed hosts of the API"))
			return
		}
		if err := sameSite.Check(r); err != nil {
			s.refuse(w, r, WithHint(fmt.Errorf("write from the page of another site: %w", ErrDenied),
				"use the page or the API of the same address"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed: DNS rebinding needs a name of the attacker, so addresses are safe.
func (s *Server) hostAllowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	// A zone ("fe80::1%eth0") belongs to the address.
	address, _, _ := strings.Cut(host, "%")
	if net.ParseIP(address) != nil {
		return true
	}
	return slices.ContainsFunc(s.config.AllowedHosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// refuse writes the answer for an error and logs what is our own fault.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody reads the answer
	}
	answer := answerFor(err)
	if answer.Status == http.StatusInternalServerError {
		s.logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	s.writeJSON(w, r, answer.Status, api.ErrorBody{Error: answer})
}
