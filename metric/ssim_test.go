package metric

import (
	"math"
	"slices"
	"testing"
)

func waves(shape []int) (x, y []float32) {
	for i := range shape[0] {
		for j := range shape[1] {
			for k := range shape[2] {
				wave := math.Sin(0.3*float64(i) + 0.5*float64(j) + float64(k))
				x = append(x, float32(0.8*wave))
				y = append(y, float32(0.6*wave+0.2*math.Cos(1.7*float64(i)-0.9*float64(j))+0.05*float64(k)))
			}
		}
	}
	return x, y
}

// The numbers are those of scikit-image 0.26.0, structural_similarity(x, y, data_range=2, gaussian_weights=True, sigma=1.5,
// use_sample_covariance=False, channel_axis=2) and peak_signal_noise_ratio(x, y, data_range=2), in float64.
func TestSSIMAgainstScikitImage(t *testing.T) {
	for _, c := range []struct {
		shape      []int
		ssim, psnr float64
	}{
		{[]int{16, 16, 3}, 0.7964444796311064, 19.475638129434806},
		{[]int{11, 11, 1}, 0.8558000880637538, 19.82982210021207},
		{[]int{24, 13, 2}, 0.8145750829590117, 19.85179841756687},
	} {
		x, y := waves(c.shape)
		// Two pairs: the second with its roles exchanged, in which SSIM is symmetric.
		both := SSIM(slices.Concat(x, y), slices.Concat(y, x), c.shape)
		for i, got := range both {
			if !near(got, c.ssim, 1e-10) {
				t.Errorf("%v, pair %d: SSIM %.16f, want %.16f", c.shape, i, got, c.ssim)
			}
		}
		if got := PSNR(x, y, len(x)); !near(got[0], c.psnr, 1e-10) {
			t.Errorf("%v: PSNR %.15f, want %.15f", c.shape, got[0], c.psnr)
		}
	}
}

func TestSSIMEdges(t *testing.T) {
	shape := []int{12, 13, 2}
	x, _ := waves(shape)
	if got := SSIM(x, x, shape)[0]; !near(got, 1, 1e-12) {
		t.Errorf("an image has SSIM %.15f with itself", got)
	}
	// Constant images have no structure: (2ab + C₁)/(a² + b² + C₁), C₁ = 0.0004.
	const a, b = 0.5, -0.25
	flatA, flatB := slices.Repeat([]float32{a}, len(x)), slices.Repeat([]float32{b}, len(x))
	if got, want := SSIM(flatA, flatB, shape)[0], (2*a*b+0.0004)/(a*a+b*b+0.0004); !near(got, want, 1e-12) {
		t.Errorf("constant images: %.15f, want %.15f", got, want)
	}
	if got := SSIM(make([]float32, 2*10*20), make([]float32, 2*10*20), []int{10, 20, 1}); len(got) != 2 || !math.IsNaN(got[0]) {
		t.Errorf("images smaller than the window: %v, want NaN", got)
	}
	if got := SSIM(nil, nil, shape); len(got) != 0 {
		t.Errorf("no images: %v", got)
	}
	broken := slices.Clone(x)
	broken[70] = float32(math.NaN())
	if got := SSIM(broken, x, shape)[0]; !math.IsNaN(got) {
		t.Errorf("a NaN pixel: %v, want NaN", got)
	}
	mustPanic(t, "a flat shape", func() { SSIM(x, x, []int{len(x)}) })
	mustPanic(t, "images that do not pair up", func() { SSIM(x, nil, shape) })
}
