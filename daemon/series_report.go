package daemon

import (
	"cmp"
	"encoding/base64"
	"hash/fnv"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

const (
	// maxTickReport bounds what a report carries of one workload at each tick, in
	// bytes of its JSON, all resources together.
	maxTickReport = 2 << 10
	// maxTickSeries is what of it the series may take: the rest is for usage, names
	// and what can be changed of the workload.
	maxTickSeries = maxTickReport - 208
	// seriesFrame is the JSON of a series around its bytes and its workload's name.
	seriesFrame = 88
)

// sentSeries names what a voter has of a workload.
type sentSeries struct {
	// tick and replays are those of the newest report that carried its series.
	tick    int64
	replays int
	// newest is the tick of each resource's newest series, in the order of
	// forecastResources; 0 = the voter has none of its residuals.
	newest [len(forecastResources)]int64
	// record marks the record of cpu that it has.
	record uint64
}

// report returns what a voter is to be told of a workload's series beyond what it
// has, and what it has then; nothing when there is no news since that tick.
//
// Cpu travels at every tick. The other resources take turns, the one that was told
// longest ago first, as many as the bound of a report leaves room for; their ticks
// say how old they are. What is told carries the residuals since the last time; a
// voter that has none gets the whole last day, one resource a report. A record
// changes with every third tick, when forecasts come due: of cpu it is left out
// until then, which leaves the room for the others.
func (s *seriesSet) report(id fleet.WorkloadID, tick int64, have sentSeries) ([]fleet.Series, sentSeries) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of(id)
	if have.replays != o.replays {
		have.record = 0
	}
	news := have.tick != tick || have.replays != o.replays
	have.tick, have.replays = tick, o.replays
	var out []fleet.Series
	room, whole := maxTickSeries, false
	if series := o.series[fleet.CPU]; series != nil && !series.Empty() && (news || have.newest[0] == 0) {
		told := s.tell(o, id, 0, series.Tick()-have.newest[0], have.newest[0] == 0)
		if mark := markOf(told.Record); mark == have.record {
			told.Record = nil
		} else {
			have.record = mark
		}
		out, whole = append(out, told), told.Whole
		room -= sizeOf(told)
		have.newest[0] = told.Tick
	}
	for _, i := range o.turns(have) {
		age := o.series[forecastResources[i]].Tick() - have.newest[i]
		switch {
		case have.newest[i] == 0 && !whole:
			out, whole = append(out, s.tell(o, id, i, 0, true)), true
		case have.newest[i] == 0 || !news || age <= 0:
			continue
		default:
			told := s.tell(o, id, i, age, false)
			if over := sizeOf(told) - room; over > 0 {
				// Of a voter that has missed reports, the oldest residuals are
				// left out: it asks for the whole day then.
				if age -= int64(over+residualSize-1) / residualSize; age < 1 {
					continue // its turn comes when cpu needs less
				}
				told = s.tell(o, id, i, age, false)
			}
			room -= sizeOf(told)
			out = append(out, told)
		}
		have.newest[i] = o.series[forecastResources[i]].Tick()
	}
	return out, have
}

// residualSize is what one residual of a resource beside cpu adds to a report.
const residualSize = (2 + 2 + predictor.Steps) * 4 / 3

// turns lists the places of the resources beside cpu that have a series, the one
// that the voter heard of longest ago first.
func (o *observed) turns(have sentSeries) []int {
	var out []int
	for i, r := range forecastResources[1:] {
		if series := o.series[r]; series != nil && !series.Empty() {
			out = append(out, i+1)
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(have.newest[a], have.newest[b]) })
	return out
}

// tell is what is said of one series, with so many residuals or the whole day of
// them; needs mu.
func (s *seriesSet) tell(o *observed, id fleet.WorkloadID, i int, residuals int64, whole bool) fleet.Series {
	r := forecastResources[i]
	series := o.series[r]
	n := dayOfResiduals
	if !whole {
		n = int(min(max(residuals, 1), int64(dayOfResiduals)))
	}
	told := predictor.Packed(series.Report(id, r, n))
	if len(told.Packed) > 0 {
		told.FeatureVersion = 0 // the packed bytes say it
	}
	told.Whole = whole
	told.Outlook, told.Record = predictor.OutlookBytes(series.Outlook()), o.tracks[r].Record(s.shared[r])
	return told
}

// sizeOf a series in the JSON of a report, in bytes.
func sizeOf(s fleet.Series) int {
	n := seriesFrame + len(s.Workload)
	for _, part := range [][]byte{s.Packed, s.Outlook, s.Record} {
		n += base64.StdEncoding.EncodedLen(len(part))
	}
	return n
}

func markOf(record []byte) uint64 {
	h := fnv.New64a()
	h.Write(record)
	return h.Sum64()
}
