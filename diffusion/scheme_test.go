package diffusion

import (
	"math"
	"slices"
	"testing"
)

// Memoryless steps have all the noise: those of DDPM for DDIM, and what has it already is left alone. Of numbered levels they begin at the last one and
// end with noise; how many steps are free stays as it is.
func TestMemorylessScheme(t *testing.T) {
	for _, c := range []struct{ from, want Scheme }{
		{Scheme{Kernel: "ddim", Eta: 0.2, Steps: 7, Power: 2, Free: 2}, Scheme{Kernel: "ddpm", Steps: 7, Power: 2, Free: 2}},
		{Scheme{Kernel: "ddim", Eta: 1, Steps: 7, Variance: "beta"}, Scheme{Kernel: "ddpm", Steps: 7, Variance: "beta"}},
		{Scheme{Kernel: "ddpm", Steps: 7}, Scheme{Kernel: "ddpm", Steps: 7}},
		{Scheme{Kernel: "euler-maruyama", Steps: 7}, Scheme{Kernel: "euler-maruyama", Steps: 7}},
	} {
		if got, want := c.from.Memoryless().Table(nil)(0), c.want.Table(nil)(0); !slices.Equal(got, want) {
			t.Errorf("%+v: steps %v, want %v", c.from, got, want)
		}
	}
	levels, err := NewDiscrete(Betas{First: 0.00085, Last: 0.012, Steps: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range []string{"ddim", "ddpm"} {
		steps := Scheme{Levels: levels, Kernel: kernel, Eta: 0, Steps: 10, Free: 3, ToData: true}.Memoryless().Table(nil)(0)
		first, last := steps[0], steps[9]
		if levels.Level(first.T) != 999 || !(last.S > 0) || !last.Uncontrolled || steps[6].Uncontrolled || len(steps) != 10 {
			t.Errorf("%s: the first step is %+v, the last %+v", kernel, first, last)
		}
		// The law of x' given x̂₀ and x, averaged over noised samples of x̂₀ = 0, keeps the variance of the process: (A + K/σ)²σ² + S² = σ'².
		for i, st := range steps[:9] {
			sigma, next := levels.Sigma(st.T), levels.Sigma(st.Next)
			kept := math.Pow(st.A+st.K/sigma, 2)*sigma*sigma + st.S*st.S
			if math.Abs(kept-next*next) > 1e-6 {
				t.Errorf("%s, step %d: variance %g, want %g", kernel, i, kept, next*next)
			}
			// With all the noise, S is that of the posterior of x' given x and x_0.
			a, b := levels.Bar(levels.Level(st.T)), levels.Bar(levels.Level(st.Next))
			if want := math.Sqrt((1 - b) / (1 - a) * (1 - a/b)); math.Abs(st.S-want) > 1e-6 {
				t.Errorf("%s, step %d: noise %g, want %g", kernel, i, st.S, want)
			}
		}
	}
}
