//go:build race

package predictor

// raceDetector: figures are skipped under it. It would make them several times
// slower and has nothing to find in a package without goroutines.
const raceDetector = true
