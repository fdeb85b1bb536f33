package nn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
)

// bowl is an engine with three parameters of ½Σ(p·scale − target)², in two tensors.
func bowl(t *testing.T, options nn.Optimizer) (*engine.Engine, *nn.Trainer) {
	t.Helper()
	e := oracle.Open(t)
	e.Scope("/h").VariableWithValue("a", []float32{1, -2})
	e.Scope("/h/deep").VariableWithValue("b", []float32{0.5})
	e.Scope("/h2").VariableWithValue("a", []float32{7}) // not below /h
	trainer, err := nn.NewTrainer(e, variables(e, "/h"), options, func(in []*graph.Node) *graph.Node {
		engine.CountCall(in[0])
		g := in[0].Graph()
		p := graph.Concatenate([]*graph.Node{e.Params.GetVariable("/h/a").NodeValue(g), e.Params.GetVariable("/h/deep/b").NodeValue(g)}, 0)
		other := e.Params.GetVariable("/h2/a").NodeValue(g) // has a gradient too
		return graph.Add(graph.MulScalar(graph.ReduceAllSum(graph.Square(graph.Sub(graph.Mul(p, in[1]), in[0]))), 0.5),
			graph.MulScalar(graph.ReduceAllSum(other), 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, trainer
}

// The whole optimiser against plain float64: clipping, AdamW, cosine decay and averaging.
func TestTrainerAgainstReference(t *testing.T) {
	target, scale := []float32{3, 1, -2}, []float32{2, 0.1, 1}
	for _, c := range []struct {
		o          nn.Optimizer
		from, over int // of the decay
	}{
		{nn.Optimizer{}, 0, 0},
		{nn.Optimizer{LearningRate: 0.1, ClipNorm: -1}, 0, 0},
		{nn.Optimizer{LearningRate: 0.05, ClipNorm: 0.5, WeightDecay: 0.1, EMA: 0.9}, 0, 30},
		{nn.Optimizer{LearningRate: 0.02, ClipNorm: 100, EMA: 0.5}, 0, 10},
		{nn.Optimizer{LearningRate: 0.02, EMA: 0.5}, 15, 20},
	} {
		o := c.o
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			e, trainer := bowl(t, o)
			trainer.Decay(c.from, c.over)
			rate, limit := o.LearningRate, o.ClipNorm
			if rate == 0 {
				rate = 1e-3
			}
			if limit == 0 {
				limit = 1
			} else if limit < 0 {
				limit = math.Inf(1)
			}
			p, m, v := []float64{1, -2, 0.5}, make([]float64, 3), make([]float64, 3)
			average := slices.Clone(p)
			for k := 1; k <= 40; k++ {
				grad, norm, want := make([]float64, 3), 0.0, 0.0
				for i := range p {
					residual := p[i]*float64(scale[i]) - float64(target[i])
					grad[i] = residual * float64(scale[i])
					want += residual * residual / 2
					norm += grad[i] * grad[i]
				}
				norm = math.Sqrt(norm)
				step := rate
				if c.over > 0 && k > c.from {
					step *= (1 + math.Cos(math.Pi*math.Min(1, float64(k-1-c.from)/float64(c.over)))) / 2
				}
				for i := range p {
					g := grad[i] * math.Min(1, limit/norm)
					m[i] = 0.9*m[i] + 0.1*g
					v[i] = 0.999*v[i] + 0.001*g*g
					p[i] -= step * (m[i]/(1-math.Pow(0.9, float64(k)))/(math.Sqrt(v[i]/(1-math.Pow(0.999, float64(k))))+1e-8) + o.WeightDecay*p[i])
					d := math.Min(o.EMA, float64(1+k)/float64(10+k))
					average[i] = d*average[i] + (1-d)*p[i]
				}
				loss, err := trainer.Step(target, scale)
				if err != nil {
					t.Fatal(err)
				}
				oracle.Near(t, fmt.Sprintf("loss before step %d", k), loss, want, 2e-5*(1+want))
			}
			got := slices.Concat(value(t, e, "/h/a"), value(t, e, "/h/deep/b"))
			ema := slices.Concat(value(t, e, nn.Averaged("/h/a")), value(t, e, nn.Averaged("/h/deep/b")))
			for i := range p {
				oracle.Near(t, "parameter", got[i], p[i], 2e-5)
				oracle.Near(t, "average", ema[i], average[i], 2e-5)
			}
			if got := value(t, e, "/h2/a"); got[0] != 7 {
				t.Errorf("a parameter that is not below the path became %g", got[0])
			}
			if got := e.NetworkCalls(); got != 3*40 {
				t.Errorf("%d network calls in 40 steps of 3 rows, want 120", got)
			}
		})
	}
}

// With a decay the rate falls to zero: beyond the last step nothing moves.
func TestCosineDecayEnds(t *testing.T) {
	const steps = 50
	e, trainer := bowl(t, nn.Optimizer{LearningRate: 0.1})
	trainer.Decay(0, steps)
	step := func() (moved float64) {
		before := value(t, e, "/h/a")
		if _, err := trainer.Step([]float32{100, 100, 100}, []float32{1, 1, 1}); err != nil {
			t.Fatal(err)
		}
		for i, v := range value(t, e, "/h/a") {
			moved += math.Abs(float64(v - before[i]))
		}
		return moved
	}
	first := step()
	oracle.Near(t, "first step of both parameters", first, 0.2, 1e-3)
	var last float64
	for range steps - 1 {
		last = step()
	}
	if last > 0.002*first {
		t.Errorf("last step moves by %g, the first by %g", last, first)
	}
	oracle.Near(t, "step after the end", step(), 0, 0)
}

// What is not finite is reported by the name of the first tensor that has it, and leaves parameters and moments alone.
func TestNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	good := []float32{0, 0, 0}
	for name, c := range map[string]struct {
		target, scale, parameter []float32
		want                     []string
	}{
		"input":               {[]float32{0, nan, 0}, []float32{1, 1, inf}, good[:1], []string{"input 0 [3] has NaN"}},
		"second input":        {good, []float32{1, 1, -inf}, []float32{nan}, []string{"input 1 [3] has -Inf"}},
		"parameter":           {good, []float32{1, 1, 1}, []float32{inf}, []string{"parameter /h/deep/b [1] has +Inf"}},
		"loss":                {[]float32{1e20, 0, 0}, []float32{1, 1, 1}, good[:1], []string{"the loss is +Inf", "learning rate"}},
		"gradient of one":     {[]float32{0, 0, 1e15}, []float32{1, 1, 1e25}, good[:1], []string{"the gradient of /h/deep/b [1] is not finite", "at a loss of"}},
		"norm of finite ones": {[]float32{1e19, 0, 0}, []float32{1e19, 1, 1}, good[:1], []string{"the norm of the gradient overflows", "at a loss of"}},
	} {
		for _, clip := range []float64{1, -1} {
			if clip < 0 && strings.Contains(name, "of") {
				continue // without clipping nobody looks at the gradient
			}
			e, trainer := bowl(t, nn.Optimizer{ClipNorm: clip})
			if _, err := trainer.Step(good, []float32{1, 1, 1}); err != nil {
				t.Fatal(err)
			}
			set := func(v []float32) {
				if err := e.Params.GetVariable("/h/deep/b").SetValue(engine.Rows(v)); err != nil {
					t.Fatal(err)
				}
			}
			set(c.parameter)
			state := func() (out []float32) {
				for _, path := range []string{"/h/a", "/optimizer/h/a/m", "/optimizer/h/a/v", "/optimizer/h/deep/b/v"} {
					out = append(out, value(t, e, path)...)
				}
				return out
			}
			before := state()
			_, err := trainer.Step(c.target, c.scale)
			if err == nil || !strings.Contains(err.Error(), "step 2") {
				t.Errorf("%s, clip %g: error %v, want one at step 2", name, clip, err)
				continue
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s, clip %g: error %v, want one that says %q", name, clip, err, want)
				}
			}
			if after := state(); !slices.Equal(after, before) || !slices.Equal(value(t, e, "/h/deep/b"), c.parameter) && c.parameter[0] == 0 {
				t.Errorf("%s, clip %g: parameters and moments are %v, want %v as before", name, clip, after, before)
			}
			set(good[:1])
			if _, err := trainer.Step(good, []float32{1, 1, 1}); err != nil || slices.Equal(state(), before) {
				t.Errorf("%s, clip %g: the next step fails or does nothing: %v", name, clip, err)
			}
			if got := e.NetworkCalls(); got != 3*3 {
				t.Errorf("%s, clip %g: %d network calls in 3 steps of 3 rows: the diagnosis is counted", name, clip, got)
			}
		}
	}
}

