package reward_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

const sigma = 0.05

func inverse(t *testing.T, name string, image []int, y []float32) *reward.Inverse {
	t.Helper()
	a, _ := operator(t, name, image)
	r, err := reward.NewInverse(oracle.Open(t), a, sigma, image, 2, y)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The host's rewards are those of the definition, the graph's are the host's, and its gradient is −Aᵀ(Ax−y)/σ². In a
// hole, a measurement may hold anything.
func TestInverse(t *testing.T) {
	const n = 3 // in batches of 2
	ctx := context.Background()
	for _, m := range measurements {
		a, shape := operator(t, m.name, m.image)
		d, e := engine.Size(m.image), engine.Size(shape)
		x, y := normal(1, n*d), normal(2, n*e)
		r := inverse(t, m.name, m.image, y[:e])
		given, err := r.RewardsGiven(ctx, x, y, n)
		if err != nil {
			t.Fatal(err)
		}
		common, err := r.Rewards(ctx, x, n)
		if err != nil {
			t.Fatal(err)
		}
		score := func(x, y []float32) (sum float64) {
			for k, v := range measure(m.name, x, m.image) {
				if r.Observed[k] != 0 {
					sum -= math.Pow(v-float64(y[k]), 2) / (2 * sigma * sigma)
				}
			}
			return sum
		}
		for _, backend := range oracle.Backends() {
			name := m.name + " on " + backend
			out := oracle.Run(t, backend, func(in []*graph.Node) []*graph.Node {
				given := r.GraphGiven(in[0], in[1])
				gradient := graph.Gradient(graph.ReduceAllSum(given), in[0])[0]
				diff := graph.Mul(graph.Sub(a.Measure(in[0]), in[1]), a.Measure(graph.OnesLike(in[0])))
				want := graph.MulScalar(a.Adjoint(diff), -1/(sigma*sigma))
				return []*graph.Node{given, r.Graph(in[0]), gradient, want}
			}, engine.Rows(x, m.image...), engine.Rows(y, shape...))
			for i := range n {
				xi, yi := x[i*d:(i+1)*d], y[i*e:(i+1)*e]
				for _, c := range []struct {
					name        string
					host, graph float64
					y           []float32
				}{{"given", given[i], float64(out[0][i]), yi}, {"common", common[i], float64(out[1][i]), y[:e]}} {
					want := score(xi, c.y)
					oracle.Near(t, name+": host reward, y "+c.name, c.host, want, 2e-6*math.Abs(want))
					oracle.Near(t, name+": graph reward, y "+c.name, c.graph, want, 1e-5*math.Abs(want))
				}
			}
			for i, want := range out[3] {
				oracle.Near(t, name+": gradient", out[2][i], float64(want), 1e-3) // of 400 and more
			}
		}
	}
}

// A measurement drawn from x has residual 1 ± √(2/n) there, and 1 + ‖Ad‖²/(nσ²) at a distance d.
func TestMeasureAndResidual(t *testing.T) {
	const n = 40
	ctx := context.Background()
	for name, observed := range map[string]int{"average-2": 4 * 4 * 3, "inpaint": 3*8*8 - 3*4*4, "blur": 3 * 8 * 8} {
		image := []int{8, 8, 3}
		r := inverse(t, name, image, nil)
		x := normal(1, n*engine.Size(image))
		key := noise.New(5).Sub("measure")
		y, err := r.Measure(ctx, x, 0, n, key)
		if err != nil {
			t.Fatal(err)
		}
		residual, err := r.Residual(ctx, x, y, n)
		if err != nil {
			t.Fatal(err)
		}
		var mean float64
		for _, v := range residual {
			mean += v / n
		}
		oracle.Near(t, name+": mean residual of the truth", mean, 1, 4*math.Sqrt(2/float64(observed*n)))

		var unseen, different int
		for i, v := range y {
			if d := engine.Size(r.Shape); r.Observed[i%d] == 0 {
				unseen++
				oracle.Near(t, name+": a measurement where nothing is observed", v, 0, 0)
			} else if i >= d && v-y[i-d] != 0 {
				different++
			}
		}
		if want := len(y) - observed*n; unseen != want || different == 0 {
			t.Errorf("%s: %d entries are not observed, want %d", name, unseen, want)
		}
		for _, alone := range []int{0, 7} {
			pixels, d := engine.Size(image), engine.Size(r.Shape)
			one, err := r.Measure(ctx, x[alone*pixels:(alone+1)*pixels], alone, 1, key)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range one {
				oracle.Near(t, name+": an image measured alone", v, float64(y[alone*d+i]), 0)
			}
		}
		// All pixels off by σ: every observed entry is.
		for i := range x {
			x[i] += sigma
		}
		if residual, err = r.Residual(ctx, x, y, n); err != nil {
			t.Fatal(err)
		}
		mean = 0
		for _, v := range residual {
			mean += v / n
		}
		// The cross term 2⟨Ad, ξ⟩/(nσ) adds 4 to the variance of a square.
		oracle.Near(t, name+": mean residual at distance σ", mean, 2, 4*math.Sqrt(6/float64(observed*n)))
	}
}

func TestInverseErrors(t *testing.T) {
	ctx, image := context.Background(), []int{4, 4, 1}
	r := inverse(t, "average-2", image, nil)
	x, y := make([]float32, 32), make([]float32, 8)
	if _, err := r.Rewards(ctx, x, 2); !errors.Is(err, reward.ErrNoMeasurement) {
		t.Errorf("no measurement: %v", err)
	}
	if _, err := r.Residual(ctx, x, nil, 2); !errors.Is(err, reward.ErrNoMeasurement) {
		t.Errorf("residual without a measurement: %v", err)
	}
	program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{r.Graph(in[0])} })
	if err == nil {
		_, err = program.Run(engine.Rows(x, image...))
	}
	if !errors.Is(err, reward.ErrNoMeasurement) {
		t.Errorf("graph without a measurement: %v", err)
	}
	for name, call := range map[string]func() ([]float64, error){
		"images":            func() ([]float64, error) { return r.RewardsGiven(ctx, x[1:], y, 2) },
		"measurements":      func() ([]float64, error) { return r.RewardsGiven(ctx, x, y[1:], 2) },
		"residual's images": func() ([]float64, error) { return r.Residual(ctx, x, y, 1) },
	} {
		if v, err := call(); err == nil {
			t.Errorf("too few or many numbers for %s: %v, no error", name, v)
		}
	}
	if _, err := r.Measure(ctx, x, 0, 3, noise.New(1)); err == nil {
		t.Error("two images for three: no error")
	}
	a := reward.Average{Factor: 2}
	for name, c := range map[string]struct {
		sigma float64
		image []int
		y     []float32
	}{
		"sigma 0": {0, image, nil}, "sigma NaN": {math.NaN(), image, nil}, "infinite sigma": {math.Inf(1), image, nil},
		"an odd image": {1, []int{4, 5, 1}, nil}, "a short measurement": {1, image, y[:3]}, "an empty measurement": {1, image, []float32{}},
	} {
		if _, err := reward.NewInverse(oracle.Open(t), a, c.sigma, c.image, 0, c.y); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.RewardsGiven(cancelled, x, y, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
