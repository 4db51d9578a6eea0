package controller

import (
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Report is what a host tells every voter, every report interval with jitter.
// It decides nothing: capacity is decided in the books.
type Report struct {
	Host fleet.HostID `json:"host"`
	// Boot tells one run of the agent from the next; Seq grows within a run.
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
	// At is the load time of the newest sample.
	At    time.Time    `json:"at"`
	Usage fleet.Vector `json:"usage"`
	// Foreign is the part of Usage that belongs to no workload in the books.
	Foreign fleet.Vector `json:"foreign"`
	// Contended is how many machine seconds of this run the host's demand
	// exceeded its allocatable capacity.
	Contended float64 `json:"contended_s"`
	// Bandwidth of the migration link as last measured, bytes per second.
	Bandwidth  int64            `json:"bandwidth"`
	Workloads  []WorkloadReport `json:"workloads"`
	Migrations []fleet.Progress `json:"migrations,omitempty"`
	// Trips are the round-trip times to the zones that this host has sampled.
	Trips []ZoneTrip `json:"trips,omitempty"`
	// FitVersion names what the host has and its workloads require, 0 of an agent
	// that does not say; Fit is that itself, for a voter that does not have it yet.
	FitVersion uint64 `json:"fit_version,omitempty"`
	Fit        *Fit   `json:"fit,omitempty"`
}

// WorkloadReport is the part of a report about one workload.
type WorkloadReport struct {
	ID    fleet.WorkloadID `json:"id"`
	Usage fleet.Vector     `json:"usage"`
	Wait  int64            `json:"wait"` // run-queue wait, millicores
	// Size of the state, WriteRate and WorkingSet as last measured.
	Size       int64 `json:"size"`
	WriteRate  int64 `json:"write_rate"`
	WorkingSet int64 `json:"working_set"`
	// Knobs are what its driver can change of it while it runs; absent where the
	// policy lets nothing be changed.
	Knobs []fleet.Knob `json:"knobs,omitempty"`
	// Copies says that its driver can keep a copy of it up to date elsewhere.
	Copies bool `json:"copies,omitempty"`
	// Tick is the newest complete tick, TickCPU the mean demand in it.
	Tick    int64 `json:"tick"`
	TickCPU int64 `json:"tick_cpu"`
	// Series carry the features of the newest tick, and either the newest
	// residual or, when the voter asked for it, a day of them.
	Series []fleet.Series `json:"series"`
	// Description, once a load day until the leader has answered it.
	Description *Description `json:"description,omitempty"`
}

// Description is what the category of a workload is found from: one day's look at
// the shape of its load.
type Description struct {
	Day     int64            `json:"day"` // of load time, since 1970
	Traits  predictor.Traits `json:"traits"`
	Diurnal bool             `json:"diurnal"`
	Shares  predictor.Shares `json:"shares"`
}

// Ack answers a report.
type Ack struct {
	// Full asks for a day of residuals and recent ticks with the next report:
	// this voter has none, or missed some.
	Full bool `json:"full"`
	// Fit asks for the host's fit: this voter does not have that version.
	Fit bool `json:"fit,omitempty"`
	// Members are the categories of described workloads, from the leader alone;
	// the host puts them into the books with its next profile.
	Members map[fleet.WorkloadID]predictor.Membership `json:"members,omitempty"`
}
