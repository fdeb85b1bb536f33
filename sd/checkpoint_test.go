package sd

import (
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// random returns the modules of a network with random parameters.
func random(t testing.TB, e *engine.Engine, network map[string][]int) Modules {
	t.Helper()
	s := e.Scope("/random")
	for name, shape := range network {
		x := checkpoint.Tensor{Shape: shape, F32: make([]float32, engine.Size(shape))}
		noise.New(1).Sub(name).Normal(x.F32, 0, 0)
		for i := range x.F32 {
			x.F32[i] *= float32(1 / math.Sqrt(float64(max(1, len(x.F32)/shape[0]))))
			if strings.HasSuffix(name, ".weight") && len(shape) == 1 {
				x.F32[i] = 1
			}
		}
		value, err := parameter(x)
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.CreateVariable(name, value)
		if err != nil {
			t.Fatal(err)
		}
		v.SetTrainable(false)
	}
	return Modules{Scope: s}
}

// Gradients to an adapter take about half of the memory with blocks that are computed again, of which tens of MB are programs and not tensors, and are the
// same. The pictures are small: kernels of attention hold matrices of their own besides.
func TestCheckpointSavesMemory(t *testing.T) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC() // what the first one finalises
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	u := UNet{Channels: 4, Widths: []int{32, 64}, Layers: 3, Context: 16, Heads: []int{2, 2}, AttendDown: []bool{true, true}, AttendUp: []bool{true, true}, Groups: 4, Epsilon: 1e-5}
	const batch, side = 64, 8
	x := make([]float32, batch*side*side*4)
	noise.New(2).Normal(x, 0, 0)
	var bytes, slopes [2]float64
	for i := range bytes {
		e := oracle.Open(t)
		m := random(t, e, u.Tensors())
		l, err := NewLowRank(e.Scope("/h"), u.Tensors(), 2, AttentionMaps, noise.New(3))
		if err != nil {
			t.Fatal(err)
		}
		m = m.Adding(l.Addition)
		m.Checkpoint = i == 1
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			y := u.Apply(m, in[0], graph.Const(in[0].Graph(), []float32{500}), in[1])
			var nodes []*graph.Node
			for _, v := range l.Parameters() {
				nodes = append(nodes, engine.Parameter(v, y))
			}
			sum := graph.ScalarZero(y.Graph(), y.DType())
			for _, g := range graph.Gradient(graph.ReduceAllMean(graph.Square(y)), nodes...) {
				sum = graph.Add(sum, graph.ReduceAllSum(graph.Square(g)))
			}
			return []*graph.Node{sum}
		})
		if err != nil {
			t.Fatal(err)
		}
		latents, text := engine.Rows(x, side, side, 4), engine.Rows(x[:batch*8*16], 8, 16)
		before := heap()
		for range 2 {
			out, err := program.Run(latents, text)
			if err != nil {
				t.Fatal(err)
			}
			var sum [1]float32
			if err := engine.Floats(sum[:], out[0]); err != nil {
				t.Fatal(err)
			}
			slopes[i] = float64(sum[0])
		}
		bytes[i] = heap() - before
		runtime.KeepAlive(program)
	}
	t.Logf("%.1f MB, with checkpoints %.1f MB", bytes[0]/1e6, bytes[1]/1e6)
	if !(bytes[1] < 0.6*bytes[0]) {
		t.Errorf("gradients take %.1f MB with checkpoints and %.1f MB without: want at most 0.6 of it", bytes[1]/1e6, bytes[0]/1e6)
	}
	if oracle.Near(t, "sum of squares", slopes[1], slopes[0], 1e-4*slopes[0]); slopes[0] == 0 {
		t.Error("all gradients are 0")
	}
}
