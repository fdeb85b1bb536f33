package nn_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// slopes returns the result of the network, and the gradients of a loss with respect to images, times and all parameters,
// by name.
func slopes[T float32 | float64](t *testing.T, e *engine.Engine, u nn.UNet) map[string][]T {
	t.Helper()
	parameters := variables(e, "/u")
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		y := u.Apply(in[1], in[0])
		nodes := slices.Clone(in)
		for _, p := range parameters {
			nodes = append(nodes, p.NodeValue(in[0]))
		}
		out := append([]*graph.Node{y}, graph.Gradient(graph.ReduceAllMean(graph.Square(graph.AddScalar(y, -0.3))), nodes...)...)
		for i, v := range out {
			out[i] = graph.ConvertDType(v, in[0].DType())
		}
		return out
	})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]T, 2*8*8*2)
	for i, v := range images(2, 8*8*2) {
		x[i] = T(v)
	}
	out, err := program.Run(tensors.FromFlatDataAndDimensions(x, 2, 8, 8, 2), []T{0.2, 0.7})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]T{}
	for i, v := range out {
		name := "result"
		switch {
		case i > 2:
			name = parameters[i-3].Path()
		case i > 0:
			name = []string{"images", "times"}[i-1]
		}
		values[name] = tensors.MustCopyFlatData[T](v)
	}
	return values
}

// compare returns the number of numbers that are not zero.
func compare[T float32 | float64](t *testing.T, e *engine.Engine, u nn.UNet, tolerance float64) (numbers int) {
	t.Helper()
	want := slopes[T](t, e, u)
	u.Checkpoint = true
	for name, got := range slopes[T](t, e, u) {
		size := 0.01 // of a gradient that is nothing but rounding errors, that of the bias of keys
		for _, v := range want[name] {
			size = max(size, math.Abs(float64(v)))
			if v != 0 {
				numbers++
			}
		}
		for i, v := range got {
			oracle.Near(t, fmt.Sprintf("%s[%d] on %s with %d blocks in %T", name, i, e.Name, u.Blocks, v), v, float64(want[name][i]), tolerance*size)
		}
	}
	return numbers
}

// With blocks computed again in the backward pass, results and gradients are the same to the last bit; with several
// blocks in a row, but for the order in which the gradients of a result that is used three times are added.
func TestCheckpointChangesNothing(t *testing.T) {
	for _, backend := range []string{"go", "cpu", "cpu:direct"} {
		for _, blocks := range []int{1, 3} {
			e := oracle.OpenOn(t, backend)
			u := tiny(e)
			u.Blocks = blocks
			u.Init(noise.New(1), 1, 0)
			randomize(t, e)
			// A rounding error of 2⁻²⁴ in every such sum, magnified on the way through the blocks below. The gradients of
			// parameters are float32 also if the network runs in float64: they may be rounded to the next number.
			single, double := 0.0, 0.0
			if blocks > 1 {
				single, double = 1e-5, 0x1p-23
			}
			if n := compare[float32](t, e, u, single); n < u.Size()/2 {
				t.Errorf("%d numbers are compared, but there are %d parameters", n, u.Size())
			}
			compare[float64](t, e, u, double)
		}
	}
}

// Training takes about half of the memory, of which 21 MB are programs and not tensors: less than the 0.6 that are allowed.
func TestCheckpointSavesMemory(t *testing.T) {
	const batch, side = 8, 64
	var bytes, losses [2]float64
	for i, checkpoint := range []bool{false, true} {
		e := oracle.Open(t)
		u := begin(nn.UNet{Scope: e.Scope("/u"), In: 1, Out: 1, Width: 16, Multipliers: []int{1, 1, 1, 1}, Blocks: 3, Checkpoint: checkpoint}, 1, 1, 0)
		trainer, err := nn.NewTrainer(e, variables(e, "/u"), nn.Optimizer{}, func(in []*graph.Node) *graph.Node {
			return graph.ReduceAllMean(graph.Square(graph.Sub(u.Apply(in[1], in[0]), in[2])))
		})
		if err != nil {
			t.Fatal(err)
		}
		x, target := engine.Rows(images(batch, side*side), side, side, 1), engine.Rows(images(batch, side*side), side, side, 1)
		before := oracle.Heap()
		for range 2 {
			if losses[i], err = trainer.Step(x, make([]float32, batch), target); err != nil {
				t.Fatal(err)
			}
		}
		bytes[i] = oracle.Heap() - before
		runtime.KeepAlive(trainer)
	}
	t.Logf("%.1f MB, with checkpoints %.1f MB", bytes[0]/1e6, bytes[1]/1e6)
	if !(bytes[1] < 0.6*bytes[0]) {
		t.Errorf("training takes %.1f MB with checkpoints and %.1f MB without: want at most 0.6 of it", bytes[1]/1e6, bytes[0]/1e6)
	}
	oracle.Near(t, "loss after a step", losses[1], losses[0], 1e-5*losses[0])
}

// What is made of a gradient, such as guidance times a factor that is learned, does not have that gradient computed again.
func TestCheckpointKeepsGradients(t *testing.T) {
	e := oracle.Open(t)
	u := tiny(e)
	u.Checkpoint = true
	u.Init(noise.New(1), 1, 0)
	factor := e.Scope("/factor").VariableWithValue("value", float32(0.5))
	calls := func(g *graph.Graph) (n int) {
		for _, node := range g.Nodes() {
			if node.Type() == graph.NodeTypeCall {
				n++
			}
		}
		return n
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		g := in[0].Graph()
		guidance := graph.StopGradient(graph.Gradient(graph.ReduceAllSum(graph.Square(u.Apply(in[1], in[0]))), in[0])[0])
		before, f := calls(g), factor.NodeValue(g)
		if before == 0 {
			t.Error("the network calls nothing")
		}
		slope := graph.Gradient(graph.ReduceAllSum(graph.Square(graph.Mul(guidance, f))), f)[0]
		if after := calls(g); after != before {
			t.Errorf("%d calls for the gradient of the images, %d more for that of a factor", before, after-before)
		}
		return []*graph.Node{slope, graph.ReduceAllSum(graph.Square(guidance))}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(images(2, 4*4*2), 4, 4, 2), []float32{0.2, 0.7})
	if err != nil {
		t.Fatal(err)
	}
	// (f·g)² has the slope 2·f·g², f being ½.
	want := float64(tensors.ToScalar[float32](out[1]))
	oracle.Near(t, "slope", tensors.ToScalar[float32](out[0]), want, 1e-5*want)
}
