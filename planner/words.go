package planner

import (
	"fmt"
	"strings"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// label is what an operator calls the host.
func (s *site) label() string {
	if s.Name != "" {
		return s.Name
	}
	return string(s.ID)
}

func (b *books) label(id fleet.HostID) string {
	if s := b.byHost[id]; s != nil {
		return s.label()
	}
	return string(id)
}

func cores(millicores float64) string { return fmt.Sprintf("%.2f cores", millicores/1000) }

func amountText(r fleet.Resource, amount float64) string {
	if r == fleet.CPU {
		return cores(amount)
	}
	return fleet.FormatAmount(r, int64(amount))
}

func quantile(p fleet.Policy) float64      { return float64(p.Quantile) / 1000 }
func quantileText(p fleet.Policy) string   { return scorer.Percent(p.Quantile) }
func clockText(t time.Time) string         { return t.UTC().Format("15:04:05") }
func durationText(d time.Duration) string  { return d.Round(10 * time.Millisecond).String() }
func percentText(share float64) string     { return fmt.Sprintf("%.0f %%", 100*share) }
func streakText(passes, hold int64) string { return fmt.Sprintf("%d of %d passes", passes, hold) }

// contentionText says what is short, how much, when and how surely.
func (b *books) contentionText(c fleet.Contention, policy fleet.Policy) string {
	host := b.label(c.Host)
	switch {
	case b.isBooked(c):
		return fmt.Sprintf("%s has %s of memory booked and %s to give", host, amountText(c.Resource, c.Demand), amountText(c.Resource, float64(c.Allocatable)))
	case c.Now:
		return fmt.Sprintf("%s is contended now: %s needed of %s of %s", host, amountText(c.Resource, c.Demand), amountText(c.Resource, float64(c.Allocatable)), c.Resource)
	}
	return fmt.Sprintf("%s is expected to need %s of %s of %s (%s quantile) from %s on, probability %.2f", host,
		amountText(c.Resource, c.Demand), amountText(c.Resource, float64(c.Allocatable)), c.Resource, quantileText(policy), clockText(c.Breach), c.Probability)
}

// loadText prints whole seconds without the zero units: "1h", not "1h0m0s".
func loadText(d time.Duration) string {
	s := d.Round(time.Second).String()
	if cut, ok := strings.CutSuffix(s, "m0s"); ok {
		s = cut + "m"
	}
	if cut, ok := strings.CutSuffix(s, "h0m"); ok {
		s = cut + "h"
	}
	return s
}
