package finetune

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// What is recorded of a step says where it went: every row is followed by the state of its path at the next step. All controlled steps are there once, or as
// many as the limit says, each of its path and with its reward, but those of paths that diverged.
func TestRecorder(t *testing.T) {
	p := gaussians(t)
	const paths, n, broken = 40, 6, 7
	s := p.sampler(oracle.Open(t), diffusion.DDIM{Eta: 1}, n, push{0.4})
	for _, limit := range []int{1000, 33} {
		r := recorder{sampler: s, limit: limit}
		visit := r.visitor(noise.New(4))
		var states, eps [][]float32
		w := p.weighted(t, s, noise.New(3), paths, func(population *diffusion.Population) error {
			if population.Index == 3 {
				population.X[broken] = float32(math.NaN())
			}
			states, eps = append(states, slices.Clone(population.X)), append(eps, slices.Clone(population.Eps))
			return visit(population)
		})
		states = append(states, w.X)
		whose := slices.Clone(r.path)
		rows, err := r.take(w, w.Reward)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[[2]int]bool{}
		whose = slices.DeleteFunc(whose, func(path int) bool { return path == broken })
		for i, path := range whose {
			row := rows[i*5 : (i+1)*5]
			step := int(row[3])
			st := s.Steps[step]
			after := st.A*float64(row[0]) + st.K*(float64(eps[step][path])+float64(row[2])) + st.S*float64(row[1])
			oracle.Near(t, fmt.Sprintf("step %d of path %d leads to", step, path), after, float64(states[step+1][path]), 1e-6*(1+math.Abs(after)))
			if row[4] != float32(w.Reward[path]) || st.Uncontrolled || row[0] != states[step][path] {
				t.Errorf("step %d of path %d: %v, with reward %g", step, path, row, w.Reward[path])
			}
			seen[[2]int{step, path}] = true
		}
		if all := (n - 1) * (paths - 1); len(rows)/5 != len(seen) || limit > all && len(seen) != all || limit < all && (len(seen) > limit || len(seen) < limit-n) {
			t.Errorf("limit %d: %d rows of %d steps, of %d in all", limit, len(rows)/5, len(seen), all)
		}
		if _, err := r.take(w, w.Reward); err == nil {
			t.Error("taken twice")
		}
	}
}

// ρ is the ratio of normal densities, exp of the mean over the numbers of a sample of the difference of their logarithms.
func TestRatio(t *testing.T) {
	const n, dim = 3, 4
	shift := []float32{0.5, -2, 1.5}
	epsH, old, z := make([]float32, n*dim), make([]float32, n*dim), make([]float32, n*dim)
	noise.New(1).Normal(epsH, 0, 0)
	noise.New(1).Normal(old, 1, 0)
	noise.New(1).Normal(z, 2, 0)
	got := oracle.Run(t, "cpu", func(in []*graph.Node) []*graph.Node { return []*graph.Node{ratio(in[0], in[1], in[2], in[3])} },
		engine.Rows(epsH, 2, 2), engine.Rows(old, 2, 2), engine.Rows(z, 2, 2), shift)[0]
	for i := range n {
		const s = 0.3 // any
		var sum float64
		for j := i * dim; j < (i+1)*dim; j++ {
			mean := func(eps float32) float64 { return 0.7 + s*float64(shift[i])*float64(eps) } // K = s·shift
			x := mean(old[j]) + s*float64(z[j])
			sum += oracle.Gaussian{Mean: mean(epsH[j]), SD: s}.LogDensity(x) - oracle.Gaussian{Mean: mean(old[j]), SD: s}.LogDensity(x)
		}
		want := math.Exp(sum / dim)
		oracle.Near(t, "ρ", float64(got[i]), want, 1e-5*want)
	}
}

