package reward

import (
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/engine"
)

// Bicubic upsamples images y [n, height, width, channels] of the given shape [height, width, channels] by a factor, to
// [n, height·factor, width·factor, channels]: what restoration from an [Average] must beat, without any prior. It is
// cubic convolution with a = −½ (Keys, "Cubic convolution interpolation for digital image processing", 1981) and
// pixels at their centres, as in PIL; at the border the weights inside the image are renormalised. It overshoots at
// edges, so values may leave [−1, 1]: clip before comparing. It panics if y is no whole number of images.
func Bicubic(y []float32, shape []int, factor int) []float32 {
	if len(shape) != 3 || engine.Size(shape) < 1 || len(y)%engine.Size(shape) != 0 || factor < 1 {
		panic(fmt.Sprintf("reward.Bicubic: %d numbers are no images [height, width, channels] of shape %v, or the factor %d is not positive",
			len(y), shape, factor))
	}
	height, width, channels := shape[0], shape[1], shape[2]
	wide := stretch(y, width, channels, factor)
	return stretch(wide, height, width*factor*channels, factor)
}

// stretch upsamples the middle axis of x [outer, length, inner].
func stretch(x []float32, length, inner, factor int) []float32 {
	out := make([]float32, len(x)*factor)
	for o := range len(x) / (length * inner) {
		from := x[o*length*inner : (o+1)*length*inner]
		for i := range length * factor {
			to := out[(o*length*factor+i)*inner : (o*length*factor+i+1)*inner]
			centre := (float64(i)+0.5)/float64(factor) - 0.5
			first := int(math.Floor(centre)) - 1
			lo, hi := max(first, 0), min(first+4, length)
			var sum float64
			for t := lo; t < hi; t++ {
				sum += keys(centre - float64(t))
			}
			for t := lo; t < hi; t++ {
				w := float32(keys(centre-float64(t)) / sum)
				for k, v := range from[t*inner : (t+1)*inner] {
					to[k] += w * v
				}
			}
		}
	}
	return out
}

// keys is Keys' kernel with a = −½, which reproduces polynomials of degree 2.
func keys(d float64) float64 {
	switch d = math.Abs(d); {
	case d < 1:
		return (1.5*d-2.5)*d*d + 1
	case d < 2:
		return ((-0.5*d+2.5)*d-4)*d + 2
	}
	return 0
}
