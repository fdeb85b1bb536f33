package bench

import (
	"runtime"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/sd"
)

// What a model and a step are planned to take is what they take, within a tenth and 16 MB for the program itself, its graph and plan.
func TestPlannedMemory(t *testing.T) {
	const width, batch, side = 64, 2, 8
	u := StableUNet(width)
	for _, bits := range []int{16, 32} {
		e, err := engine.Open("cpu")
		if err != nil {
			t.Fatal(err)
		}
		w, err := u.Weights(RandomWeights{Of: u.Tensors(), Bits: bits, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		network := func(m *sd.Modules) func(in []*graph.Node) []*graph.Node {
			return func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(*m, in[0], in[1], in[2])} }
		}
		planner := e.Fork()
		m, err := w.Declare(planner.Scope("/unet"), nil)
		if err != nil {
			t.Fatal(err)
		}
		planned, err := planner.Memory(network(&m), shapes.Make(dtypes.Float32, batch, side, side, u.Channels), shapes.Make(dtypes.Int32, 1),
			shapes.Make(dtypes.Float32, batch, 77, u.Context))
		if err != nil {
			t.Fatal(err)
		}
		planner = nil

		before := oracle.Heap()
		if m, err = w.Load(e.Scope("/unet"), nil); err != nil {
			t.Fatal(err)
		}
		loaded := oracle.Heap() - before
		program, err := e.Compile(network(&m))
		if err != nil {
			t.Fatal(err)
		}
		x, text := uniform(1, batch, side, side, u.Channels), uniform(2, batch, 77, u.Context)
		out, err := program.Run(x, []int32{500}, text)
		if err != nil {
			t.Fatal(err)
		}
		stepped := oracle.Heap() - before
		if want := float64(planned.Parameters); loaded < want || loaded > 1.1*want {
			t.Errorf("%d bits: weights take %.1f MB, planned are %.1f", bits, loaded/1e6, want/1e6)
		}
		if want := float64(planned.Total()); stepped < 0.9*want || stepped > 1.1*want+16e6 {
			t.Errorf("%d bits: weights and a step take %.1f MB, planned are %.1f: %+v", bits, stepped/1e6, want/1e6, planned)
		}
		t.Logf("%d bits: loaded %.1f MB, after a step %.1f MB, planned %.1f and %.1f MB", bits, loaded/1e6, stepped/1e6, float64(planned.Parameters)/1e6, float64(planned.Total())/1e6)
		runtime.KeepAlive(out)
		runtime.KeepAlive(program)
	}
}
