package fsm

import "github.com/placed-dev/placed/fleet"

func (c *coder) vector(v *fleet.Vector) {
	c.message(func() {
		c.int(&v.CPU)
		c.int(&v.Memory)
		c.int(&v.Net)
		c.int(&v.Disk)
		list(c, &v.Named, func(a *fleet.Amount) {
			str(c, &a.Name)
			c.int(&a.Amount)
		})
	})
}

func (c *coder) token(t *fleet.Token) {
	c.message(func() {
		str(c, &t.Cluster)
		c.uint(&t.Generation)
		c.uint(&t.Index)
	})
}

func (c *coder) host(h *fleet.Host) {
	c.message(func() {
		str(c, &h.ID)
		str(c, &h.Name)
		str(c, &h.Zone)
		str(c, &h.Class)
		str(c, &h.Address)
		str(c, &h.Traffic)
		str(c, &h.API)
		c.bool(&h.Voter)
		c.vector(&h.Capacity)
		c.vector(&h.Reserve)
		c.vector(&h.Overcommit)
		enum(c, &h.State)
		c.uint(&h.Registered)
	})
}

func (c *coder) workload(w *fleet.Workload) {
	c.message(func() {
		str(c, &w.ID)
		enum(c, &w.Kind)
		str(c, &w.Instance)
		str(c, &w.Driver)
		str(c, &w.Owner)
		c.uint(&w.Epoch)
		c.vector(&w.Reservation)
		c.int(&w.Priority)
		c.int(&w.Tolerance)
		c.int(&w.Port)
		c.bool(&w.Pinned)
		str(c, &w.ManagedBy)
		c.late(w.Group != "", func() { str(c, &w.Group) })
	})
}

func (c *coder) lease(l *fleet.Lease) {
	c.message(func() {
		str(c, &l.ID)
		enum(c, &l.Kind)
		str(c, &l.Workload)
		str(c, &l.Source)
		str(c, &l.Destination)
		enum(c, &l.Type)
		c.token(&l.Token)
		enum(c, &l.State)
		c.vector(&l.Reservation)
		str(c, &l.Digest)
		c.bool(&l.Discarded)
		str(c, &l.Decision)
		str(c, &l.Reason)
		c.uint(&l.Changed)
		c.time(&l.GrantedAt)
		c.late(l.Group != "", func() { str(c, &l.Group) })
	})
}

func (c *coder) policy(p *fleet.Policy) {
	c.message(func() {
		enum(c, &p.Automation)
		c.bool(&p.Paused)
		c.int(&p.Quantile)
		c.duration(&p.Horizon)
		c.int(&p.HoldPasses)
		c.duration(&p.Margin)
		c.int(&p.Headroom)
		c.duration(&p.Cooldown)
		c.duration(&p.CooldownReset)
		c.int(&p.MovesPerPass)
		c.int(&p.MovesInFlight)
		c.int(&p.ChurnPerHour)
		c.late(p.Extended(), func() {
			c.int(&p.ReserveHosts)
			c.int(&p.MovesPerHost)
			c.int(&p.BandwidthInFlight)
			c.bool(&p.Consolidate)
		})
		c.late(p.InPlaceOrLinks() || p.Standbys != 0, func() {
			c.bool(&p.InPlace.CPUWeight)
			c.bool(&p.InPlace.CPUQuota)
			c.bool(&p.InPlace.VCPUs)
			c.bool(&p.InPlace.Balloon)
			c.int(&p.MovesPerLink)
			c.int(&p.BandwidthPerLink)
		})
		c.late(p.Standbys != 0, func() { c.int(&p.Standbys) })
	})
}

func (c *coder) decision(d *fleet.Decision) {
	c.message(func() {
		str(c, &d.ID)
		str(c, &d.Pass)
		c.time(&d.At)
		str(c, &d.Outcome)
		str(c, &d.Workload)
		str(c, &d.From)
		str(c, &d.To)
		enum(c, &d.Type)
		str(c, &d.Reason)
		optional(c, &d.Contention, c.contention)
		c.time(&d.LeaveBy)
		list(c, &d.CandidateScore, c.scorePart)
		list(c, &d.Scores, c.score)
		list(c, &d.Exclusions, func(x *fleet.Exclusion) {
			c.message(func() {
				str(c, &x.Host)
				str(c, &x.Workload)
				str(c, &x.Reason)
			})
		})
		str(c, &d.InputHash)
	})
}

func (c *coder) score(s *fleet.Score) {
	c.message(func() {
		str(c, &s.Host)
		c.float(&s.Total)
		list(c, &s.Parts, c.scorePart)
	})
}

func (c *coder) scorePart(p *fleet.ScorePart) {
	str(c, &p.Name)
	c.float(&p.Value)
}

func (c *coder) contention(k *fleet.Contention) {
	c.message(func() {
		str(c, &k.Host)
		str(c, &k.Zone)
		str(c, &k.Resource)
		c.float(&k.Probability)
		c.time(&k.Breach)
		c.small(&k.Steps)
		c.float(&k.Demand)
		c.int(&k.Allocatable)
		c.bool(&k.Now)
	})
}

func (c *coder) event(e *fleet.Event) {
	c.message(func() {
		c.uint(&e.Index)
		c.small(&e.Seq)
		c.time(&e.At)
		str(c, &e.Topic)
		str(c, &e.Type)
		str(c, &e.Host)
		str(c, &e.Workload)
		str(c, &e.Lease)
		str(c, &e.Message)
		c.bytes(&e.Data)
	})
}
