package daemon

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// models follows what the books say is in force: it fetches the bytes, gives them
// to whoever forecasts on this host, and lets the newest days be judged by them.
type models struct {
	library    *library
	books      *books
	series     *seriesSet
	categories *controller.Categories
	log        hclog.Logger

	inForce  atomic.Pointer[pooled]
	grouping string // hash of the division in use
	told     string // last trouble, so that it is logged once
}

// pooled is a pool with its name.
type pooled struct {
	pool *predictor.Pool
	hash string
	name string
}

// modelLook is how often the books are looked at, machine time.
const modelLook = time.Second

// pool is what forecasts are made with now.
func (m *models) pool() (*predictor.Pool, string) {
	if have := m.inForce.Load(); have != nil {
		return have.pool, have.name
	}
	return nil, controller.UntrainedModel
}

// Run follows the books until ctx ends.
func (m *models) Run(ctx context.Context) error {
	ticker := time.NewTicker(modelLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-m.series.behind:
		}
		if err := m.follow(ctx); err != nil && ctx.Err() == nil {
			if text := err.Error(); text != m.told {
				m.told = text
				m.log.Warn("a model cannot be used yet; the one before serves", "error", err)
			}
		} else {
			m.told = ""
		}
		m.series.replay(ctx)
	}
}

func (m *models) follow(ctx context.Context) error {
	var pool, grouping fleet.Model
	var havePool, haveGrouping bool
	m.books.Read(func(s *fsm.State) {
		pool, havePool = s.Model(controller.PoolModel)
		grouping, haveGrouping = s.Model(controller.GroupingModel)
	})
	if have := m.inForce.Load(); havePool && (have == nil || have.hash != pool.Hash) {
		if err := m.usePool(ctx, pool); err != nil {
			return err
		}
	}
	if haveGrouping && grouping.Hash != m.grouping {
		data, err := m.fetch(ctx, grouping)
		if err != nil {
			return err
		}
		if err := m.categories.Use(data, grouping.Trained.Unix()/int64(24*time.Hour/time.Second)); err != nil {
			return err
		}
		m.grouping = grouping.Hash
	}
	return nil
}

func (m *models) usePool(ctx context.Context, named fleet.Model) error {
	data, err := m.fetch(ctx, named)
	if err != nil {
		return err
	}
	pool, err := predictor.DecodePool(data)
	if err != nil {
		return fmt.Errorf("model %s version %d: %w", named.Name, named.Version, err)
	}
	m.inForce.Store(&pooled{pool: pool, hash: named.Hash, name: fmt.Sprintf("%s version %d", named.Name, named.Version)})
	m.series.use(pool, fleet.TickOf(named.Trained))
	m.log.Info("forecasts are made with a new model", "model", named.Name, "version", named.Version, "hash", named.Hash[:16], "trained", named.Trained)
	return nil
}

func (m *models) fetch(ctx context.Context, named fleet.Model) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	data, err := m.library.fetch(ctx, named.Hash)
	if err != nil {
		return nil, fmt.Errorf("model %s version %d: %w", named.Name, named.Version, err)
	}
	return data, nil
}
