package predictor

import (
	"math"
	"math/cmplx"
	"slices"

	"gonum.org/v1/gonum/dsp/fourier"
	"gonum.org/v1/gonum/stat"
)

// Traits describe the shape of two weeks of a workload's cpu load. The first
// four and the last two depend on its level; the others do not.
type Traits [traitCount]float64

const (
	traitMean    = iota // log of the mean, in percent of what it may use
	traitPeak           // log of q.99 over the mean
	traitSpread         // log of q.95 over the median
	traitCV             // standard deviation over the mean, at most 10
	traitHour           // autocorrelation of hourly means after one hour
	traitDay            // … after one day
	traitPower24        // share of the power of hourly means at a period of 24 h
	traitPower12        // … of 12 h
	traitDiurnal        // deviation of the mean day over that of the hourly means
	traitIdle           // share of ticks below 1 % or a tenth of q.99
	traitJitter         // mean change per tick over the mean
	traitCount
)

// minTraitDays of history are needed for traits: fewer show no daily period.
const minTraitDays = 3

// TraitsOf computes the traits of a history, one value per 5-minute tick, oldest
// first, NaN = missing. full is the amount that counts as 100 % (the reservation,
// or one core). ok is false with less than three days or with less than half of
// the ticks known.
func TraitsOf(values []float32, full float64) (traits Traits, ok bool) {
	x := filledPercent(values, full)
	if x == nil {
		return Traits{}, false
	}
	hours := hourlyMeans(x)
	mean, sd := stat.PopMeanStdDev(x, nil)
	sorted := slices.Sorted(slices.Values(x))
	q := func(level float64) float64 { return math.Log(linearQuantile(sorted, level) + 0.1) }
	p99 := linearQuantile(sorted, 0.99)
	idle, change := 0.0, 0.0
	for i, v := range x {
		idle += boolean(v < max(1, 0.1*p99))
		if i > 0 {
			change += math.Abs(v - x[i-1])
		}
	}
	power := spectrum(hours)
	day := len(hours) / 24
	traits = Traits{
		traitMean: math.Log(mean + 0.1), traitPeak: q(0.99) - math.Log(mean+0.1), traitSpread: q(0.95) - q(0.5),
		traitCV: min(sd/mean, 10), traitHour: autocorrelation(hours, 1), traitDay: autocorrelation(hours, 24),
		traitPower24: sumOf(power[max(day-1, 1) : day+2]), traitPower12: sumOf(power[2*day-1 : 2*day+2]),
		traitDiurnal: dayShape(hours), traitIdle: idle / float64(len(x)), traitJitter: change / float64(len(x)-1) / mean,
	}
	return traits, true
}

// Diurnal tells whether the load repeats every day, by the spectrum of its
// hourly means: 24 h and its overtones down to 2 h hold at least three tenths of
// all power (chance: a thirteenth), and 24 h itself five times what a frequency
// holds on average, so that a job which runs every 8 h is none. A smooth day and a
// nightly job both are; with less than three days nothing is. The idea of telling
// such load by its spectrum is that of Cortez et al., "Resource Central" (SOSP'17).
func Diurnal(values []float32) bool {
	x := filledPercent(values, 1)
	if x == nil {
		return false
	}
	hours := hourlyMeans(x)
	hours = hours[len(hours)%24:] // whole days: 24 h is then one frequency
	power, days := spectrum(hours), len(hours)/24
	daily := 0.0
	for overtone := 1; overtone <= 12; overtone++ {
		daily += power[overtone*days]
	}
	return daily >= 0.3 && power[days] >= 5/float64(len(power))
}

// filledPercent replaces what is missing by a straight line between its neighbours and
// scales to percent; the tiny amount keeps ratios of idle load finite.
func filledPercent(values []float32, full float64) []float64 {
	known := 0
	for _, v := range values {
		if v == v {
			known++
		}
	}
	if len(values) < minTraitDays*ticksPerDay || 2*known < len(values) || !(full > 0) {
		return nil
	}
	x := make([]float64, len(values))
	last := -1
	for i, v := range values {
		if v != v {
			continue
		}
		x[i] = 100*float64(v)/full + 1e-3
		from := x[i]
		if last >= 0 {
			from = x[last]
		}
		for j := last + 1; j < i; j++ {
			x[j] = from + (x[i]-from)*float64(j-last)/float64(i-last)
		}
		last = i
	}
	for j := last + 1; j < len(x); j++ {
		x[j] = x[last]
	}
	return x
}

func hourlyMeans(x []float64) []float64 {
	hours := make([]float64, len(x)/Steps)
	for h := range hours {
		hours[h] = stat.Mean(x[h*Steps:(h+1)*Steps], nil)
	}
	return hours
}

// spectrum returns the share of power per frequency; index i means i periods
// within the hours.
func spectrum(hours []float64) []float64 {
	centred := slices.Clone(hours)
	mean := stat.Mean(hours, nil)
	for i := range centred {
		centred[i] -= mean
	}
	coefficients := fourier.NewFFT(len(centred)).Coefficients(nil, centred)
	power := make([]float64, len(coefficients))
	for i, c := range coefficients {
		power[i] = cmplx.Abs(c) * cmplx.Abs(c)
	}
	if sum := sumOf(power); sum > 1e-12*float64(len(hours)) {
		for i := range power {
			power[i] /= sum
		}
		return power
	}
	return make([]float64, len(power)) // constant load
}

func sumOf(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum
}

func autocorrelation(x []float64, lag int) float64 {
	if _, sd := stat.PopMeanStdDev(x, nil); sd <= 1e-6 {
		return 0
	}
	if c := stat.Correlation(x[:len(x)-lag], x[lag:], nil); c == c {
		return c
	}
	return 0
}

// dayShape is how much of the deviation of hourly means the mean day explains.
func dayShape(hours []float64) float64 {
	var mean [24]float64
	days := len(hours) / 24
	for h, v := range hours[:days*24] {
		mean[h%24] += v / float64(days)
	}
	_, ofDay := stat.PopMeanStdDev(mean[:], nil)
	_, ofAll := stat.PopMeanStdDev(hours, nil)
	return ofDay / max(ofAll, 1e-6)
}

// linearQuantile interpolates between neighbours at level × (n-1).
func linearQuantile(sorted []float64, level float64) float64 {
	place := level * float64(len(sorted)-1)
	i := int(place)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (sorted[i+1]-sorted[i])*(place-float64(i))
}
