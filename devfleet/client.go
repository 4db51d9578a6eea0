package devfleet

import (
	"context"
	"errors"

	"github.com/placed-dev/placed/api"
)

// client asks the fleet through whichever agent answers.
type client struct{ of []*api.Client }

func newClient(hosts []Host) (*client, error) {
	c := &client{}
	for _, h := range hosts {
		one, err := api.New(api.Config{Address: "http://" + h.address(portAPI), Getenv: func(string) string { return "" }})
		if err != nil {
			return nil, err
		}
		c.of = append(c.of, one)
	}
	return c, nil
}

func (c *client) Close() {
	for _, one := range c.of {
		one.Close()
	}
}

// ask asks the agents in turn until one answers.
func ask[T any](c *client, question func(*api.Client) (T, error)) (T, error) {
	var none T
	var errs []error
	for _, one := range c.of {
		answer, err := question(one)
		if err == nil {
			return answer, nil
		}
		errs = append(errs, err)
	}
	return none, errors.Join(errs...)
}

func (c *client) migrations(ctx context.Context) ([]api.Migration, error) {
	return ask(c, func(one *api.Client) ([]api.Migration, error) {
		m, _, err := one.Migrations(ctx, 0, api.QueryOptions{})
		return m, err
	})
}

func (c *client) status(ctx context.Context) (api.Status, error) {
	return ask(c, func(one *api.Client) (api.Status, error) {
		s, _, err := one.Status(ctx, api.QueryOptions{})
		return s, err
	})
}

func (c *client) hosts(ctx context.Context) ([]api.Host, error) {
	return ask(c, func(one *api.Client) ([]api.Host, error) {
		h, _, err := one.Hosts(ctx, api.QueryOptions{})
		return h, err
	})
}
