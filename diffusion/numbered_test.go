package diffusion_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

type schedulerCase struct {
	Case   int
	Kind   string
	Steps  int
	Config struct {
		Prediction diffusion.Prediction `json:"prediction_type"`
		ToData     bool                 `json:"set_alpha_to_one"`
		Offset     int                  `json:"steps_offset"`
		Spacing    string               `json:"timestep_spacing"`
		Variance   string               `json:"variance_type"`
		Clip       bool                 `json:"clip_sample"`
	}
	Timesteps []int
	SteppedAt []int     `json:"stepped_at"`
	SD        []float64 `json:"std_at_eta_1"`
}

// All configurations of diffusers' DDIM and DDPM that do not clamp x̂₀, which no pipeline does: levels, noise, and one step at three levels.
func TestStepsAreThoseOfDiffusers(t *testing.T) {
	all := tensors(t, "schedulers/schedulers.safetensors")
	x, y, z := all["sample"].F32, all["model_output"].F32, all["noise"].F32
	p := discrete(t, scaledLinear)
	compared := 0
	for _, c := range golden.JSON[[]schedulerCase](t, "schedulers/schedulers.json") {
		etas := []float64{0, 0.5, 1}
		if c.Kind == "ddpm" {
			etas = []float64{0}
		}
		for _, eta := range etas {
			n := diffusion.Numbered{Kernel: c.Kind, Eta: eta, Spacing: c.Config.Spacing, Offset: c.Config.Offset, Steps: c.Steps, ToData: c.Config.ToData,
				Large: c.Config.Variance == "fixed_large"}
			levels, err := n.Levels(p)
			if err != nil || !slices.Equal(levels, c.Timesteps) {
				t.Errorf("case %d: levels %v (%v), want %v", c.Case, levels, err, c.Timesteps)
				continue
			}
			steps, err := n.Table(p)
			if err != nil {
				t.Fatal(err)
			}
			for j, level := range c.SteppedAt {
				i := slices.Index(levels, level)
				st := steps[i]
				if p.Level(st.T) != level {
					t.Errorf("case %d: step %d is at level %d, want %d", c.Case, i, p.Level(st.T), level)
				}
				if eta == 1 || c.Kind == "ddpm" && !n.Large {
					oracle.Near(t, "s", st.S, c.SD[j], 2e-5*c.SD[j]+1e-9) // float32 in the reference, where 1 − ā cancels
				}
				if c.Config.Clip {
					continue
				}
				name := fmt.Sprintf("case.%d.at.%d", c.Case, level)
				if c.Kind == "ddim" {
					name += fmt.Sprintf(".eta.%.1f", eta)
				}
				fromX, fromY := c.Config.Prediction.Noise(p.Alpha(st.T), p.Sigma(st.T))
				for e, want := range all[name].F32 {
					eps := fromX*float64(x[e]) + fromY*float64(y[e])
					got := st.A*float64(x[e]) + st.K*eps + st.S*float64(z[e])
					// float32 in the reference: x̂₀ is up to 15 times x, and 1 − ā/ā' cancels.
					if math.Abs(got-float64(want)) > 5e-6*(1+math.Abs(float64(x[e]))+math.Abs(float64(y[e]))) {
						t.Fatalf("%s[%d] is %.8g, want %.8g", name, e, got, want)
					}
					compared++
				}
			}
		}
	}
	if compared < 3000 {
		t.Errorf("%d numbers compared", compared)
	}
}