// The loss √(p²·x) is finite at x = 0, its gradient ½·2px/√0 is not a number. Labels are no matter for doubt, images are.
func TestGradientIsNaN(t *testing.T) {
	e := oracle.Open(t)
	e.Scope("/h").VariableWithValue("a", []float32{1, -2})
	e.Scope("/h").VariableWithValue("scalar", float32(3))
	trainer, err := nn.NewTrainer(e, variables(e, "/h"), nn.Optimizer{}, func(in []*graph.Node) *graph.Node {
		p, s := e.Params.GetVariable("/h/a").NodeValue(in[0]), e.Params.GetVariable("/h/scalar").NodeValue(in[0])
		loss := graph.Add(graph.ReduceAllSum(graph.Sqrt(graph.Mul(graph.Square(p), in[0]))), s)
		return graph.Add(loss, graph.Mul(graph.ReduceAllSum(graph.ConvertDType(in[1], s.DType())), graph.ReduceAllSum(in[2])))
	})
	if err != nil {
		t.Fatal(err)
	}
	labels := []int32{0, 0}
	if loss, err := trainer.Step([]float32{0, 0}, labels, engine.Rows(make([]float32, 12), 2, 3, 1)); err == nil || loss != 3 || !strings.Contains(err.Error(), "the gradient of /h/a [2]") {
		t.Errorf("loss %g, error %v; want 3 and an error that names /h/a", loss, err)
	}
	if got := value(t, e, "/h/a"); !slices.Equal(got, []float32{1, -2}) {
		t.Errorf("parameters are %v, want them as before", got)
	}
	images := engine.Rows(append(make([]float32, 11), float32(math.NaN())), 2, 3, 1)
	if _, err := trainer.Step([]float32{1, 1}, labels, images); err == nil || !strings.Contains(err.Error(), "input 2 [2 2 3 1] has NaN") {
		t.Errorf("error %v, want one on input 2", err)
	}
}

