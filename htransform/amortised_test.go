package htransform_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// tap is a network that returns one of its inputs, or zero if it is to return none of them.
type tap struct {
	nn.Network     // of which nothing is used
	input      int // from 0; −1 is none
	count      *int
}

// Apply implements [nn.Network].
func (f tap) Apply(_ *graph.Node, inputs ...*graph.Node) *graph.Node {
	*f.count = len(inputs)
	if f.input < 0 {
		return graph.ZerosLike(inputs[0])
	}
	return inputs[f.input]
}

// unit is a start of [htransform.Scale] for which NN2 is 1−t: SiLU(unit) = 1.
const unit = 1.2784645427610738

// blocks is the matrix of the means of f×f blocks of an image with one channel.
func blocks(side, f int) *mat.Dense {
	n := side / f
	a := mat.NewDense(n*n, side*side, nil)
	for i := range side {
		for j := range side {
			a.Set(i/f*n+j/f, i*side+j, 1/float64(f*f))
		}
	}
	return a
}

// For standard normal data X_0 given X_t = x is N(αx, σ_t²I), so that y is N(αAx, σ²I + σ_t²AAᵀ) and h*, the gradient of its log
// density, is αAᵀ(σ²I + σ_t²AAᵀ)⁻¹(y − αAx). For block averages the weighted gradient of the reward is just that.
func TestLikelihoodIsExactForNormalData(t *testing.T) {
	const rows = 5
	for _, c := range []struct {
		side, factor int
		sigma        float64
	}{{4, 2, 0.05}, {4, 2, 0.8}, {4, 4, 0.3}, {3, 1, 0.5}, {6, 3, 0.1}} {
		e, image := oracle.Open(t), []int{c.side, c.side, 1}
		d := c.side * c.side
		r, err := reward.NewInverse(e, reward.Average{Factor: c.factor}, c.sigma, image, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		var inputs int
		h := htransform.RewardInformed{Reward: r, NN1: tap{nil, -1, &inputs}, NN2: htransform.Scale(e.Scope("/h/nn2"), 8, unit, noise.New(1)),
			Weight: htransform.Likelihood(c.sigma, 1/float64(c.factor*c.factor))}
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			s := diffusion.State{Process: schedule, X: in[0], T: in[1]}.Evaluate(shrink{})
			s.Given = in[2]
			return []*graph.Node{s.Noise(h)}
		})
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, rows*d)
		noise.New(2).Normal(x, 0, 0)
		y, err := r.Measure(context.Background(), x, 0, rows, noise.New(3)) // of anything
		if err != nil {
			t.Fatal(err)
		}
		for name, at := range map[string][]float32{"a time of every row": times, "one time": {0.3}} {
			out, err := program.Run(engine.Rows(x, image...), at, engine.Rows(y, r.Shape...))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]float32, rows*d)
			if err := engine.Floats(got, out[0]); err != nil {
				t.Fatal(err)
			}
			a := blocks(c.side, c.factor)
			for i := range rows {
				ti := float64(at[i%len(at)])
				alpha, sigma := schedule.Alpha(ti), schedule.Sigma(ti)
				m, _ := a.Dims()
				diff := mat.NewVecDense(m, nil)
				for k := range m {
					diff.SetVec(k, float64(y[i*m+k]))
					for j := range d {
						diff.SetVec(k, diff.AtVec(k)-alpha*a.At(k, j)*float64(x[i*d+j]))
					}
				}
				var covariance mat.Dense
				covariance.Mul(a, a.T())
				covariance.Scale(sigma*sigma, &covariance)
				for k := range m {
					covariance.Set(k, k, covariance.At(k, k)+c.sigma*c.sigma)
				}
				var solved, want mat.VecDense
				if err := solved.SolveVec(&covariance, diff); err != nil {
					t.Fatal(err)
				}
				want.MulVec(a.T(), &solved)
				for j := range d {
					wantEps := -sigma * alpha * want.AtVec(j) * (1 - ti)
					oracle.Near(t, fmt.Sprintf("%d/%d, σ = %g, %s: ε_h", c.side, c.factor, c.sigma, name), got[i*d+j], wantEps, 2e-5*(1+math.Abs(wantEps)/sigma))
				}
			}
		}
		if inputs != 3 {
			t.Errorf("without Show the network has %d inputs, want x, x̂₀ and g", inputs)
		}
	}
}

// Shown the measurement, the network has it as a fourth input, in the shape of a sample, and every row its own; g is the
// gradient for the row's own measurement too.
func TestRewardInformedSeesTheMeasurement(t *testing.T) {
	const sigma = 0.5
	e := oracle.Open(t)
	a, image := reward.Average{Factor: 2}, []int{2, 2, 1}
	r, err := reward.NewInverse(e, a, sigma, image, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 2*len(times)*2)
	noise.New(1).Normal(x, 0, 0)
	y := []float32{0.5, -1, 2, 0, 3}
	var inputs int
	eval := func(input int, show func(*graph.Node) *graph.Node) []float32 {
		h := htransform.RewardInformed{Reward: r, NN1: tap{nil, input, &inputs}, NN2: htransform.Scale(e.Scope("/h/nn2"), 8, unit, noise.New(1)), Show: show}
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			s := diffusion.State{Process: schedule, X: in[0], T: in[1]}.Evaluate(shrink{})
			s.Given = in[2]
			return []*graph.Node{s.Noise(h)}
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := program.Run(engine.Rows(x, image...), times, engine.Rows(y, 1, 1, 1))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, len(x))
		if err := engine.Floats(got, out[0]); err != nil {
			t.Fatal(err)
		}
		return got
	}
	show := func(given *graph.Node) *graph.Node { return reward.Backproject(a, given) } // the same in all four pixels
	got := eval(3, show)
	if inputs != 4 {
		t.Errorf("the network has %d inputs, want x, x̂₀, g and y", inputs)
	}
	rest := eval(-1, nil)
	if inputs != 3 {
		t.Errorf("without Show the network has %d inputs, want x, x̂₀ and g", inputs)
	}
	compressed := eval(2, show)
	for i, ti := range times {
		alpha, level := schedule.Alpha(float64(ti)), schedule.Sigma(float64(ti))
		var mean float64
		for _, v := range x[4*i : 4*i+4] {
			mean += alpha * float64(v) / 4
		}
		g := (float64(y[i]) - mean) / 4 / (sigma * sigma)
		for j := 4 * i; j < 4*i+4; j++ {
			oracle.Near(t, "NN2·g", rest[j], -level*(1-float64(ti))*g, 1e-5)
			oracle.Near(t, "what the network makes of y", got[j]-rest[j], level*alpha*float64(y[i]), 1e-5) // h = −α·NN1
			log := math.Copysign(math.Log1p(math.Abs(g)), g)
			oracle.Near(t, "what it makes of g", compressed[j]-rest[j], level*alpha*log, 1e-5)
		}
	}
}
