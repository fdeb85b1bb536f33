package metric

import (
	"math"
	"slices"

	"github.com/doob-diffusion/doob/noise"
)

// SlicedW2 returns the sliced 2-Wasserstein distance of the samples x, [n, dim], and y, [m, dim]:
//
//	SW₂ = ( mean over unit directions θ of W₂²(⟨θ,x⟩, ⟨θ,y⟩) )^½
//
// (Rabin, Peyré, Delon and Bernot, "Wasserstein barycenter and its application to texture mixing", SSVM 2011.) The
// directions are uniform on the sphere and depend on key alone, so that the distances of several methods under one key
// share them. In one dimension there is one direction and SW₂ = W₂. A sample that is not finite makes the result NaN.
//
// Two samples of one law are not at distance 0 (for N(0,1) in one dimension the expected W₂² is of order log(log n)/n),
// hence compare with the distance between two exact samples of the same sizes.
func SlicedW2(x, y []float32, dim, directions int, key noise.Key) float64 {
	n, m := rows("SlicedW2", x, dim), rows("SlicedW2", y, dim)
	if dim == 1 {
		directions = 1
	}
	if directions < 1 {
		panic("metric.SlicedW2: needs at least one direction")
	}
	if n == 0 || m == 0 {
		return math.NaN()
	}
	sum := sumOver(directions, func() func(int) float64 {
		px, py := make([]float64, n), make([]float64, m)
		return func(i int) float64 {
			theta := direction(key, i, dim)
			project(px, x, theta)
			project(py, y, theta)
			slices.Sort(px)
			slices.Sort(py)
			return squaredW2(px, py)
		}
	})
	return math.Sqrt(sum / float64(directions))
}

// direction returns the i-th unit vector of key: a normal vector, scaled.
func direction(key noise.Key, i, dim int) []float64 {
	z := make([]float32, dim)
	theta := make([]float64, dim)
	for step := uint32(0); ; step++ { // a vector too short to scale is drawn again
		key.Normal(z, uint64(i), step)
		var norm float64
		for k, v := range z {
			theta[k] = float64(v)
			norm += theta[k] * theta[k]
		}
		if norm < 1e-12 {
			continue
		}
		for k := range theta {
			theta[k] /= math.Sqrt(norm)
		}
		return theta
	}
}

// project fills dst [n] with the inner products of the rows of x [n, dim] and theta [dim].
func project(dst []float64, x []float32, theta []float64) {
	for i := range dst {
		var s float64
		for k, v := range x[i*len(theta) : (i+1)*len(theta)] {
			s += float64(v) * theta[k]
		}
		dst[i] = s
	}
}

// squaredW2 returns ∫₀¹ (F⁻¹(u) − G⁻¹(u))² du of two sorted samples: sorted values pair up, and where the sizes differ
// a value is shared out over all values that it overlaps in u. Mass is counted in whole units of 1/(nm), so no unit is
// lost to rounding.
func squaredW2(x, y []float64) float64 {
	n, m := len(x), len(y)
	if n == m {
		var sum float64
		for i, v := range x {
			d := v - y[i]
			sum += d * d
		}
		return sum / float64(n)
	}
	var sum float64
	leftX, leftY := m, n // units left in x[i] and in y[j]
	for i, j := 0, 0; i < n; {
		mass := min(leftX, leftY)
		d := x[i] - y[j]
		sum += float64(mass) * d * d
		if leftX -= mass; leftX == 0 {
			i, leftX = i+1, m
		}
		if leftY -= mass; leftY == 0 {
			j, leftY = j+1, n
		}
	}
	return sum / (float64(n) * float64(m))
}
