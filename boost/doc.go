// Package boost owns gradient boosted trees and their calibration: a histogram
// learner, the model it yields and that model's bytes, exact contributions of
// each feature, and the map from scores to probabilities.
//
// It chooses no features, splits no data into past and future and keeps no
// model: rows come in as a matrix, models go out as values. A seed and a matrix
// give the same bytes on any number of threads, because histograms are sums of
// integers (see quantise.go) and each is written by one call of par.
package boost
