package metric

import (
	"fmt"
	"math"
)

// The window and the constants of the paper, for images in [−1, 1], whose range is 2.
const (
	SSIMWindow = 11 // pixels at a side
	ssimSD     = 1.5
	ssimC1     = (0.01 * 2) * (0.01 * 2)
	ssimC2     = (0.03 * 2) * (0.03 * 2)
)

// SSIM returns the structural similarity of every image x with its reference y, both [n, height, width, channels] in
// [−1, 1], for images of the given shape [height, width, channels]: the mean over all windows and channels of
//
//	(2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂))
//
// (Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, eq. 13), moments taken
// under a Gaussian window of 11×11 pixels and standard deviation 1.5 that lies inside the image, C₁ = (0.01·2)² and
// C₂ = (0.03·2)². It is 1 for equal images and at most 1. Images smaller than the window have none: NaN, as for one that is
// not finite.
func SSIM(x, y []float32, shape []int) []float64 {
	if len(shape) != 3 {
		panic(fmt.Sprintf("metric.SSIM: images have shape [height, width, channels], got %v", shape))
	}
	height, width, channels := shape[0], shape[1], shape[2]
	dim := height * width * channels
	out := make([]float64, pairs("SSIM", x, y, dim))
	w := gaussianWindow()
	for i := range out {
		out[i] = math.NaN()
		if height >= SSIMWindow && width >= SSIMWindow {
			out[i] = ssim(widen(x[i*dim:(i+1)*dim]), widen(y[i*dim:(i+1)*dim]), w, width, channels)
		}
	}
	return out
}

func ssim(x, y, w []float64, width, channels int) float64 {
	xx, yy, xy := make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		xx[i], yy[i], xy[i] = v*v, y[i]*y[i], v*y[i]
	}
	// A window of the flat image: 11 neighbours in steps of a row, then in steps of a pixel.
	inside := func(v []float64) []float64 {
		return slide(slide(v, w, len(v), width*channels), w, width*channels, channels)
	}
	x, y, xx, yy, xy = inside(x), inside(y), inside(xx), inside(yy), inside(xy)
	var sum float64
	for i, mx := range x {
		my := y[i]
		a := (2*mx*my + ssimC1) * (2*(xy[i]-mx*my) + ssimC2)
		b := (mx*mx + my*my + ssimC1) * (xx[i] - mx*mx + yy[i] - my*my + ssimC2)
		sum += a / b
	}
	return sum / float64(len(x))
}

// slide filters every row of v, [rows, length], with weights that are step apart, where they lie inside the row.
func slide(v, w []float64, length, step int) []float64 {
	var out []float64
	for ; len(v) >= length; v = v[length:] {
		for i := range length - (len(w)-1)*step {
			var sum float64
			for k, weight := range w {
				sum += weight * v[i+k*step]
			}
			out = append(out, sum)
		}
	}
	return out
}

// gaussianWindow returns one side of the window; its sum is 1.
func gaussianWindow() []float64 {
	w := make([]float64, SSIMWindow)
	var sum float64
	for i := range w {
		d := float64(i-SSIMWindow/2) / ssimSD
		w[i] = math.Exp(-d * d / 2)
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return w
}
