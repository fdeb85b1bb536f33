package metric

import "math"

// SpreadSkill returns the ratio of the spread of ensembles [n, members, dim] to the error of their means about the truths
// y [n, dim],
//
//	√((m+1)/m · mean s²) / √(mean (x̄ − y)²),
//
// where s² is the variance of the m members (divisor m−1) and both means run over all ensembles and entries (Fortin et
// al., "Why should ensemble spread match the RMSE of the ensemble mean?", 2014). It is 1 for calibrated ensembles,
// of which the truth could be one more member; below 1 they are too sure, or off.
//
// One member has no spread: NaN, as for no ensemble and for a sample that is not finite.
func SpreadSkill(ensembles, y []float32, members, dim int) float64 {
	n := cases("SpreadSkill", ensembles, y, members, dim)
	m := float64(members)
	var variance, square float64
	for i := range n {
		for k := range dim {
			at := func(j int) float64 { return float64(ensembles[(i*members+j)*dim+k]) }
			var mean, s2 float64
			for j := range members {
				mean += at(j) / m
			}
			for j := range members {
				s2 += (at(j) - mean) * (at(j) - mean)
			}
			variance += s2 / (m - 1)
			miss := mean - float64(y[i*dim+k])
			square += miss * miss
		}
	}
	return math.Sqrt((m + 1) / m * variance / square)
}