// A run in two parts, the second by another engine with the variables of the first, is bit for bit one run.
func TestRunInParts(t *testing.T) {
	options := nn.Optimizer{LearningRate: 0.05, WeightDecay: 0.1, EMA: 0.5}
	inputs := func(step int) []any { return []any{[]float32{3, float32(step), -2}, []float32{2, 0.1, 1}} }
	stop := errors.New("stop")
	run := func(trainer *nn.Trainer, last int) (losses []float64) {
		err := trainer.Run(t.Context(), 8, inputs, func(done int, loss float64) error {
			if losses = append(losses, loss); done == last {
				return stop
			}
			return nil
		})
		if want := map[bool]error{true: stop}[last < 9]; !errors.Is(err, want) {
			t.Fatalf("run to step %d: error %v, want %v", last, err, want)
		}
		return losses
	}
	variables := func(e *engine.Engine) map[string][]float32 {
		all := map[string][]float32{}
		for v := range e.Params.IterVariables() {
			all[v.Path()] = value(t, e, v.Path())
		}
		return all
	}
	e, trainer := bowl(t, options)
	trainer.Decay(0, 9)
	var losses []float64
	for step := range 8 {
		loss, err := trainer.Step(inputs(step)...)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss)
	}
	for k := 1; k < 8; k++ {
		first, trainer := bowl(t, options)
		trainer.Decay(0, 9)
		head := run(trainer, k)
		second, trainer := bowl(t, options)
		for path, v := range variables(first) {
			if err := second.Params.GetVariable(path).SetValue(engine.Rows(v)); err != nil {
				t.Fatal(err)
			}
		}
		trainer.Resume(k)
		trainer.Decay(0, 9)
		if got := append(head, run(trainer, 9)...); !slices.Equal(got, losses) {
			t.Errorf("losses %v when stopped after %d steps, %v when not", got, k, losses)
		}
		if got, want := variables(second), variables(e); !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("variables %v when stopped after %d steps, %v when not", got, k, want)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, trainer = bowl(t, options)
	if err := trainer.Run(cancelled, 8, func(int) []any { t.Error("a step"); return nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestNothingToTrain(t *testing.T) {
	if _, err := nn.NewTrainer(oracle.Open(t), nil, nn.Optimizer{}, func(in []*graph.Node) *graph.Node { return in[0] }); err == nil {
		t.Error("no error")
	}
}

// A trainer writes to its own engine only: parameters of another one, such as the origin of a fork, would lose their values.
func TestParametersOfAnotherEngine(t *testing.T) {
	e := oracle.Open(t)
	p := e.Scope("/h").VariableWithValue("a", []float32{1})
	fork := e.Fork()
	fork.Scope("/h").VariableWithValue("a", []float32{1})
	_, err := nn.NewTrainer(fork, []*model.Variable{p}, nn.Optimizer{}, func(in []*graph.Node) *graph.Node { return in[0] })
	if err == nil || !strings.Contains(err.Error(), "/h/a") {
		t.Errorf("error %v, want one that names /h/a", err)
	}
}
