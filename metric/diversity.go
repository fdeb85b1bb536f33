package metric

import "math"

// Diversity returns how different the feature vectors x, [n, dim], are from one another: 1 minus the mean cosine
// similarity of all pairs,
//
//	1 − 2/(n(n−1)) · Σ over i < j of ⟨xᵢ, xⱼ⟩ / (|xᵢ|·|xⱼ|)
//
// (the diversity of the paper's C.4, there with CLIP's features). It is 0 if all have one direction, 1 if the directions
// have nothing in common, and n/(n−1) at most; it does not depend on the vectors' lengths. Its value means nothing
// without that of real data under the same features.
//
// A single vector has no diversity: NaN, as for a vector of length 0 or one that is not finite.
func Diversity(x []float32, dim int) float64 {
	n := rows("Diversity", x, dim)
	if n < 2 {
		return math.NaN()
	}
	// With unit vectors u, 2 Σ over i < j of ⟨uᵢ, uⱼ⟩ = |Σ u|² − n: linear in n.
	sum := make([]float64, dim)
	for i := range n {
		row := x[i*dim : (i+1)*dim]
		var square float64
		for _, v := range row {
			square += float64(v) * float64(v)
		}
		length := math.Sqrt(square)
		for k, v := range row {
			sum[k] += float64(v) / length
		}
	}
	var square float64
	for _, v := range sum {
		square += v * v
	}
	return max(0, 1-(square-float64(n))/(float64(n)*float64(n-1))) // below 0 by rounding only; NaN passes through
}
