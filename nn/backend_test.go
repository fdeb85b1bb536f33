package nn_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/op"
)

// task is a network and its training on a fixed stream of random batches.
type task struct {
	name string
	// start creates the network on an engine and returns its loss as a graph function.
	start func(e *engine.Engine) func(in []*graph.Node) *graph.Node
	// batch returns the inputs of a step.
	batch func(step int) []any
}

func tasks() []task {
	square := func(x *graph.Node) *graph.Node { return graph.ReduceAllMean(graph.Mul(x, x)) }
	random := func(step, stream int, dims ...int) *tensors.Tensor {
		n := 1
		for _, d := range dims {
			n *= d
		}
		x := make([]float32, n)
		noise.New(11).Normal(x, uint64(step), uint32(stream))
		return tensors.FromFlatDataAndDimensions(x, dims...)
	}
	times := []float32{0.1, 0.35, 0.6, 0.85}
	return []task{
		{"U-Net", func(e *engine.Engine) func(in []*graph.Node) *graph.Node {
			u := begin(nn.UNet{Scope: e.Scope("/n"), In: 2, Out: 2, Width: 8, Multipliers: []int{1, 2}, Attention: []int{0}, Heads: 2}, 1, 1, 0)
			return func(in []*graph.Node) *graph.Node { return square(graph.Sub(u.Apply(in[1], in[0]), in[2])) }
		}, func(step int) []any { return []any{random(step, 0, 4, 8, 8, 2), times, random(step, 1, 4, 8, 8, 2)} }},
		{"MLP", func(e *engine.Engine) func(in []*graph.Node) *graph.Node {
			m := begin(nn.MLP{Scope: e.Scope("/n"), In: 3, Out: 2, Width: 33, Depth: 3, Timed: true, Octaves: 2}, 1, 1, 0)
			return func(in []*graph.Node) *graph.Node { return square(graph.Sub(m.Dense(in[1], in[0]), in[2])) }
		}, func(step int) []any { return []any{random(step, 0, 4, 3), times, random(step, 1, 4, 2)} }},
	}
}

// train returns the losses of 50 steps, and all parameters and averages after them.
func train(t *testing.T, c task, backend string) (losses []float64, state [][]float32) {
	t.Helper()
	e := oracle.OpenOn(t, backend)
	loss := c.start(e)
	trainer, err := nn.NewTrainer(e, variables(e, "/n"), nn.Optimizer{LearningRate: 2e-3, WeightDecay: 0.01, EMA: 0.99}, loss)
	if err != nil {
		t.Fatal(err)
	}
	trainer.Decay(0, 60)
	for step := range 50 {
		loss, err := trainer.Step(c.batch(step)...)
		if err != nil {
			t.Fatalf("%s on %s: step %d: %v", c.name, backend, step, err)
		}
		losses = append(losses, loss)
	}
	for _, p := range variables(e, "/n") {
		state = append(state, value(t, e, p.Path()), value(t, e, nn.Averaged(p.Path())))
	}
	return losses, state
}

// Training goes the same way on every backend: each loss of 50 steps is that of the stock backend, within 1e-4 of it. On
// one instruction set, it is the same to the last bit whatever the number of threads.
func TestTrainingOnEveryBackend(t *testing.T) {
	for _, c := range tasks() {
		want, _ := train(t, c, "go")
		if !(want[49] < 0.9*want[0]) {
			t.Errorf("%s: the loss went from %g to %g: nothing was learned", c.name, want[0], want[49])
		}
		backends := []string{"cpu:direct"}
		for _, isa := range cpu.InstructionSets() {
			backends = append(backends, "cpu:"+isa+",workers=2")
		}
		for _, backend := range backends {
			got, state := train(t, c, backend)
			for step := range want {
				if d := math.Abs(got[step]-want[step]) / want[step]; !(d <= 1e-4) {
					t.Errorf("%s on %s: the loss of step %d is %.8g, not %.8g: off by %.1e of it", c.name, backend, step, got[step], want[step], d)
					break
				}
			}
			if backend == "cpu:direct" {
				continue
			}
			for _, workers := range []string{"1", "8"} {
				other := backend[:len(backend)-1] + workers
				again, same := train(t, c, other)
				if !slices.Equal(again, got) {
					t.Errorf("%s: losses on %s and on %s differ", c.name, backend, other)
				}
				for k := range state {
					if !slices.Equal(state[k], same[k]) {
						t.Errorf("%s: parameters on %s and on %s differ", c.name, backend, other)
						break
					}
				}
			}
		}
	}
}