// Five paths of a tuned and guided model with the noise that was drawn: every state follows from the one before, and log p_base − log p_tuned from
// the two predictions.
func TestPathsAreThoseOfDiffusers(t *testing.T) {
	for name, c := range map[string]struct {
		n     diffusion.Numbered
		betas diffusion.Betas
	}{
		"ddim-eta1":                    {diffusion.Numbered{Eta: 1, Offset: 1}, scaledLinear},
		"ddim-eta0":                    {diffusion.Numbered{Offset: 1}, scaledLinear},
		"ddim-eta0.5-set-alpha-to-one": {diffusion.Numbered{Eta: 0.5, Offset: 1, ToData: true}, scaledLinear},
		"ddpm":                         {diffusion.Numbered{Kernel: "ddpm", Offset: 1}, scaledLinear},
		"memoryless":                   {diffusion.Numbered{Kernel: "memoryless", Eta: 1, Spacing: "trailing"}, adjoint},
	} {
		path, p := tensors(t, "trajectories/"+name+".safetensors"), discrete(t, c.betas)
		c.n.Steps = 5
		steps, err := c.n.Table(p)
		if err != nil {
			t.Fatal(err)
		}
		const paths, dim = 2, 4 * 8 * 8
		latents, drawn, tuned, base := path["latents"].F32, path["noise"].F32, path["eps_tuned"].F32, path["eps_base"].F32
		for i, st := range steps {
			if level := p.Level(st.T); int64(level) != path["timestep"].I64[i] {
				t.Errorf("%s: step %d is at level %d, want %d", name, i, level, path["timestep"].I64[i])
			}
			oracle.Near(t, name+": s", st.S, path["std"].F64[i], 1e-12+2e-10)
			for j := range paths {
				var shift, inner float64
				at := (i*paths + j) * dim
				for e := at; e < at+dim; e++ {
					d := st.K * (float64(tuned[e]) - float64(base[e]))
					got := st.A*float64(latents[e]) + st.K*float64(tuned[e]) + st.S*float64(drawn[e])
					want := float64(latents[e+paths*dim])
					if math.Abs(got-want) > 1e-5*(1+math.Abs(want)+math.Abs(float64(latents[e]))) {
						t.Fatalf("%s: step %d, number %d is %.8g, want %.8g", name, i, e, got, want)
					}
					shift += d * d
					inner += d * float64(drawn[e])
				}
				if ratios := path["log_ratio"].F64; (i+1)*paths <= len(ratios) {
					if st.Uncontrolled {
						t.Errorf("%s: step %d has a density and is uncontrolled", name, i)
					}
					want := ratios[i*paths+j]
					oracle.Near(t, name+": log ratio", -shift/(2*st.S*st.S)-inner/st.S, want, 1e-9*(1+math.Abs(want)))
				} else if c.n.Eta > 0 && (st.S != 0 || !st.Uncontrolled) || st.S != 0 {
					t.Errorf("%s: step %d has no density, and noise %g, uncontrolled %t", name, i, st.S, st.Uncontrolled)
				}
			}
		}
	}
}

// Σ(K/S)² of the steps that are controlled, which says what a change of ε costs in KL.
func TestWeightOfSteps(t *testing.T) {
	for _, c := range []struct {
		n          diffusion.Numbered
		betas      diffusion.Betas
		sum        float64
		first, mid float64
		lastButOne float64
		last       float64
	}{
		{diffusion.Numbered{Eta: 1, Offset: 1, Steps: 50}, scaledLinear, 22.0, 0.51, 0.38, 3.27, 1.00},
		{diffusion.Numbered{Eta: 0.5, Offset: 1, Steps: 50}, scaledLinear, 47.2, 0.66, 0.48, 5.32, 1.36},
		{diffusion.Numbered{Eta: 1, Offset: 1, Steps: 20}, scaledLinear, 40.4, 0.85, 0.62, 5.43, 1.00},
		{diffusion.Numbered{Kernel: "memoryless", Eta: 1, Spacing: "trailing", Steps: 50}, adjoint, 10.4, 0.44, 0.36, 1.04, 1.02},
		{diffusion.Numbered{Eta: 1, Offset: 1, Steps: 50, Free: 2}, scaledLinear, 10.3, 0.51, 0.38, 3.27, 1.00},
	} {
		steps, err := c.n.Table(discrete(t, c.betas))
		if err != nil {
			t.Fatal(err)
		}
		ratio := func(i int) float64 { return math.Abs(steps[i].K) / steps[i].S }
		sum, n := 0.0, len(steps)
		for i, st := range steps {
			if want := i >= n-c.n.Free; st.Uncontrolled != want {
				t.Errorf("%v: step %d uncontrolled %t, want %t", c.n, i, st.Uncontrolled, want)
			}
			if !st.Uncontrolled {
				sum += square(ratio(i))
			}
		}
		oracle.Near(t, "Σ(K/S)²", sum, c.sum, 0.06)
		oracle.Near(t, "first", ratio(0), c.first, 0.0051)
		oracle.Near(t, "middle", ratio(n/2), c.mid, 0.011)
		oracle.Near(t, "last but one", ratio(n-2), c.lastButOne, 0.0051)
		oracle.Near(t, "last", ratio(n-1), c.last, 0.0051)
	}
}

