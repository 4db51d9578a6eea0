package controller

import (
	"context"
	"fmt"
)

// turn lets one caller at a time through. Unlike a mutex it lets go of a caller
// whose context ends: a pass may wait long for a quorum, and who waits behind it
// has a deadline of its own.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the pass before: %w", ctx.Err())
	}
}

func (t turn) give() { <-t }
