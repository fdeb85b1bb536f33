package metric

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
)

// ParetoShape returns k̂, the shape of a generalised Pareto law fitted to the largest M = ⌈min(n/5, 3√n)⌉ of the weights:
//
//	P(w > c + x | w > c) ≈ (1 + k·x/σ)^(−1/k)
//
// (Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", 2024, with the fit of Zhang & Stephens 2009.) The
// weights' moments of order 1/k and above do not exist: with k̂ > ½ their variance is not finite, and with k̂ near 1 not even their mean can
// be estimated. See [ParetoLimit] for how large it may be.
//
// It is 0 where the largest weight exceeds those that are not in the tail by no more than a thousandth: what the shape of so little is does not
// matter. And it is NaN, for nothing can be said, if fewer than five weights exceed the others: so for n ≤ 20.
func ParetoShape(logW []float64) float64 {
	n := len(logW)
	m := int(math.Ceil(min(float64(n)/5, 3*math.Sqrt(float64(n)))))
	if m < 5 || floats.HasNaN(logW) {
		return math.NaN()
	}
	rising := slices.Sorted(slices.Values(logW))
	top := rising[n-1]
	if rising[n-m-1] >= top-1e-3 || math.IsInf(top, -1) {
		return 0
	}
	cutoff := math.Exp(rising[n-m-1] - top)
	var excess []float64
	for _, l := range rising[n-m:] {
		if x := math.Exp(l-top) - cutoff; x > 0 {
			excess = append(excess, x)
		}
	}
	if len(excess) < 5 {
		return math.NaN()
	}
	return paretoShape(excess)
}

// ParetoLimit is the largest k̂ with which n weights make a reliable mean, min(1 − 1/log₁₀ n, 0.7) (Vehtari et al. 2024).
func ParetoLimit(n int) float64 { return min(1-1/math.Log10(float64(n)), 0.7) }

// ParetoPaths is the number of weights that would do for a k̂ below 0.7: the n of which it is the limit.
func ParetoPaths(k float64) float64 { return math.Pow(10, 1/(1-max(k, 0))) }

// paretoShape fits positive excesses in rising order: the mean of b = −k/σ under its profile likelihood, over a grid that the upper quarter of a
// prior suggests, and then k given b. As in the source, k is drawn to ½ as if by ten more observations.
func paretoShape(x []float64) float64 {
	n := float64(len(x))
	quartile, largest := x[int(n/4+0.5)-1], x[len(x)-1]
	if quartile < 1e-290*largest {
		return math.Inf(1)
	}
	grid := 30 + int(math.Sqrt(n))
	b, profile := make([]float64, grid), make([]float64, grid)
	shape := func(b float64) (k float64) {
		for _, v := range x {
			k += math.Log1p(-b*v) / n
		}
		return k
	}
	for j := range b {
		b[j] = 1/largest + (1-math.Sqrt(float64(grid)/(float64(j)+0.5)))/(3*quartile)
		k := shape(b[j])
		profile[j] = n * (math.Log(-b[j]/k) - k - 1)
	}
	norm, mean := floats.LogSumExp(profile), 0.0
	for j := range b {
		mean += b[j] * math.Exp(profile[j]-norm)
	}
	return (n*shape(mean) + 10*0.5) / (n + 10)
}
