// Package transport owns the one TCP port of a host: mutual TLS 1.3, who may
// speak which protocol over it, and the certificates that say so. Protocols are
// told apart by ALPN; each has a listener of its own.
//
// It does not know what is said over a connection: raft, rpc and migrate bring
// their own framing, deadlines and limits on what they read.
//
// # Limits
//
//   - A handshake, the greeting included, takes at most HandshakeTimeout.
//   - At most maxHandshakes handshakes run at once, a quarter of them from one
//     address: whoever has no certificate cannot keep out those who have one.
//   - At most MaxConns accepted connections exist at once.
//   - A peer that vanished without a word (power loss, cut cable) is noticed after
//     30 s, idle or not: keep-alives of 15 s + 3 × 5 s, and TCP_USER_TIMEOUT for
//     bytes that nobody acknowledges.
//   - After the handshake there is no read limit and no deadline: the protocols
//     set theirs.
//
// # Greeting
//
// In TLS 1.3 a client has finished its handshake before the server has looked at
// the client's certificate. So that Dial tells the truth, the server sends one
// greeting after its checks: a byte 0 (welcome), or a byte n ≥ 1 followed by n
// bytes of text that say why not. A connection returned by Dial was accepted.
package transport