// Every named operation, and its gradient, has the same results from its kernel as from its body on the stock backend,
// at sizes that are divided among workers and leave rests.
func TestOperationsOnEveryBackend(t *testing.T) {
	type operation struct {
		name   string
		shapes [][]int
		apply  func(in []*graph.Node) *graph.Node
	}
	operations := []operation{
		{"SiLU", [][]int{{7, 4099}}, func(in []*graph.Node) *graph.Node { return op.SiLU(in[0]) }},
		{"softmax", [][]int{{3, 41, 77}}, func(in []*graph.Node) *graph.Node { return op.Softmax(in[0]) }},
		{"upsampling", [][]int{{2, 7, 5, 33}}, func(in []*graph.Node) *graph.Node { return op.Upsample(in[0], 2) }},
		{"attention", [][]int{{2, 30, 3, 17}, {2, 19, 3, 17}, {2, 19, 3, 17}}, func(in []*graph.Node) *graph.Node { return op.Attention(in[0], in[1], in[2]) }},
	}
	for _, silu := range []bool{false, true} {
		operations = append(operations,
			operation{fmt.Sprint("group norm, SiLU ", silu), [][]int{{3, 9, 7, 24}, {24}, {24}},
				func(in []*graph.Node) *graph.Node { return op.GroupNorm(in[0], in[1], in[2], 3, 1e-5, silu) }},
			operation{fmt.Sprint("adaptive group norm, SiLU ", silu), [][]int{{3, 9, 7, 24}, {3, 24}, {3, 24}},
				func(in []*graph.Node) *graph.Node { return op.GroupNorm(in[0], in[1], in[2], 3, 1e-5, silu) }})
	}
	for _, stride := range []int{1, 2} {
		operations = append(operations, operation{fmt.Sprint("convolution, stride ", stride), [][]int{{2, 13, 12, 17}, {3, 3, 17, 33}, {33}},
			func(in []*graph.Node) *graph.Node { return op.Conv(in[0], in[1], in[2], stride, op.Same(3)) }})
	}
	for _, o := range operations {
		run := func(backend string) [][]float32 {
			e := oracle.OpenOn(t, backend)
			program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
				y := o.apply(in)
				// A loss in which every element has a weight of its own.
				weights := graph.Cos(graph.MulScalar(graph.IotaFull(y.Graph(), y.Shape()), 0.7))
				return append([]*graph.Node{y}, graph.Gradient(graph.ReduceAllSum(graph.Mul(weights, y)), in...)...)
			})
			if err != nil {
				t.Fatal(err)
			}
			var in []any
			for k, dims := range o.shapes {
				n := 1
				for _, d := range dims {
					n *= d
				}
				x := make([]float32, n)
				noise.New(7).Normal(x, uint64(k), 0)
				in = append(in, tensors.FromFlatDataAndDimensions(x, dims...))
			}
			out, err := program.Run(in...)
			if err != nil {
				t.Fatalf("%s on %s: %v", o.name, backend, err)
			}
			var flats [][]float32
			for _, x := range out {
				flats = append(flats, tensors.MustCopyFlatData[float32](x))
			}
			return flats
		}
		want := run("go")
		for _, isa := range cpu.InstructionSets() {
			got := run("cpu:" + isa + ",workers=2")
			for k := range want {
				norm, distance := 0.0, 0.0
				for i, w := range want[k] {
					norm += float64(w) * float64(w)
					distance += float64(got[k][i]-w) * float64(got[k][i]-w)
				}
				if !(math.Sqrt(distance) <= 1e-5*math.Sqrt(norm)) {
					t.Errorf("%s on %s: result %d is off by %.1e of its norm", o.name, isa, k, math.Sqrt(distance/norm))
				}
			}
		}
	}
}
