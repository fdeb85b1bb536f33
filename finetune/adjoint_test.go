package finetune

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// matched is the objective for the control θ·h* with paths of it. All steps are fitted in one batch.
func matched(t *testing.T, p problem, kernel diffusion.Kernel, steps int, theta float64, paths int, m Matching) (*engine.Engine, *AdjointMatching, Weighted) {
	t.Helper()
	e := oracle.Open(t)
	h := learntMultiple{newLearnt(e, theta), p.optimum()}
	s := p.sampler(e, kernel, steps, h)
	fitted := len(controlled(s.Steps))
	if m.Steps > 0 {
		fitted = m.Steps
	}
	o, err := NewAdjointMatching(s, h, Training{Updates: 1, Batch: paths * fitted, Optimizer: plain}, m, p.reward())
	if err != nil {
		t.Fatal(err)
	}
	return e, o, p.weighted(t, s, noise.New(3), paths, o.Visitor(noise.New(1)))
}

func fitMatched(t *testing.T, o *AdjointMatching, w Weighted) float64 {
	t.Helper()
	loss, err := o.Fit(context.Background(), noise.New(1), w, nil)
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// On paths of the base model the lean adjoint is the whole derivative of −r(x_0) by the state, with the noise held: that of two simulations with the state moved
// a little up and down. The prior has two modes, so that the chain is not linear. Batches are smaller than the population, and those of the reward yet smaller.
func TestLeanAdjoint(t *testing.T) {
	two, err := gmm.Isotropic([]float64{1, 2}, [][]float64{{-0.8}, {0.9}}, 0.4)
	if err != nil {
		t.Fatal(err)
	}
	p := gaussians(t)
	p.prior = two
	const paths = 50
	for _, kernel := range []diffusion.Kernel{diffusion.EulerMaruyama{}, diffusion.DDIM{Eta: 0.5}} {
		e := oracle.Open(t)
		h := newLearnt(e, 0)
		s := p.sampler(e, kernel, 12, h)
		s.Batch = 16
		var steps []diffusion.Step // in front of each, one that goes nowhere, at which a visitor may move paths before the networks see them
		for _, st := range s.Steps {
			steps = append(steps, diffusion.Step{T: st.T, Next: st.T, A: 1, Uncontrolled: true}, st)
		}
		s.Steps = steps
		o, err := NewAdjointMatching(s, h, Training{Updates: 1, Batch: 1}, Matching{}, bulky{p.reward()})
		if err != nil {
			t.Fatal(err)
		}
		w := p.weighted(t, s, noise.New(3), paths, o.Visitor(noise.New(1)))
		calls := e.NetworkCalls()
		pairs, err := o.adjoints(t.Context(), w, o.choose(noise.New(1), paths))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := e.NetworkCalls()-calls, int64(3*paths*len(steps)); got != want { // a backward pass counts twice
			t.Errorf("%#v: %d network calls, want %d", kernel, got, want)
		}
		const d = 0.01
		var got, want []float32
		for _, k := range controlled(s.Steps) {
			at := func(d float32) []float64 {
				moved := p.weighted(t, s, noise.New(3), paths, func(p *diffusion.Population) error {
					if p.Index == k-1 {
						for i := range p.X {
							p.X[i] += d
						}
					}
					return nil
				})
				return moved.Reward
			}
			up, down := at(d), at(-d)
			for _, pair := range pairs {
				if pair.step == k {
					got = append(got, pair.adjoint[0])
					want = append(want, float32((down[pair.path]-up[pair.path])/(2*d)))
				}
			}
		}
		if len(got) != paths*len(controlled(s.Steps)) {
			t.Fatalf("%d adjoints", len(got))
		}
		worst := oracle.Alike(t, fmt.Sprintf("%#v: adjoints", kernel), got, want, 2e-3) // of third derivatives times d²/6
		t.Logf("%#v: off by at most %.1e of the largest", kernel, worst)
	}
}

// bulky is a reward that wants few rows.
type bulky struct{ reward.Mixture }

func (bulky) Rows() int { return 7 }

// For θ·h* and Gaussians all is linear, a_k = c_k·(x_0 − goal)/width² among it: loss and gradient are known in expectation. At h* the gradient is 0 but for the
// discretisation, and it is the less the more steps there are.
func TestAdjointMatchingInClosedForm(t *testing.T) {
	p := gaussians(t)
	const paths = 4000
	for _, kernel := range []diffusion.Kernel{diffusion.EulerMaruyama{}, diffusion.DDPM{}, diffusion.DDIM{Eta: 1}} {
		for _, theta := range []float64{0.5, 1} {
			e, o, w := matched(t, p, kernel, 20, theta, paths, Matching{})
			loss := fitMatched(t, o, w)
			gradient := firstGradient(e)
			wantLoss, want := expected(o.sampler.Steps, theta)
			// Four standard errors: the standard deviations of a path's loss and gradient are about as large as they are.
			oracle.Near(t, fmt.Sprintf("%#v, θ = %g: loss", kernel, theta), loss, wantLoss, 8*wantLoss/math.Sqrt(paths))
			_, atHalf := expected(o.sampler.Steps, 0.5)
			oracle.Near(t, fmt.Sprintf("%#v, θ = %g: gradient", kernel, theta), gradient, want, 8*math.Abs(atHalf)/math.Sqrt(paths))
			if theta == 0.5 && !(want < -0.01) {
				t.Errorf("%#v: the gradient at ½h* is %g, which does not point to h*", kernel, want)
			}
		}
		var left []float64
		for _, n := range []int{40, 160, 640} {
			steps := p.sampler(nil, kernel, n, nil).Steps
			_, half := expected(steps, 0.5)
			_, best := expected(steps, 1)
			left = append(left, math.Abs(best/half))
		}
		if !(left[0] < 0.5 && left[1] < 0.4*left[0] && left[2] < 0.4*left[1]) { // of first order in the length of steps
			t.Errorf("%#v: of the gradient at ½h*, h* has the shares %.3f", kernel, left)
		}
	}
}

// expected returns the mean loss over paths of θ·h* and all controlled steps, and its gradient with the paths held fixed.
func expected(steps []diffusion.Step, theta float64) (loss, gradient float64) {
	type line struct{ slope, offset float64 } // of x
	noiseOf := func(g oracle.Gaussian, st diffusion.Step) line {
		alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
		d := g.Diffuse(alpha, sigma)
		return line{sigma / (d.SD * d.SD), -sigma * d.Mean / (d.SD * d.SD)}
	}
	n := len(steps)
	mean, variance := make([]float64, n+1), make([]float64, n+1)
	forward, back := make([]float64, n+1), make([]float64, n+1) // ∂x_N/∂x_k on the paths, and by the base model alone
	base, h := make([]line, n), make([]line, n)
	variance[0] = 1
	for k, st := range steps {
		b, tilted := noiseOf(oracle.Prior, st), noiseOf(oracle.Tilted, st)
		base[k], h[k] = b, line{tilted.slope - b.slope, tilted.offset - b.offset}
		if st.Uncontrolled {
			h[k] = line{}
		}
		slope := st.A + st.K*(b.slope+theta*h[k].slope)
		mean[k+1] = slope*mean[k] + st.K*(b.offset+theta*h[k].offset)
		variance[k+1] = slope*slope*variance[k] + st.S*st.S
	}
	forward[n], back[n] = 1, 1
	for k := n - 1; k >= 0; k-- {
		st := steps[k]
		forward[k] = forward[k+1] * (st.A + st.K*(base[k].slope+theta*h[k].slope))
		back[k] = back[k+1] * (st.A + st.K*base[k].slope)
	}
	precision := 1 / (oracle.Reward.Width * oracle.Reward.Width)
	fitted := controlled(steps)
	for _, k := range fitted {
		st := steps[k]
		// u = K/S·h is linear in x_k, v = S·a_k is linear in x_N.
		u := line{st.K / st.S * h[k].slope, st.K / st.S * h[k].offset}
		v := line{st.S * back[k] * precision, -st.S * back[k] * precision * oracle.Reward.Goal}
		uMean, vMean := u.slope*mean[k]+u.offset, v.slope*mean[n]+v.offset
		uu := uMean*uMean + u.slope*u.slope*variance[k]
		vv := vMean*vMean + v.slope*v.slope*variance[n]
		uv := uMean*vMean + u.slope*v.slope*forward[k]*variance[k]
		loss += (theta*theta*uu + 2*theta*uv + vv) / float64(len(fitted))
		gradient += 2 * (theta*uu + uv) / float64(len(fitted))
	}
	return loss, gradient
}

// With paths and adjoints held, the loss is quadratic in θ: its gradient is the slope between two values of it.
func TestAdjointMatchingGradient(t *testing.T) {
	p := gaussians(t)
	const theta, d, paths = 0.4, 0.1, 64
	e, o, w := matched(t, p, diffusion.DDPM{}, 10, theta, paths, Matching{Steps: 4})
	pairs, err := o.adjoints(t.Context(), w, o.choose(noise.New(1), paths))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.update(pairs); err != nil {
		t.Fatal(err)
	}
	gradient := firstGradient(e)
	at := func(theta float64) float64 {
		if err := e.Params.GetVariable("/h/theta").SetValue(tensors.FromScalar(float32(theta))); err != nil {
			t.Fatal(err)
		}
		loss, err := o.update(pairs)
		if err != nil {
			t.Fatal(err)
		}
		return loss
	}
	slope := (at(theta+d) - at(theta-d)) / (2 * d)
	oracle.Near(t, "gradient", gradient, slope, 1e-3*math.Abs(slope))
}

// Of the steps that h moves, half of those of a path are from the first 60 %, none twice, and each as often as the others.
func TestChosenSteps(t *testing.T) {
	p := gaussians(t)
	const paths = 4000
	_, o, _ := matched(t, p, diffusion.DDIM{Eta: 1}, 11, 1, 1, Matching{Steps: 4}) // the last one is not controlled
	counts := make([]float64, 11)
	pairs := o.choose(noise.New(5), paths)
	for i := 0; i < len(pairs); i += 4 {
		early := 0
		seen := map[int]bool{}
		for _, p := range pairs[i : i+4] {
			if seen[p.step] = true; p.step < 6 {
				early++
			}
			counts[p.step]++
			if p.path != i/4 {
				t.Fatalf("pair %d is of path %d", i, p.path)
			}
		}
		if early != 2 || len(seen) != 4 {
			t.Fatalf("path %d: %d early steps, %d different ones", i/4, early, len(seen))
		}
	}
	for k, n := range counts {
		want := [...]float64{2. / 6, 2. / 4, 0}[min(k/6+k/10, 2)] * paths
		oracle.Near(t, fmt.Sprintf("step %d", k), n, want, 4*math.Sqrt(want))
	}
	for steps, want := range map[int]int{0: 10, 1: 1, 3: 3, 9: 9, 10: 10, 99: 10} {
		o.matching.Steps = steps
		seen := map[int]bool{}
		for _, p := range o.choose(noise.New(1), 1) {
			seen[p.step] = true
		}
		if len(seen) != want || seen[10] {
			t.Errorf("%d steps are %v", steps, seen)
		}
	}
}

// A root loss above the running quantile counts as 0. The quantile is the mean of those of the first ten updates, and moves by a tenth from then on.
func TestAdjointMatchingClips(t *testing.T) {
	p := gaussians(t)
	const quantile = 0.5
	e, o, _ := matched(t, p, diffusion.DDPM{}, 2, 0, 4, Matching{Steps: 1, Quantile: quantile})
	st := o.sampler.Steps[0]
	batch := func(roots ...float64) (out []pair) { // h = 0, so that the root loss is |S·a|
		for _, r := range roots {
			out = append(out, pair{step: 0, x: []float32{0}, adjoint: []float32{float32(r / st.S)}, counts: r != 7})
		}
		return out
	}
	var limit float64
	for i, c := range []struct {
		roots  []float64
		median float64 // of those that count, by gonum's definition
	}{{[]float64{1, 2, 3, 4}, 2}, {[]float64{3, 1, 2, 9}, 2}, {[]float64{5, 5, 5, 7}, 5}, {[]float64{1, 1, 1, 1}, 1}, {[]float64{4, 4, 4, 4}, 4}, {[]float64{8, 8, 8, 8}, 8},
		{[]float64{1, 1, 1, 1}, 1}, {[]float64{1, 1, 1, 1}, 1}, {[]float64{1, 1, 1, 1}, 1}, {[]float64{6, 6, 6, 6}, 6}, {[]float64{6, 6, 6, 6}, 6}, {[]float64{1, 1, 1, 1}, 1}} {
		if err := e.Params.GetVariable("/h/theta").SetValue(tensors.FromScalar(float32(0))); err != nil {
			t.Fatal(err)
		}
		var want float64
		for _, r := range c.roots {
			if r != 7 && (i == 0 || r <= limit) {
				want += r * r / 4
			}
		}
		loss, err := o.update(batch(c.roots...))
		if err != nil {
			t.Fatal(err)
		}
		oracle.Near(t, fmt.Sprintf("loss of update %d", i+1), loss, want, 1e-5*want)
		limit += (c.median - limit) / min(float64(i+1), 10)
		oracle.Near(t, fmt.Sprintf("limit after update %d", i+1), float64(o.limit()), limit, 1e-5)
	}
	o.matching.Quantile = 1
	if loss, err := o.update(batch(100, 100, 100, 100)); err != nil || !(loss > 9000) {
		t.Errorf("without a quantile the loss is %g, %v", loss, err)
	}
}

// A path that diverged is left out of the loss, and harms no other.
func TestAdjointMatchingLeavesOutDivergedPaths(t *testing.T) {
	p := gaussians(t)
	const paths = 64
	var losses []float64
	for _, broken := range []int{-1, 13} {
		_, o, _ := matched(t, p, diffusion.DDPM{}, 8, 0.5, paths, Matching{})
		visit := o.Visitor(noise.New(1))
		w := p.weighted(t, o.sampler, noise.New(3), paths, func(population *diffusion.Population) error {
			if population.Index == 4 && broken >= 0 {
				population.X[broken] = float32(math.NaN())
			}
			return visit(population)
		})
		pairs, err := o.adjoints(t.Context(), w, o.choose(noise.New(1), paths))
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range pairs {
			if pair.counts == (pair.path == broken) || pair.adjoint[0]-pair.adjoint[0] != 0 {
				t.Errorf("path %d at step %d: counts %t, adjoint %g", pair.path, pair.step, pair.counts, pair.adjoint[0])
			}
		}
		if broken < 0 { // the same loss as without that path
			for i := range pairs {
				if pairs[i].path == 13 {
					pairs[i].counts = false
				}
			}
		}
		loss, err := o.update(pairs)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss)
	}
	oracle.Near(t, "loss", losses[1], losses[0], 1e-6*losses[0])
}

