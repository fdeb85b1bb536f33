package metric

import (
	"math"

	"gonum.org/v1/gonum/floats"
)

// ESS returns the effective sample size of log weights, in paths (Kish 1965):
//
//	ESS = (Σw)² / Σw²
//
// It lies between 1 and the number of weights that are not 0, and adding a constant to every log weight does not change
// it. A log weight of −∞ is a weight of 0 and counts for nothing; if all are −∞, or there is none, ESS is 0.
// A NaN or a +∞ makes it NaN: a broken weight shall not pass unseen. Drop and count such paths first (method §4).
func ESS(logW []float64) float64 {
	if len(logW) == 0 {
		return 0
	}
	if floats.HasNaN(logW) {
		return math.NaN()
	}
	top := floats.Max(logW)
	if math.IsInf(top, -1) {
		return 0
	}
	var sum, squares float64
	for _, l := range logW {
		w := math.Exp(l - top)
		sum += w
		squares += w * w
	}
	return sum * sum / squares
}

// LogMeanExp returns log( (1/n) Σ exp(logWᵢ) ), the estimate log Ẑ when logW are log path weights, without overflow.
// It is −∞ if all are −∞, NaN if there is none or any is NaN.
func LogMeanExp(logW []float64) float64 {
	if len(logW) == 0 || floats.HasNaN(logW) {
		return math.NaN()
	}
	return floats.LogSumExp(logW) - math.Log(float64(len(logW)))
}
