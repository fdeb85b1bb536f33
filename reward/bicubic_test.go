package reward_test

import (
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// The numbers are those of Pillow 13.0.0, Image.resize((8, 6), BICUBIC) of a mode F image.
func TestBicubicAgainstPillow(t *testing.T) {
	want := []float64{
		-0.0550607, 0.0461785, 0.2604790, 0.4513257, 0.6036503, 0.7149283, 0.7805461, 0.8115863,
		0.0069352, 0.1055887, 0.3144226, 0.4963721, 0.6367536, 0.7332402, 0.7823773, 0.8056318,
		0.1381497, 0.2313346, 0.4286069, 0.5917331, 0.7068425, 0.7720274, 0.7862850, 0.7930618,
		0.2723112, 0.3569232, 0.5360627, 0.6744300, 0.7594292, 0.7896517, 0.7667105, 0.7559124,
		0.3917926, 0.4658536, 0.6226717, 0.7335973, 0.7876044, 0.7837978, 0.7262254, 0.6990645,
		0.4482526, 0.5173299, 0.6636046, 0.7615668, 0.8009318, 0.7810470, 0.7071111, 0.6722186,
	}
	var one, two []float32
	for i := range 3 {
		for j := range 4 {
			v := float32(0.8 * math.Sin(0.3*float64(i)+0.5*float64(j)))
			one, two = append(one, v), append(two, v, -2*v)
		}
	}
	near1 := func(name string, got []float32, every int, scale float64) {
		t.Helper()
		for i, v := range want {
			oracle.Near(t, name, got[every*i], scale*v, 5e-7*math.Abs(scale))
		}
	}
	near1("one channel", reward.Bicubic(one, []int{3, 4, 1}, 2), 1, 1)
	got := reward.Bicubic(two, []int{3, 4, 2}, 2)
	near1("first of two channels", got, 2, 1)
	near1("second of two channels", got[1:], 2, -2)
	near1("second of two images", reward.Bicubic(slices.Concat(make([]float32, 12), one), []int{3, 4, 1}, 2)[48:], 1, 1)
}

// Away from the border cubic convolution reproduces polynomials of degree 2, at the centres of the new pixels.
func TestBicubicIsExactForParabolas(t *testing.T) {
	const side = 9
	f := func(u, v float64) float64 { return 0.3 - 0.1*u + 0.02*v + 0.01*u*u - 0.02*u*v + 0.015*v*v }
	x := make([]float32, side*side)
	for i := range side {
		for j := range side {
			x[i*side+j] = float32(f(float64(i), float64(j)))
		}
	}
	for _, factor := range []int{1, 2, 3, 4, 5} {
		got := reward.Bicubic(x, []int{side, side, 1}, factor)
		if len(got) != len(x)*factor*factor {
			t.Fatalf("factor %d: %d pixels", factor, len(got))
		}
		at := func(i int) float64 { return (float64(i)+0.5)/float64(factor) - 0.5 }
		for i := 2 * factor; i < (side-2)*factor; i++ {
			for j := 2 * factor; j < (side-2)*factor; j++ {
				oracle.Near(t, "parabola", got[i*side*factor+j], f(at(i), at(j)), 1e-6)
			}
		}
	}
}

func TestBicubicEdges(t *testing.T) {
	for _, v := range reward.Bicubic(slices.Repeat([]float32{0.3}, 2*1*3*2), []int{1, 3, 2}, 4) {
		oracle.Near(t, "a constant image", v, 0.3, 1e-7)
	}
	for name, call := range map[string]func(){
		"no whole image": func() { reward.Bicubic(make([]float32, 5), []int{2, 2, 1}, 2) },
		"factor 0":       func() { reward.Bicubic(make([]float32, 4), []int{2, 2, 1}, 0) },
		"a flat shape":   func() { reward.Bicubic(make([]float32, 4), []int{4}, 2) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			call()
		}()
	}
}
