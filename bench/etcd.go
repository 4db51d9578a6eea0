package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcd is a cluster of three, with the defaults of the package: heartbeat
// 100 ms, election 1 s, fsync on.
type etcd struct {
	members   []*process
	endpoints []string
	keys      atomic.Uint64
}

func startEtcd(ctx context.Context, s settings) (*etcd, error) {
	dir := filepath.Join(s.dir, "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	e := &etcd{}
	var initial []string
	for i := range 3 {
		initial = append(initial, fmt.Sprintf("e%d=http://127.0.0.1:%d", i, ports[i]))
		e.endpoints = append(e.endpoints, fmt.Sprintf("http://127.0.0.1:%d", ports[3+i]))
	}
	for i := range 3 {
		peer := fmt.Sprintf("http://127.0.0.1:%d", ports[i])
		m := newProcess(dir, fmt.Sprintf("e%d", i), s.etcd, "--name", fmt.Sprintf("e%d", i), "--data-dir", filepath.Join(dir, fmt.Sprintf("e%d", i)),
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--listen-client-urls", e.endpoints[i], "--advertise-client-urls", e.endpoints[i],
			"--initial-cluster", strings.Join(initial, ","), "--logger", "zap", "--log-level", "error")
		if err := m.start(); err != nil {
			e.stop()
			return nil, err
		}
		e.members = append(e.members, m)
	}
	if err := until(ctx, 30*time.Second, "three members answer", func(ctx context.Context) error { return e.ready(ctx) }); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *etcd) stop() {
	for _, m := range e.members {
		m.end(syscall.SIGTERM)
	}
}

func (e *etcd) client(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 2 * time.Second, Logger: zap.NewNop()})
}

// ready: every member answers and knows the same leader.
func (e *etcd) ready(ctx context.Context) error {
	_, err := e.leader(ctx, len(e.members))
	return err
}

// leader asks the members; at least so many must agree.
func (e *etcd) leader(ctx context.Context, agree int) (int, error) {
	leaders, ids := map[uint64]int{}, map[uint64]int{}
	for i, endpoint := range e.endpoints {
		if !e.members[i].running() {
			continue
		}
		c, err := e.client(endpoint)
		if err != nil {
			return 0, err
		}
		status, err := c.Status(ctx, endpoint)
		c.Close()
		if err == nil {
			leaders[status.Leader]++
			ids[status.Header.MemberId] = i
		}
	}
	for id, n := range leaders {
		if i, known := ids[id]; known && n >= agree {
			return i, nil
		}
	}
	return 0, errors.New("the members name no leader together")
}

// workers makes clients of a closed loop against the leader.
func (e *etcd) workers(ctx context.Context, operations int) (func() (worker, error), error) {
	leader, err := e.leader(ctx, 3)
	if err != nil {
		return nil, err
	}
	return func() (worker, error) { return e.worker(leader, operations) }, nil
}

func (e *etcd) worker(leader, operations int) (worker, error) {
	c, err := e.client(e.endpoints[leader])
	if err != nil {
		return worker{}, err
	}
	work := func(ctx context.Context) error {
		_, err := c.Put(ctx, e.key(), value)
		return err
	}
	if operations > 1 {
		work = func(ctx context.Context) error {
			puts := make([]clientv3.Op, operations)
			for i := range puts {
				puts[i] = clientv3.OpPut(e.key(), value)
			}
			_, err := c.Txn(ctx).Then(puts...).Commit()
			return err
		}
	}
	return worker{operations: operations, work: work, close: func() { c.Close() }}, nil
}

// key walks over 10,000 keys.
func (e *etcd) key() string { return fmt.Sprintf("/bench/leases/%06d", e.keys.Add(1)%10_000) }

// value is what is stored: 128 bytes.
var value = strings.Repeat("v", 128)
