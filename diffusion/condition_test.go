package diffusion_test

import (
	"context"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// condition is six numbers: the second is the measurement y = x + 0.6·ξ, which is −1 for every third path and 1.6 for the
// others, and nothing depends on the rest.
func condition() *diffusion.Condition {
	return &diffusion.Condition{Shape: []int{2, 3}, Draw: func(key noise.Key, path int, y []float32) {
		key.Sub("condition").Normal(y, uint64(path), 0)
		y[1] = 1.6
		if path%3 == 0 {
			y[1] = -1
		}
	}}
}

// column returns number i of the conditions [batch, 2, 3] as [batch, 1].
func column(given *graph.Node, i int) *graph.Node {
	return graph.Reshape(graph.Slice(given, graph.AxisRange(), graph.AxisElem(i/3), graph.AxisElem(i%3)), -1, 1)
}

// likelihood is log p(y|x) but for a constant.
func likelihood(y float64) oracle.Quadratic { return oracle.Quadratic{Goal: y, Width: 0.6} }

// posterior is the law of X_0 given y.
func posterior(y float64) gaussian { return gaussian(likelihood(y).Tilt(oracle.Prior)) }

// amortised is h*_t(x, y) = ∇log p_t(x|y) − ∇log p_t(x), which looks at the measurement of its row.
type amortised struct{}

// Noise implements [diffusion.Control].
func (amortised) Noise(s diffusion.State) *graph.Node {
	alpha, sigma := s.AlphaSigma()
	zero, one := posterior(0), posterior(1)
	slope := graph.Div(sigma, graph.Add(graph.MulScalar(graph.Square(alpha), square(zero.SD)), graph.Square(sigma)))
	m := graph.AddScalar(graph.MulScalar(column(s.Given, 1), one.Mean-zero.Mean), zero.Mean)
	return graph.Sub(graph.Mul(slope, graph.Sub(s.X, graph.Mul(alpha, m))), prior.Noise(s))
}

func conditional(t *testing.T, batch int) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: oracle.Open(t), Steps: grid(diffusion.DDPM{}, 12), Shape: []int{1}, Base: prior, Control: amortised{},
		Given: condition(), Batch: batch}
}

// A path and its condition are functions of the key and the path, whatever the number of paths, the batch and its padding, or
// the threads.
func TestGivenDoesNotDependOnBatchOrNumber(t *testing.T) {
	const n = 100
	run := func(batch, n int) diffusion.Paths {
		paths, err := conditional(t, batch).Run(context.Background(), noise.New(3), 0, n, nil)
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	want := run(n, n)
	if len(want.Given) != 6*n {
		t.Fatalf("%d numbers as conditions of %d paths, want 6 each", len(want.Given), n)
	}
	y := make([]float32, 6)
	for i := range n {
		condition().Draw(noise.New(3).Sub("given"), i, y)
		if !slices.Equal(want.Given[6*i:6*i+6], y) {
			t.Errorf("path %d is conditioned on %v, want %v", i, want.Given[6*i:6*i+6], y)
		}
	}
	for _, c := range []struct{ batch, n, threads int }{{7, n, 2}, {0, n, 2}, {64, n, 1}, {64, 50, 2}, {7, 50, 1}, {1, 5, 2}, {7, 1, 2}} {
		old := runtime.GOMAXPROCS(c.threads)
		got := run(c.batch, c.n)
		runtime.GOMAXPROCS(old)
		if !slices.Equal(got.X, want.X[:c.n]) || !slices.Equal(got.LogRatio, want.LogRatio[:c.n]) || !slices.Equal(got.Given, want.Given[:6*c.n]) {
			t.Errorf("batch %d, %d threads: the first %d paths, or their conditions, differ from those of %d in one batch", c.batch, c.threads, c.n, n)
		}
	}
	// A control that does not look has the paths of an unconditional sampler, which have no conditions.
	s := conditional(t, 64)
	s.Control = pull{0.5}
	blind, err := s.Run(context.Background(), noise.New(3), 0, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	s = conditional(t, 64)
	s.Control, s.Given = pull{0.5}, nil
	none, err := s.Run(context.Background(), noise.New(3), 0, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	if none.Given != nil {
		t.Errorf("unconditional paths are given %v", none.Given)
	}
	if !slices.Equal(blind.X, none.X) || !slices.Equal(blind.LogRatio, none.LogRatio) || len(blind.Given) != 6*n {
		t.Error("conditions that nobody looks at moved the paths, or were lost")
	}
}

// Under the exact h*(x, y) every path has the law of the posterior of its own measurement, up to the discretisation, which is
// known; and with the path weights that of the base, whatever the measurement.
func TestEveryPathHasTheLawOfItsCondition(t *testing.T) {
	const n = 15_000
	s := conditional(t, 4096) // 4 batches, the last one short
	s.Steps = grid(diffusion.EulerMaruyama{}, 40)
	paths, err := s.Run(context.Background(), noise.New(4), 0, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, y := range []float64{-1, 1.6} {
		var x []float32
		var logW []float64
		for i := range n {
			if paths.Given[6*i+1] == float32(y) {
				x = append(x, paths.X[i])
				logW = append(logW, likelihood(y).At(float64(paths.X[i]))+paths.LogRatio[i])
			}
		}
		var m, v float64 = 0, 1
		for _, st := range s.Steps {
			slope, offset := posterior(y).line(st.T)
			m, v = (st.A+st.K*slope)*m+st.K*offset, square(st.A+st.K*slope)*v+square(st.S)
		}
		gaussian{m, math.Sqrt(v)}.law(t, "given the measurement", x, nil)
		// log w = log p(y) but for its constant and for the discretisation, which costs log Z 0.02 at most.
		want := likelihood(y).LogZ(oracle.Prior)
		oracle.Near(t, "mean of log w", mean(len(x), nil, func(i int) float64 { return logW[i] }).value, want, 0.05)
	}
}

// Resampled paths keep their conditions: what a visitor sees from then on is the control for them.
func TestResampleMovesTheConditions(t *testing.T) {
	s := conditional(t, 3)
	s.Twist = func(st diffusion.State) *graph.Node { return graph.Reshape(column(st.Given, 2), -1) }
	ancestors := []int{3, 3, 0, 0, 6, 7, 1, 3}
	n := len(ancestors)
	var want []float32
	visits := 0
	paths, err := s.Run(context.Background(), noise.New(6), 0, n, func(p *diffusion.Population) error {
		visits++
		if want == nil {
			want = slices.Clone(p.Given)
		}
		if !slices.Equal(p.Given, want) {
			t.Errorf("step %d: conditions %v, want %v", p.Index, p.Given, want)
		}
		for i := range n {
			slope, offset := posterior(float64(want[6*i+1])).line(p.Step.T)
			a, b := prior.line(p.Step.T)
			oracle.Near(t, "ε_h", p.EpsH[i], (slope-a)*float64(p.X[i])+offset-b, 1e-4)
			oracle.Near(t, "twist", p.LogTwist[i], float64(want[6*i+2]), 0)
		}
		if p.Index == 5 {
			p.Resample(ancestors)
			old := slices.Clone(want)
			for i, a := range ancestors {
				copy(want[6*i:6*i+6], old[6*a:6*a+6])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(paths.Given, want) {
		t.Errorf("at the end the paths are conditioned on %v, want %v", paths.Given, want)
	}
	if visits != len(s.Steps) || want[1] != want[6*1+1] || want[1] == want[6*6+1] {
		t.Errorf("%d visits; conditions %v", visits, want)
	}
}
