package metric

import (
	"fmt"
	"math"
	"slices"
)

// CRPS returns the continuous ranked probability score of every ensemble, averaged over its entries, for ensembles
// [n, members, dim] of samples and the truths y [n, dim]. For one entry with members x₁ … x_m it is the fair estimator
//
//	1/m Σᵢ |xᵢ − y| − 1/(2m(m−1)) Σᵢⱼ |xᵢ − xⱼ|
//
// (Ferro, "Fair scores for ensemble forecasts", 2014), whose mean over ensembles is the score ∫(F(z) − 1[z ≥ y])² dz of
// the law F that they are drawn from, whatever m is; so it may be negative. It is in units of the entries, and smaller is
// better: its mean is smallest where F is the law of y given what the ensemble is given. It looks at one entry at a time,
// and sees nothing of how entries depend on one another.
//
// One member has no spread: NaN, as for a sample that is not finite.
func CRPS(ensembles, y []float32, members, dim int) []float64 {
	n := cases("CRPS", ensembles, y, members, dim)
	out, entry := make([]float64, n), make([]float64, members)
	for i := range out {
		var sum float64
		for k := range dim {
			for j := range entry {
				entry[j] = float64(ensembles[(i*members+j)*dim+k])
			}
			sum += crps(entry, float64(y[i*dim+k]))
		}
		out[i] = sum / float64(dim)
	}
	return out
}

// crps sorts the members: then Σ over i < j of x_j − x_i = Σ (2k−m+1) x_k.
func crps(x []float64, y float64) float64 {
	slices.Sort(x)
	m := float64(len(x))
	var miss, spread float64
	for k, v := range x {
		miss += math.Abs(v - y)
		spread += (2*float64(k) - m + 1) * v
	}
	return miss/m - spread/(m*(m-1)) // 0/0 for one member; NaN passes through
}

// cases returns the number n of ensembles [n, members, dim] and of their truths y [n, dim].
func cases(caller string, ensembles, y []float32, members, dim int) int {
	n := rows(caller, y, dim)
	if members < 1 || len(ensembles) != n*members*dim {
		panic(fmt.Sprintf("metric.%s: %d values for %d truths of dimension %d with %d members each, want %d", caller,
			len(ensembles), n, dim, members, n*members*dim))
	}
	return n
}