// guidedBase is a base model that is another one without guidance, and guidedControl what changes it.
type guidedBase struct{ guided, alone diffusion.Model }

func (m guidedBase) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	return m.guided.Noise(s)
}
func (m guidedBase) Unguided() diffusion.Model { return m.alone }

type guidedControl struct {
	htransform.Learned
	alone htransform.Learned
}

func (h guidedControl) Unguided() htransform.Learned { return h.alone }

// With guidance only in the paths, adjoints and loss are those of the model and h without it; with guidance everywhere they are not.
func TestAdjointMatchingUnderGuidance(t *testing.T) {
	p := gaussians(t)
	other, err := gmm.Isotropic([]float64{1}, [][]float64{{0.1}}, 0.7)
	if err != nil {
		t.Fatal(err)
	}
	const paths = 32
	run := func(base diffusion.Model, h func(learnt) htransform.Learned, m Matching) (loss float64, calls int64, err error) {
		e := oracle.Open(t)
		of := newLearnt(e, 0.5)
		s := p.sampler(e, diffusion.DDPM{}, 6, nil)
		s.Base = base
		o, err := NewAdjointMatching(s, h(of), Training{Updates: 1, Batch: paths * 6, Optimizer: plain}, m, p.reward())
		if err != nil {
			return 0, 0, err
		}
		s.Drive = diffusion.Uncontrolled{}
		s.Base = p.base() // the paths are the same in all cases
		w := p.weighted(t, s, noise.New(3), paths, o.Visitor(noise.New(1)))
		calls = e.NetworkCalls()
		return fitMatched(t, o, w), e.NetworkCalls() - calls, nil
	}
	half := func(h learnt) htransform.Learned { return learntMultiple{h, p.optimum()} }
	constant := func(h learnt) htransform.Learned { return h }
	guided := guidedBase{diffusion.Mixture{Density: other}, p.base()}
	both := func(h learnt) htransform.Learned { return guidedControl{half(h), h} }
	alone, calls, err := run(p.base(), constant, Matching{})
	if err != nil || calls != 3*6*paths+2*6*paths {
		t.Errorf("%d calls, %v", calls, err)
	}
	everywhere, _, err := run(diffusion.Mixture{Density: other}, half, Matching{})
	if err != nil {
		t.Fatal(err)
	}
	loss, calls, err := run(guided, both, Matching{})
	if err != nil || loss != alone || calls != 5*6*paths {
		t.Errorf("guidance in the paths: loss %g, want %g; %d calls; %v", loss, alone, calls, err)
	}
	loss, calls, err = run(guided, both, Matching{Guided: true})
	if err != nil || loss != everywhere || calls != (2*3+3)*6*paths { // the base model counts two, which are differentiated for adjoints
		t.Errorf("guidance everywhere: loss %g, want %g; %d calls; %v", loss, everywhere, calls, err)
	}
	if math.Abs(alone-everywhere) < 0.01*alone {
		t.Errorf("losses %g and %g tell nothing", alone, everywhere)
	}
	_, _, err = run(guided, half, Matching{})
	oracle.WantError(t, err, "guided: true", "learntMultiple")
}

func TestAdjointMatchingErrors(t *testing.T) {
	p := gaussians(t)
	e := oracle.Open(t)
	h := newLearnt(e, 1)
	s := p.sampler(e, diffusion.DDIM{Eta: 1}, 1, h)
	_, err := NewAdjointMatching(s, h, Training{Updates: 1, Batch: 8}, Matching{}, p.reward())
	oracle.WantError(t, err, errUncontrolled.Error())
	s = p.sampler(e, diffusion.DDPM{}, 2, h)
	s.Given = &diffusion.Condition{}
	_, err = NewAdjointMatching(s, h, Training{Updates: 1, Batch: 8}, Matching{}, p.reward())
	oracle.WantError(t, err, "conditions")
	_, o, w := matched(t, p, diffusion.DDPM{}, 2, 1, 4, Matching{})
	o.record = slices.Clip(o.record[:1])
	_, err = o.Fit(t.Context(), noise.New(1), w, nil)
	oracle.WantError(t, err, "has not seen the paths")
}
