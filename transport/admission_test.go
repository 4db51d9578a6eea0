package transport

import (
	"fmt"
	"testing"
)

func TestAdmissionKeepsRoomForOtherAddresses(t *testing.T) {
	a := newAdmission(2)
	begun := 0
	for a.begin("10.0.0.1") == "" {
		begun++
	}
	if begun != maxHandshakes/4 {
		t.Fatalf("one address got %d handshakes, want %d", begun, maxHandshakes/4)
	}
	if why := a.begin("10.0.0.2"); why != "" {
		t.Fatalf("another address was refused: %s", why)
	}
	for i := 0; a.running < maxHandshakes; i++ {
		if why := a.begin(fmt.Sprintf("10.1.%d.%d", i/250, i%250)); why != "" {
			t.Fatalf("refused at %d running: %s", a.running, why)
		}
	}
	if a.begin("10.9.9.9") == "" {
		t.Fatal("more handshakes than the limit")
	}
	a.end("10.0.0.2")
	if why := a.begin("10.0.0.3"); why != "" {
		t.Fatalf("a freed place was refused: %s", why)
	}
	first, second, third := a.open(), a.open(), a.open()
	if !first || !second || third {
		t.Fatal("want exactly two connections")
	}
	a.close()
	if !a.open() {
		t.Fatal("a closed connection did not free its place")
	}
}
