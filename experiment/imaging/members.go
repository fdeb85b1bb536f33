package imaging

import (
	"math"

	"github.com/doob-diffusion/doob/method"
)

// Clipped returns images without what bicubic interpolation and diffusion leave outside of [−1, 1].
func Clipped(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = min(1, max(-1, v))
	}
	return out
}

// Means returns the means of every so many consecutive rows of x [n·members, dim].
func Means(x []float32, members, dim int) []float32 {
	out := make([]float32, len(x)/members)
	for i := range out {
		row, k := i/dim, i%dim
		var sum float64
		for j := range members {
			sum += float64(x[(row*members+j)*dim+k])
		}
		out[i] = float32(sum / float64(members))
	}
	return out
}

// Spread returns the pixel-wise standard deviations of the samples of every measurement.
func Spread(s *method.Samples, dim int) []float32 {
	out := Means(s.X, s.Members, dim)
	for i, mean := range out {
		var square float64
		for j := range s.Members {
			v := float64(s.X[(i/dim*s.Members+j)*dim+i%dim] - mean)
			square += v * v
		}
		out[i] = float32(math.Sqrt(square / float64(max(1, s.Members-1))))
	}
	return out
}
