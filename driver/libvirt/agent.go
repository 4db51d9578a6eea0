package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// agentChannel is the name of the channel that QEMU's guest agent listens to.
const agentChannel = "org.qemu.guest_agent.0"

// ask sends one command to the agent inside a guest and returns its answer.
type ask func(ctx context.Context, command string) (string, error)

// agentCommand is a command of the guest agent's protocol (QEMU's qga/qapi-schema.json).
type agentCommand struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
}

type execArguments struct {
	Path string   `json:"path"`
	Arg  []string `json:"arg,omitempty"`
}

type statusArguments struct {
	PID int64 `json:"pid"`
}

// call sends a command and reads what it returns into out.
func (a ask) call(ctx context.Context, name string, arguments, out any) error {
	command, err := json.Marshal(agentCommand{name, arguments})
	if err != nil {
		return err
	}
	text, err := a(ctx, string(command))
	if err != nil {
		return err
	}
	answer := struct {
		Return any `json:"return"`
	}{out}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("the guest's agent answers %.80q: %w", text, err)
	}
	return nil
}

// ping is nil when the guest runs and its agent answers.
func (a ask) ping(ctx context.Context) error { return a.call(ctx, "guest-ping", nil, &struct{}{}) }

// execPoll is the pace of asking whether a command in the guest has ended: the agent
// does not tell by itself.
const execPoll = 200 * time.Millisecond

var errNotEnded = errors.New("it has not ended in time and goes on in the guest")

// run starts a command in the guest and waits for its end, until ctx ends.
func (a ask) run(ctx context.Context, path string, args ...string) (exit int, err error) {
	var started statusArguments
	if err := a.call(ctx, "guest-exec", execArguments{path, args}, &started); err != nil {
		return 0, err
	}
	tick := time.NewTicker(execPoll)
	defer tick.Stop()
	for {
		var status struct {
			Exited bool `json:"exited"`
			Code   int  `json:"exitcode"`
			Signal int  `json:"signal"`
		}
		err := a.call(ctx, "guest-exec-status", started, &status)
		switch {
		case ctx.Err() != nil:
			return 0, errNotEnded
		case err != nil:
			return 0, err
		case status.Exited && status.Signal != 0:
			return 0, fmt.Errorf("it was ended by signal %d", status.Signal)
		case status.Exited:
			return status.Code, nil
		}
		select {
		case <-ctx.Done():
			return 0, errNotEnded
		case <-tick.C:
		}
	}
}

// noticeBefore is what the guest's command is told first: a move begins when it ends, or
// after the seconds in the second argument.
const noticeBefore = "before"

// tell runs the guest's command and says in words for an operator what came of it. It
// never takes longer than limit, and nothing depends on it: a guest that does not
// answer is moved all the same.
func (a ask) tell(ctx context.Context, limit time.Duration, path string, args ...string) string {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	exit, err := a.run(ctx, path, args...)
	took := time.Since(began).Round(100 * time.Millisecond)
	switch {
	case err != nil:
		return fmt.Sprintf("the guest was not told %q within %s (%s): %v", args[0], limit, path, err)
	case exit != 0:
		return fmt.Sprintf("the guest was told %q; its command ended with %d after %s", args[0], exit, took)
	}
	return fmt.Sprintf("the guest was told %q and was ready after %s", args[0], took)
}