// The first step of either method is along the score-function gradient of the mean reward: at ρ = 1 it is −mean A·∇log p, with ∇log p = K/S·z·∇ε_h. Of
// DPOK that is the mean over random draws, to four standard errors.
func TestPolicyGradient(t *testing.T) {
	p := gaussians(t)
	const paths, n, draws = 512, 8, 40_000
	fit := func(of func(s *diffusion.Sampler, h learnt) (Objective, error)) (gradient float64, w Weighted, o Objective, score func(path, step int) float64) {
		e := oracle.Open(t)
		h := newLearnt(e, 0)
		s := p.sampler(e, diffusion.DDPM{}, n, h)
		o, err := of(s, h)
		if err != nil {
			t.Fatal(err)
		}
		visit, terms := o.Visitor(noise.New(4)), make([]float64, n*paths)
		w = p.weighted(t, s, noise.New(3), paths, func(population *diffusion.Population) error {
			z := []float32{0}
			for i := range paths {
				population.Noise(i, z)
				terms[population.Index*paths+i] = -population.Step.K / population.Step.S * float64(z[0]) * diffusion.VP{}.Sigma(population.Step.T) // ε_h = −σθ
			}
			return visit(population)
		})
		if _, err := o.Fit(t.Context(), noise.New(5), w, nil); err != nil {
			t.Fatal(err)
		}
		return firstGradient(e), w, o, func(path, step int) float64 { return terms[step*paths+path] }
	}
	got, w, _, score := fit(func(s *diffusion.Sampler, h learnt) (Objective, error) {
		return NewDDPO(s, h, Training{Updates: 1, Batch: paths * n, Optimizer: plain}, DDPOSettings{Clip: 1e-4})
	})
	mean, se := metric.MeanSE(w.Reward)
	sd := se * math.Sqrt(paths-1)
	var want float64
	for i, r := range w.Reward {
		for step := range n {
			want -= max(-5, min(5, (r-mean)/sd)) * score(i, step) / (paths * n)
		}
	}
	oracle.Near(t, "gradient of DDPO", got, want, 1e-4*math.Abs(want))
	if !(want < -0.01) {
		t.Errorf("gradient %g, which should point to the reward", want)
	}

	got, w, o, score := fit(func(s *diffusion.Sampler, h learnt) (Objective, error) {
		return NewDPOK(s, h, Training{Updates: 1, Batch: draws, Optimizer: plain}, DPOKSettings{RewardWeight: 3, Clip: 1e-4, Transitions: paths * n,
			Value: ValueSettings{Width: 8, Updates: 1, Batch: 10, LearningRate: 1e-9}}, noise.New(1))
	})
	dpok := o.(*DPOK)
	rows, _ := dpok.buffer.State()
	in := dpok.recorder.states(rows)
	v := oracle.RunOn(t, dpok.recorder.sampler.Engine, func(in []*graph.Node) []*graph.Node { return []*graph.Node{dpok.value.graph(in[1], in[0])} }, in[0], in[1])[0]
	terms := make([]float64, len(v))
	for i := range terms {
		row := rows[i*5 : (i+1)*5]
		path := slices.IndexFunc(w.Reward, func(r float64) bool { return float32(r) == row[4] })
		terms[i] = -3 * float64(row[4]-v[i]) * score(path, int(row[3]))
	}
	want, se = metric.MeanSE(terms)
	se *= math.Sqrt(float64(len(terms)) / draws)
	oracle.Near(t, "gradient of DPOK", got, want, 4*se)
	if !(se < 0.1*math.Abs(want)) {
		t.Errorf("%g ± %g tells nothing", want, se)
	}
}

func zeros(n int) []float64 { return make([]float64, n) }

// Rewards are standardised by those of the iteration, or by the last ones of a window; outliers are clipped, and paths that diverged are left out.
func TestAdvantages(t *testing.T) {
	batch := func(rewards ...float64) Weighted {
		w := Weighted{Paths: diffusion.Paths{N: len(rewards)}, Reward: rewards, LogW: make([]float64, len(rewards))}
		for i, r := range rewards {
			if math.IsInf(r, 0) {
				w.LogW[i] = math.Inf(-1)
			}
		}
		return w
	}
	inf := math.Inf(-1)
	for _, c := range []struct {
		window  int
		batches []Weighted
		want    []float64 // of the last
	}{
		{0, []Weighted{batch(9, 9), batch(1, 3)}, []float64{-1, 1}},
		{0, []Weighted{batch(1, inf, 3)}, []float64{-1, 0, 1}},
		{0, []Weighted{batch(2, 2)}, []float64{0, 0}},
		{4, []Weighted{batch(7, 0, 0), batch(2, 2)}, []float64{1, 1}},
		{2, []Weighted{batch(0, 0, 1, 3)}, []float64{-2, -2, -1, 1}},
		{0, []Weighted{batch(append(zeros(99), 1)...)}, append(slices.Repeat([]float64{-0.1005}, 99), 5)},
	} {
		o := &DDPO{settings: DDPOSettings{Window: c.window}}
		var got []float64
		for _, b := range c.batches {
			got = o.advantages(b)
		}
		for i := range c.want {
			oracle.Near(t, fmt.Sprintf("window %d: advantage %d", c.window, i), got[i], c.want[i], 1e-4)
		}
	}
}

