package metric

import (
	"fmt"
	"math"
)

// ModeWeights returns the fraction of the samples x, [n, dim], that lie nearest to each centre in Euclidean distance;
// of equally near centres the first one counts. A sample that is not finite belongs to no centre, so that the weights
// of a diverged sampler sum to less than 1. Compare with the exact weights by [TotalVariation].
func ModeWeights(x []float32, dim int, centres [][]float64) []float64 {
	n := rows("ModeWeights", x, dim)
	for i, c := range centres {
		if len(c) != dim {
			panic(fmt.Sprintf("metric.ModeWeights: centre %d has dimension %d, want %d", i, len(c), dim))
		}
	}
	w := make([]float64, len(centres))
	for i := range n {
		nearest, least := -1, math.Inf(1)
		for j, c := range centres {
			var d2 float64
			for k, v := range x[i*dim : (i+1)*dim] {
				d := float64(v) - c[k]
				d2 += d * d
			}
			if d2 < least {
				nearest, least = j, d2
			}
		}
		if nearest >= 0 {
			w[nearest]++
		}
	}
	for j := range w {
		w[j] /= float64(n)
	}
	return w
}

// TotalVariation returns ½ Σ|pᵢ − qᵢ|: between two distributions it is in [0, 1], the largest difference in probability
// that they give to any event. When p sums to less than 1 the missing mass counts too, as an event of its own:
//
//	½ Σ|pᵢ − qᵢ| + ½ |Σp − Σq|
func TotalVariation(p, q []float64) float64 {
	if len(p) != len(q) {
		panic(fmt.Sprintf("metric.TotalVariation: %d and %d weights", len(p), len(q)))
	}
	if len(p) == 0 {
		return math.NaN()
	}
	var tv, missing float64
	for i := range p {
		tv += math.Abs(p[i] - q[i])
		missing += p[i] - q[i]
	}
	return (tv + math.Abs(missing)) / 2
}
