package daemon

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/placed-dev/placed/driver"
)

// settle is the pause between news and the look that follows: a start or an end is
// several events, and one look is enough for them.
const settle = 100 * time.Millisecond

// heraldParts follow the drivers that tell when something has changed: domains that come
// and go are seen at once, not by the next sample.
func (d *Daemon) heraldParts() (out []part) {
	for _, name := range slices.Sorted(maps.Keys(d.inventory.drivers)) {
		h, ok := d.inventory.drivers[name].(driver.Herald)
		if !ok {
			continue
		}
		out = append(out, part{name: name + " news", run: func(ctx context.Context) error {
			d.inventory.follow(ctx, h.News(), d.proxyNudge)
			return nil
		}})
	}
	return out
}

// follow looks at what runs here after news, until ctx ends, and tells done.
func (i *inventory) follow(ctx context.Context, news <-chan struct{}, done func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		select {
		case <-news: // seen by the look that comes now
		default:
		}
		i.observe(ctx)
		done()
	}
}
