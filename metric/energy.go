package metric

import "math"

// rowsPerPiece is a fixed cut, because the order of additions must not follow the number of processors.
const rowsPerPiece = 32

// EnergyDistance returns the energy distance of the samples x, [n, dim], and y, [m, dim],
//
//	2 E|X−Y| − E|X−X′| − E|Y−Y′|
//
// without a square root, as the V-statistic: every mean runs over all pairs, a sample and itself among them (Székely and
// Rizzo, "Energy statistics: a class of statistics based on distances", 2013, eq. 6.1). It is 0 if and only if the two
// samples are the same, and never negative; for two samples of one law its mean is E|X−X′|·(1/n + 1/m), its noise floor.
// A sample that is not finite makes the result NaN.
//
// The cost is ½(n+m)² distances: 0.25 s for n = m = 10,000 in two dimensions on two cores, and in proportion to dim beyond.
func EnergyDistance(x, y []float32, dim int) float64 {
	n, m := rows("EnergyDistance", x, dim), rows("EnergyDistance", y, dim)
	if n == 0 || m == 0 {
		return math.NaN()
	}
	a, b := widen(x), widen(y)
	fn, fm := float64(n), float64(m)
	xy := between(a, b, dim) / (fn * fm)
	xx := 2 * within(a, dim) / (fn * fn)
	yy := 2 * within(b, dim) / (fm * fm)
	e := 2*xy - xx - yy
	if e < 0 { // rounding only: the V-statistic is a squared norm; NaN passes through
		return 0
	}
	return e
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// between sums |a_i − b_j| over all i and j.
func between(a, b []float64, dim int) float64 {
	return overRows(a, dim, func(i int) float64 { return distances(a[i*dim:(i+1)*dim], b) })
}

// within sums |a_i − a_j| over all i < j.
func within(a []float64, dim int) float64 {
	return overRows(a, dim, func(i int) float64 { return distances(a[i*dim:(i+1)*dim], a[(i+1)*dim:]) })
}

func overRows(a []float64, dim int, row func(i int) float64) float64 {
	n := len(a) / dim
	return sumOver((n+rowsPerPiece-1)/rowsPerPiece, func() func(int) float64 {
		return func(p int) (sum float64) {
			for i := p * rowsPerPiece; i < min(n, (p+1)*rowsPerPiece); i++ {
				sum += row(i)
			}
			return sum
		}
	})
}

// distances sums |p − b_j| over the rows of b.
func distances(p, b []float64) (sum float64) {
	for ; len(b) >= len(p); b = b[len(p):] {
		var d2 float64
		for k, v := range p {
			d := v - b[k]
			d2 += d * d
		}
		sum += math.Sqrt(d2)
	}
	return sum
}
