package reference

import "math"

// class is one make of host.
type class struct {
	cores, mips float64
	total       float64 // cores × mips
	watts       [11]float64
}

// classes alternate over the hosts: the SPECpower figures of two HP servers.
var classes = [2]class{
	{cores: 2, mips: 1860, total: 3720, watts: [11]float64{86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117}},
	{cores: 2, mips: 2660, total: 5320, watts: [11]float64{93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135}},
}

// power returns the watts at a utilisation of 0..1: linear between the measured
// points, the point itself where the utilisation is an exact multiple of the
// double 0.1.
func (c *class) power(u float64) float64 {
	tenths := math.Round(u * 10)
	if float64(tenths*0.1) == u && math.Mod(u, 0.1) == 0 {
		return c.watts[int(u*10)]
	}
	low, high := math.Floor(u*10), math.Ceil(u*10)
	a, b := c.watts[int(low)], c.watts[int(high)]
	delta := (b - a) / 10
	return a + float64(float64(delta*(u-low/10))*100)
}
