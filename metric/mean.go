package metric

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat"
)

// MeanSE returns the mean of v and its standard error, the sample standard deviation (divisor n−1) over √n.
// One value says nothing of its error: se is NaN for n < 2, and so is the mean for n = 0.
func MeanSE(v []float64) (mean, se float64) {
	if len(v) == 0 {
		return math.NaN(), math.NaN()
	}
	mean, sd := stat.MeanStdDev(v, nil)
	if len(v) == 1 {
		return mean, math.NaN()
	}
	return mean, sd / math.Sqrt(float64(len(v)))
}

// Accuracy returns the fraction of predicted labels that equal the wanted ones, in [0, 1]; NaN for none.
func Accuracy(predicted, want []int) float64 {
	if len(predicted) != len(want) {
		panic(fmt.Sprintf("metric.Accuracy: %d predicted and %d wanted labels", len(predicted), len(want)))
	}
	right := 0
	for i, p := range predicted {
		if p == want[i] {
			right++
		}
	}
	return float64(right) / float64(len(want))
}
