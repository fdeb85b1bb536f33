package cpu_test

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// An execution allocates the handles of its results, and nothing for its steps.
func TestExecuteAllocatesHandlesOnly(t *testing.T) {
	b := open(t, "workers=2")
	const n = 96
	allocations := func(steps int) float64 {
		program := compile(t, b, [][]int{{n, n}, {n, n}, {n}}, func(f recorder, in []compute.Value) []compute.Value {
			x, w := in[0], in[1]
			for range steps { // a product with bias, a chain, a transposition, a reduction, another chain
				x = must(f.DotGeneral(x, []int{1}, nil, w, []int{0}, nil, compute.DotGeneralConfig{}))
				x = f.add(x, must(f.BroadcastInDim(in[2], shapes.Make(dtypes.Float32, n, n), []int{1})))
				x = must(f.Transpose(must(f.Tanh(x)), 1, 0))
				s := must(f.Reshape(must(f.ReduceSum(x, 1)), n, 1))
				x = must(f.Sub(x, s))
			}
			return []compute.Value{x, must(f.ReduceSum(x))}
		})
		w, bias := upload(t, b, make([]float32, n*n), n, n), upload(t, b, make([]float32, n), n)
		x := upload(t, b, make([]float32, n*n), n, n)
		in, donate := []compute.Buffer{x, w, bias}, []bool{true, false, false}
		run := func() {
			out, err := program.Execute(in, donate, 0)
			if err != nil {
				t.Fatal(err)
			}
			in[0] = out[0]
			if err := out[1].Finalize(); err != nil {
				t.Fatal(err)
			}
		}
		run()
		return testing.AllocsPerRun(50, run)
	}
	few, many := allocations(2), allocations(30)
	if many > few+1 { // one, should the garbage collector have emptied a pool of memory
		t.Errorf("%v allocations for 2 times five operations, %v for 30 times", few, many)
	}
	if few > 25 {
		t.Errorf("%v allocations for 3 inputs and 2 outputs", few)
	}
}
