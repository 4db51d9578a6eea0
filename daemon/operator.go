package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/migrator"
)

// OperatorSocket is the file in the data directory on which an agent takes an
// operator's word about an open move. It needs neither quorum nor certificates:
// who may open it is root, or the user of the agent.
const OperatorSocket = "operator.sock"

// operatorWait bounds one request: the word is written, the copy thaws or runs.
const operatorWait = 30 * time.Second

// LocalRequest is what `placed local` sends: Fenced is the name or id of the
// host that the operator has shut off for good.
type LocalRequest struct {
	Workload fleet.WorkloadID `json:"workload"`
	Fenced   string           `json:"fenced,omitempty"`
}

// LocalAnswer is the agent's answer; Error is empty on success.
type LocalAnswer struct {
	Word  string `json:"word,omitempty"`
	Error string `json:"error,omitempty"`
}

// AskLocal gives the agent that runs on dataDir an operator's word: verb is thaw,
// resume or release.
func AskLocal(ctx context.Context, dataDir, verb string, q LocalRequest) (LocalAnswer, error) {
	path := filepath.Join(dataDir, OperatorSocket)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	body, err := json.Marshal(q)
	if err != nil {
		return LocalAnswer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://local/local/"+verb, bytes.NewReader(body))
	if err != nil {
		return LocalAnswer{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return LocalAnswer{}, fmt.Errorf("the agent of %s does not answer (%w): start it here, as it holds the workload's last word", dataDir, err)
	}
	defer response.Body.Close()
	var answer LocalAnswer
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&answer); err != nil {
		return LocalAnswer{}, fmt.Errorf("answer of the agent of %s: %w", dataDir, err)
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

func (d *Daemon) openOperator() error {
	path := d.path(OperatorSocket)
	// The data directory is locked, so what lies there is of an earlier life.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("%w: the path must be shorter than 108 bytes and its file system must hold sockets", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return err
	}
	d.operator = listener
	d.atClose(func() { listener.Close() })
	return nil
}

// serveOperator answers `placed local` until ctx ends.
func (d *Daemon) serveOperator(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /local/thaw", d.operatorCall(d.migrator.Thaw, true))
	mux.HandleFunc("POST /local/resume", d.operatorCall(d.migrator.Resume, true))
	mux.HandleFunc("POST /local/release", d.operatorCall(func(ctx context.Context, id fleet.WorkloadID, _ fleet.HostID) error {
		return d.migrator.Relinquish(ctx, id)
	}, false))
	server := &http.Server{Handler: http.MaxBytesHandler(mux, 4<<10), ReadTimeout: 5 * time.Second, WriteTimeout: operatorWait + 5*time.Second}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(limit)
	})
	err := server.Serve(d.operator)
	if !stop() { // ctx has ended: what is being answered is waited for
		return <-stopped
	}
	return err
}

func (d *Daemon) operatorCall(decide func(context.Context, fleet.WorkloadID, fleet.HostID) error, fence bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), operatorWait)
		defer cancel()
		var q LocalRequest
		err := json.NewDecoder(r.Body).Decode(&q)
		var fenced fleet.HostID
		switch {
		case err != nil:
			err = fmt.Errorf("request: %w", err)
		case q.Workload == "":
			err = errors.New("no workload was named")
		case fence && q.Fenced == "":
			err = errors.New("no fenced host was named")
		case fence:
			fenced = d.hostNamed(q.Fenced)
		}
		if err == nil {
			err = decide(ctx, q.Workload, fenced)
		}
		answer, status := LocalAnswer{}, http.StatusOK
		switch {
		case errors.Is(err, migrator.ErrNoEffect), errors.Is(err, migrator.ErrNotFenced), errors.Is(err, migrator.ErrBusy):
			answer.Error, status = err.Error(), http.StatusConflict
		case err != nil:
			answer.Error, status = err.Error(), http.StatusBadRequest
		default:
			record, _ := d.migrator.Record(q.Workload)
			answer.Word = record.Word.String()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // the operator has gone
	}
}

// hostNamed finds a host by name or id; what the books do not know (they may be
// empty without a quorum) is taken as an id.
func (d *Daemon) hostNamed(name string) fleet.HostID {
	id := fleet.HostID(name)
	d.replica.Read(func(s *fsm.State) {
		for _, h := range s.Hosts() {
			if h.Name == name {
				id = h.ID
			}
		}
	})
	return id
}
