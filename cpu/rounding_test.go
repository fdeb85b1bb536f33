package cpu_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/cpu"
)

// The option bf16 rounds x in x·Wᵀ + bias where W is bfloat16, and leaves the gradient of x and products with a W of float32 as they are, on every
// instruction set that has it.
func TestRounding(t *testing.T) {
	const m, k, n = 30, 64, 40
	r := rand.New(rand.NewPCG(1, 2))
	numbers := func(size int, rounded bool) []float32 {
		v := make([]float32, size)
		for i := range v {
			if v[i] = float32(r.NormFloat64()); rounded {
				v[i] = bfloat16.FromFloat32(v[i]).Float32()
			}
		}
		return v
	}
	x, w, bias := numbers(m*k, false), numbers(n*k, true), numbers(n, false)
	brain := make([]bfloat16.BFloat16, len(w))
	for i, v := range w {
		brain[i] = bfloat16.FromFloat32(v)
	}
	program := func(in []*graph.Node) []*graph.Node {
		x := in[0]
		linear := func(w *graph.Node) *graph.Node {
			return graph.Add(graph.DotGeneral(x, []int{1}, nil, graph.ConvertDType(w, dtypes.Float32), []int{1}, nil), graph.InsertAxes(in[3], 0))
		}
		y := linear(in[1])
		return []*graph.Node{y, linear(in[2]), graph.Gradient(graph.ReduceAllSum(y), x)[0]}
	}
	run := func(config string, x []float32) (out [3][]float32) {
		backend := open(t, config)
		results, err := graph.CallOnceN(backend, program, tensors.FromFlatDataAndDimensions(slices.Clone(x), m, k), tensors.FromFlatDataAndDimensions(slices.Clone(brain), n, k),
			tensors.FromFlatDataAndDimensions(slices.Clone(w), n, k), tensors.FromFlatDataAndDimensions(slices.Clone(bias), n))
		if err != nil {
			t.Fatal(err)
		}
		for i, y := range results {
			out[i] = tensors.MustCopyFlatData[float32](y)
		}
		return out
	}
	rounded := make([]float32, len(x))
	for i, v := range x {
		rounded[i] = bfloat16.FromFloat32(v).Float32()
	}
	tested := 0
	for _, set := range cpu.InstructionSets() {
		if backend, err := cpu.New(set + ",bf16"); err != nil {
			if !strings.Contains(err.Error(), "AVX512_BF16") || set == "generic" {
				t.Errorf("%s: %v", set, err)
			}
			continue
		} else {
			backend.Finalize()
		}
		tested++
		got, plain, want := run(set+",bf16,workers=2", x), run(set+",workers=2", x), run(set+",workers=2", rounded)
		var off, largest float64
		for i, v := range want[0] {
			off, largest = max(off, math.Abs(float64(got[0][i]-v))), max(largest, math.Abs(float64(v)))
		}
		if !(off <= 1e-6*largest) { // the products are exact, and sums of 64
			t.Errorf("%s: off by %.1e of the largest entry from the product of rounded numbers", set, off/largest)
		}
		if slices.Equal(got[0], plain[0]) {
			t.Errorf("%s: nothing was rounded", set)
		}
		if !slices.Equal(got[1], plain[1]) || !slices.Equal(got[2], plain[2]) {
			t.Errorf("%s: weights in float32, or the gradient, are other than without the option", set)
		}
	}
	if tested == 0 {
		t.Error("no instruction set has the option")
	}
}
