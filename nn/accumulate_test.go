package nn_test

import (
	"runtime"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
)

// Steps in parts are steps on the whole batch: the same losses and parameters but for rounding, over clipping, decay and averages.
func TestAccumulate(t *testing.T) {
	train := func(parts int) (losses []float64, last []float32) {
		e := oracle.Open(t)
		v := e.Scope("/h").VariableWithValue("a", []float32{1, -2, 0.5})
		loss := func(in []*graph.Node) *graph.Node { // of linear regression: the mean over rows
			engine.CountCall(in[0])
			return graph.ReduceAllMean(graph.Square(graph.Sub(graph.MatMul(in[0], v.NodeValue(in[0].Graph())), in[1])))
		}
		trainer, err := nn.NewTrainer(e, variables(e, "/h"), nn.Optimizer{LearningRate: 0.05, EMA: 0.9, ClipNorm: 0.5}, loss)
		if err != nil {
			t.Fatal(err)
		}
		if err := trainer.Accumulate(parts); err != nil {
			t.Fatal(err)
		}
		trainer.Decay(0, 8)
		for step := range 8 {
			x, y := make([]float32, 12*3), make([]float32, 12)
			for i := range x {
				x[i] = float32((i*7+step*5)%11)/5 - 1
			}
			for i := range y {
				y[i] = float32((i*3+step)%5) / 4
			}
			got, err := trainer.Step(engine.Rows(x, 3), y)
			if err != nil {
				t.Fatal(err)
			}
			losses = append(losses, got)
		}
		if calls := e.NetworkCalls(); calls != 8*12 {
			t.Errorf("in %d parts, %d calls are counted, want one for each of 8·12 rows", parts, calls)
		}
		values, err := nn.State(e, "/ema/h")
		if err != nil || len(values) != 1 {
			t.Fatal(len(values), err)
		}
		for _, v := range values {
			last = v.F32
		}
		return losses, last
	}
	wantLosses, want := train(1)
	for _, parts := range []int{2, 3, 12} {
		losses, got := train(parts)
		for i := range losses {
			oracle.Near(t, "loss", losses[i], wantLosses[i], 1e-6)
		}
		for i := range want {
			oracle.Near(t, "average", float64(got[i]), float64(want[i]), 1e-6)
		}
	}
}

// The two programs of a step in parts, of all parts but the last and of that, hold the memory of one.
func TestAccumulateMemory(t *testing.T) {
	const rows, width = 256, 16384
	held := func(parts int) float64 {
		before := oracle.Heap()
		e := oracle.Open(t)
		a := e.Scope("/h").VariableWithValue("a", make([]float32, width))
		trainer, err := nn.NewTrainer(e, variables(e, "/h"), nn.Optimizer{LearningRate: 0.1}, func(in []*graph.Node) *graph.Node {
			hidden := graph.Tanh(graph.Add(graph.MatMul(in[0], graph.Ones(in[0].Graph(), shapes.Make(dtypes.Float32, 4, width))), graph.InsertAxes(a.NodeValue(in[0].Graph()), 0)))
			return graph.ReduceAllMean(graph.Square(graph.MatMul(hidden, graph.Transpose(hidden, 0, 1))))
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := trainer.Accumulate(parts); err != nil {
			t.Fatal(err)
		}
		if _, err := trainer.Step(engine.Rows(make([]float32, parts*rows*4), 4)); err != nil {
			t.Fatal(err)
		}
		after := oracle.Heap()
		runtime.KeepAlive(trainer)
		return after - before
	}
	one, three := held(1), held(3)
	if one < 4*rows*width {
		t.Fatalf("a step holds %.0f bytes: the test is about more", one)
	}
	if three > 1.3*one {
		t.Errorf("a step in parts holds %.0f MB, one of a single part %.0f MB", three/1e6, one/1e6)
	}
}

// Parts that do not divide a batch are refused.
func TestAccumulateUneven(t *testing.T) {
	e := oracle.Open(t)
	v := e.Scope("/h").VariableWithValue("a", []float32{1})
	trainer, err := nn.NewTrainer(e, variables(e, "/h"), nn.Optimizer{}, func(in []*graph.Node) *graph.Node {
		return graph.ReduceAllMean(graph.Square(graph.Sub(in[0], v.NodeValue(in[0].Graph()))))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.Accumulate(2); err != nil {
		t.Fatal(err)
	}
	_, err = trainer.Step([]float32{1, 2, 3})
	oracle.WantError(t, err, "3] in 2 parts")
}
