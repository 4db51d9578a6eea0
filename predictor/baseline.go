package predictor

// Model turns the features of one series into the centre of its distribution.
type Model interface {
	// Name is what a forecast carries as its model.
	Name() string
	// Centre forecasts the value step ticks (1..Steps) after the tick of the
	// features, in base units.
	Centre(features []float32, step int) float64
}

// Baseline blends persistence with short means, the same minute of the last
// hours and the same time of the last days, each as far as the series has been
// seen to return to its mean or to repeat itself. It needs no training, so it serves every
// series from its first tick and stands guard over any learned model. With less
// than a day of history it is persistence drawn toward the recent mean.
type Baseline struct{}

var _ Model = Baseline{}

// Name implements Model.
func (Baseline) Name() string { return "baseline" }

// Centre implements Model. It lies between the smallest and the largest of what
// the experts say, so it is finite and never negative; features of another
// layout give 0.
func (Baseline) Centre(features []float32, step int) float64 {
	if len(features) != FeatureCount {
		return 0
	}
	step = min(max(step, 1), Steps)
	now := float64(features[FeatureLags])
	low, high, sum := now, now, now
	for i, e := range experts(features, step) {
		low, high = min(low, now+e.change), max(high, now+e.change)
		sum += baselineWeights[step-1][i] * e.trust * e.change
	}
	return min(max(sum, max(low, 0)), high)
}

const expertCount = 11

// expert is one opinion: by how much the value will change, and how far the
// series has earned that opinion (0..1).
type expert struct{ change, trust float64 }

func experts(f []float32, step int) [expertCount]expert {
	at := FeatureSteps + (step-1)*FeaturesPerStep
	now := float64(f[FeatureLags])
	daily, hourly, revert := float64(f[FeatureDaily]), float64(f[FeatureHourly]), float64(f[FeatureRevert])
	from := func(i int) float64 { return float64(f[i]) - now }
	return [...]expert{
		{from(FeatureEWMA), revert},
		{from(FeatureMeans), revert},                      // 15 min
		{from(FeatureMeans + 2), revert},                  // 1 h
		{from(FeatureMeans + 6), revert},                  // 24 h
		{from(FeatureWeek), revert},                       // 7 days
		{from(at), revert},                                // same time, 7 days
		{float64(f[at]) - float64(f[FeatureSame]), daily}, // its change since now
		{from(at), daily},                                 // same time, 7 days
		{from(at + 2), daily},                             // yesterday
		{from(at + 3), daily},                             // a week ago
		{from(at + 4), hourly},                            // same minute, 6 hours
	}
}

// baselineWeights are the weights of the experts per step. They were fitted once
// by TestFitBaseline on days 9 to 14 of the 178 series of the Azure Public
// Dataset V1 sample; the fit sees no later day. Neighbouring steps differ
// because many machines have jobs every ten minutes.
var baselineWeights = [Steps][expertCount]float64{
	{0.699, -0.107, -0.245, 0.054, -0.070, 0.067, 0.246, -0.245, 0.499, 0.059, 0.970},
	{-0.133, 0.020, 0.220, 0.011, 0.031, -0.035, 0.239, -0.021, 0.525, 0.041, 1.293},
	{-0.459, -0.103, 1.162, 0.183, -0.034, 0.035, 0.251, -0.243, 0.350, 0.057, 0.608},
	{-0.268, 0.025, 0.353, 0.002, 0.064, -0.061, 0.229, -0.054, 0.710, 0.075, 1.275},
	{-0.138, -0.161, 0.957, 0.171, -0.044, 0.044, 0.331, -0.342, 0.474, 0.084, 0.544},
	{0.087, -0.043, 0.058, 0.000, 0.026, -0.036, 0.240, -0.010, 0.726, 0.083, 1.333},
	{0.994, -0.330, 0.087, 0.088, -0.030, 0.034, 0.328, -0.290, 0.512, 0.053, 0.492},
	{0.626, -0.167, -0.219, -0.052, 0.078, -0.072, 0.228, -0.181, 0.890, 0.142, 1.204},
	{2.517, -0.578, -1.094, -0.046, -0.053, 0.055, 0.224, -0.211, 0.477, 0.016, 0.578},
	{0.542, 0.081, -0.276, -0.036, 0.087, -0.086, 0.264, -0.142, 0.836, 0.143, 1.178},
	{0.349, 1.254, -0.277, 0.089, -0.018, 0.020, 0.187, -0.190, 0.321, 0.048, 0.367},
	{0.080, 0.047, -0.062, 0.010, 0.002, -0.013, 0.155, 0.032, 0.679, 0.058, 0.085},
}
