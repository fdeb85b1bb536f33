package metric

import (
	"math"
	"testing"
)

func TestPSNR(t *testing.T) {
	// All off by 0.2: 20 log10(2/0.2) = 20 dB. Black against white: 0 dB. One of four off by 1: 10 log10(4·4).
	x := []float32{0.5, -0.5, 0.1, 0, -1, -1, -1, -1, 0, 0, 1, 0, 1, 1, 1, 1}
	y := []float32{0.7, -0.3, -0.1, -0.2, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1}
	want := []float64{20, 0, 10 * math.Log10(16), math.Inf(1)}
	got := PSNR(x, y, 4)
	for i, v := range want {
		if got[i] != v && !near(got[i], v, 1e-5) { // 0.2 is not a float32
			t.Errorf("image %d: %.9f dB, want %.9f", i, got[i], v)
		}
	}
	x[1] = float32(math.NaN())
	if got := PSNR(x, y, 4); !math.IsNaN(got[0]) || got[1] != 0 {
		t.Errorf("with a NaN in image 0: %v", got)
	}
	if got := PSNR(nil, nil, 4); len(got) != 0 {
		t.Errorf("no images: %v", got)
	}
	mustPanic(t, "images that do not pair up", func() { PSNR(x, y[4:], 4) })
	mustPanic(t, "no whole images", func() { PSNR(x[:6], y[:6], 4) })
}

// Noise of standard deviation s has 20 log10(2/s) dB.
func TestPSNROfNoise(t *testing.T) {
	const dim, s = 40_000, 0.1
	zero, x := make([]float32, dim), normal(1, 1, make([]float64, dim)...)
	for i := range x {
		x[i] *= s
	}
	// The mean square has relative standard error √(2/dim) = 0.7 %, which is 0.03 dB.
	if got := PSNR(x, zero, dim)[0]; math.Abs(got-20*math.Log10(2/s)) > 0.12 {
		t.Errorf("%.3f dB, want %.3f ± 0.12", got, 20*math.Log10(2/s))
	}
}