// From level to level these are the steps of the kernels that go through any process.
func TestNumberedStepsAreThoseOfTheKernels(t *testing.T) {
	p := discrete(t, scaledLinear)
	for name, kernel := range map[string]diffusion.Kernel{"ddim": diffusion.DDIM{Eta: 0.7}, "ddpm": diffusion.DDPM{}} {
		steps, err := diffusion.Numbered{Kernel: name, Eta: 0.7, Offset: 1, Steps: 50}.Table(p)
		if err != nil {
			t.Fatal(err)
		}
		times := make([]float64, 50)
		for i, st := range steps {
			times[i] = st.T
		}
		for i, want := range kernel.Steps(p, times)[:48] {
			got := steps[i]
			oracle.Near(t, "A", got.A, want.A, 1e-12)
			oracle.Near(t, "K", got.K, want.K, 1e-11)
			oracle.Near(t, "S", got.S, want.S, 1e-12)
			if got.T != want.T || got.Next != want.Next {
				t.Errorf("%s: step %d from %g to %g, want %g to %g", name, i, got.T, got.Next, want.T, want.Next)
			}
		}
	}
	last := func(n diffusion.Numbered) diffusion.Step {
		steps, err := n.Table(p)
		if err != nil {
			t.Fatal(err)
		}
		return steps[len(steps)-1]
	}
	oracle.Near(t, "where DDIM ends", last(diffusion.Numbered{Eta: 1, Offset: 1, Steps: 50}).Next, 0.001, 0)
	oracle.Near(t, "where DDIM to data ends", last(diffusion.Numbered{Eta: 1, Offset: 1, Steps: 50, ToData: true}).Next, 0, 0)
	oracle.Near(t, "where DDPM ends", last(diffusion.Numbered{Kernel: "ddpm", Offset: 1, Steps: 50}).Next, 0, 0)
	end := last(diffusion.Numbered{Kernel: "memoryless", Eta: 1, Spacing: "trailing", Steps: 50})
	oracle.Near(t, "where memoryless ends", square(p.Alpha(end.Next)), (1+square(p.Alpha(end.T)))/2, 6e-8)
}

func TestNumberedErrors(t *testing.T) {
	p := discrete(t, scaledLinear)
	for _, c := range []struct {
		n    diffusion.Numbered
		want string
	}{
		{diffusion.Numbered{}, "0 steps"}, {diffusion.Numbered{Steps: 1001}, "1001 steps"}, {diffusion.Numbered{Steps: 5, Kernel: "pndm"}, "pndm"},
		{diffusion.Numbered{Steps: 5, Spacing: "karras"}, "karras"}, {diffusion.Numbered{Steps: 5, Eta: 1.5}, "1.5"}, {diffusion.Numbered{Steps: 5, Eta: math.NaN()}, "eta"},
		{diffusion.Numbered{Steps: 1000, Offset: 1}, "offset 1"}, {diffusion.Numbered{Steps: 5, Free: -1}, "negative"},
	} {
		_, err := c.n.Table(p)
		oracle.WantError(t, err, c.want)
	}
	// With no noise at all a control is refused, and not silently ignored.
	steps, err := diffusion.Numbered{Steps: 5, Offset: 1}.Table(p)
	if err != nil {
		t.Fatal(err)
	}
	s := diffusion.Sampler{Engine: oracle.Open(t), Process: p, Steps: steps, Shape: []int{1}, Base: prior, Control: diffusion.Uncontrolled{}}
	if _, err := s.Run(t.Context(), noise.New(1), 0, 1, nil); !errors.Is(err, diffusion.ErrNoDensity) {
		t.Errorf("err = %v, want ErrNoDensity", err)
	}
}

func TestPredictions(t *testing.T) {
	const alpha, sigma, x0, eps = 0.8, 0.6, 1.7, -0.4
	x := alpha*x0 + sigma*eps
	for p, out := range map[diffusion.Prediction]float64{diffusion.Epsilon: eps, "": eps, diffusion.Velocity: alpha*eps - sigma*x0, diffusion.Sample: x0} {
		a, b := p.Noise(alpha, sigma)
		oracle.Near(t, string(p), a*x+b*out, eps, 1e-15)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	diffusion.Prediction("flow").Noise(alpha, sigma)
}