// With a KL of great weight, h stays near 0, and with a KL of none it does not; both from an h that is 0.
func TestDPOKHeldByItsKL(t *testing.T) {
	p := gaussians(t)
	energy := func(kl float64, gaussian bool) float64 {
		e := oracle.Open(t)
		h := newLearnt(e, 0)
		s := p.sampler(e, diffusion.DDPM{}, 8, h)
		o, err := NewDPOK(s, h, Training{Updates: 5, Batch: 200, Optimizer: averaging},
			DPOKSettings{RewardWeight: 1, KL: kl, GaussianKL: gaussian, Clip: 0.2, Transitions: 1000, Value: ValueSettings{Width: 16, Updates: 2, Batch: 200, LearningRate: 1e-2}}, noise.New(1))
		if err != nil {
			t.Fatal(err)
		}
		f := &FineTuning{Sampler: s, Reward: p.reward(), Selector: Relaxed{}, Objective: o, Buffer: &Buffer{Capacity: 1, Dim: 1}, Iterations: 25, Paths: 64, Key: noise.New(2)}
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := p.weighted(t, s, noise.New(7), 500, nil)
		m, _ := metric.MeanSE(w.Energy)
		return m
	}
	for _, gaussian := range []bool{false, true} {
		free, held := energy(0, gaussian), energy(300, gaussian)
		t.Logf("Gaussian KL %t: energy %.3g, held %.2g", gaussian, free, held)
		if !(free > 0.05) || !(held < free/50) {
			t.Errorf("Gaussian KL %t: energy %g without it, %g with much of it", gaussian, free, held)
		}
	}
}

// The value network learns what is to be expected: at the start of a path the mean reward, and ever more of the reward of the path itself.
func TestValueLearnsTheReward(t *testing.T) {
	p := gaussians(t)
	e := oracle.Open(t)
	h := newLearnt(e, 0)
	s := p.sampler(e, diffusion.DDPM{}, 6, h)
	const paths = 400
	o, err := NewDPOK(s, h, Training{Updates: 1, Batch: 8, Optimizer: plain}, DPOKSettings{RewardWeight: 1, Clip: 0.1, Transitions: paths * 6,
		Value: ValueSettings{Width: 32, Updates: 600, Batch: 256, LearningRate: 5e-3}}, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	w := p.weighted(t, s, noise.New(3), paths, o.Visitor(noise.New(4)))
	if _, err := o.Fit(t.Context(), noise.New(5), w, nil); err != nil {
		t.Fatal(err)
	}
	rows, _ := o.buffer.State()
	in := o.recorder.states(rows)
	v := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{o.value.graph(in[1], in[0])} }, in[0], in[1])[0]
	var unexplained [6]float64
	var atStart []float64
	for i, step := range in[1].([]float32) {
		d := float64(in[2].([]float32)[i] - v[i])
		unexplained[int(step)] += d * d / paths
		if step == 0 {
			atStart = append(atStart, float64(v[i]))
		}
	}
	mean, se := metric.MeanSE(w.Reward)
	variance := se * se * (paths - 1)
	expected, _ := metric.MeanSE(atStart)
	t.Logf("variance of the reward %.3f, unexplained by step %.3f", variance, unexplained)
	oracle.Near(t, "V at the start, in the mean", expected, mean, 4*se)
	if !(unexplained[0] > 0.5*variance && unexplained[5] < 0.15*variance && unexplained[3] < unexplained[0]) {
		t.Errorf("of a variance of %g V leaves unexplained, by step, %g", variance, unexplained)
	}
}

// Paths with conditions of their own are refused, and chains that nothing moves.
func TestPolicyErrors(t *testing.T) {
	p := gaussians(t)
	e := oracle.Open(t)
	h := newLearnt(e, 0)
	s := p.sampler(e, diffusion.DDPM{}, 3, nil)
	s.Given = &diffusion.Condition{Shape: []int{1}}
	_, err := NewDDPO(s, h, Training{Optimizer: plain}, DDPOSettings{})
	oracle.WantError(t, err, "conditions")
	_, err = NewDPOK(p.sampler(e, diffusion.DDIM{Eta: 1}, 1, nil), h, Training{Optimizer: plain}, DPOKSettings{Value: ValueSettings{Width: 1}}, noise.New(1))
	oracle.WantError(t, err, "none of the steps is controlled")
}
