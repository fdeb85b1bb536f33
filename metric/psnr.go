package metric

import "math"

// PSNR returns the peak signal-to-noise ratio in dB of every image x against its reference y, both [n, dim] in [−1, 1]:
//
//	10 log₁₀ (2² / mean (x−y)²)
//
// with the range 2 as peak. It is +∞ for equal images, and NaN for one that is not finite. Of all estimates of y from a
// measurement, the posterior mean has the smallest mean square: a posterior sample, which is off by its own spread as
// well, has a PSNR lower by 3 dB.
func PSNR(x, y []float32, dim int) []float64 {
	n := pairs("PSNR", x, y, dim)
	out := make([]float64, n)
	for i := range out {
		var sum float64
		for k := i * dim; k < (i+1)*dim; k++ {
			d := float64(x[k]) - float64(y[k])
			sum += d * d
		}
		out[i] = 10 * math.Log10(4*float64(dim)/sum)
	}
	return out
}
