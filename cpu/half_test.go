package cpu_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/cpu"
)

// Programs of values of 16 bits, converted to float32 on the way, give the bits of the same programs of float32, whatever reads them.
func TestHalfIsItsFloat32(t *testing.T) {
	programs := map[string]func(w, x, y *graph.Node) []*graph.Node{ // w [6, 10] of 16 bits; x [4, 10], y [4, 6]
		"second factor": func(w, x, y *graph.Node) []*graph.Node {
			return []*graph.Node{graph.DotGeneral(x, []int{1}, nil, w, []int{1}, nil), graph.DotGeneral(y, []int{1}, nil, w, []int{0}, nil)}
		},
		"first factor": func(w, x, y *graph.Node) []*graph.Node {
			return []*graph.Node{graph.DotGeneral(w, []int{1}, nil, x, []int{1}, nil), graph.DotGeneral(w, []int{0}, nil, y, []int{1}, nil)}
		},
		"transposed": func(w, x, y *graph.Node) []*graph.Node {
			z := graph.DotGeneral(x, []int{1}, nil, graph.Transpose(w, 0, 1), []int{0}, nil)
			return []*graph.Node{z, graph.Transpose(graph.DotGeneral(y, []int{1}, nil, w, []int{0}, nil), 0, 1)}
		},
		"both factors": func(w, _, _ *graph.Node) []*graph.Node {
			return []*graph.Node{graph.DotGeneral(w, []int{0}, nil, w, []int{0}, nil), graph.DotGeneral(w, []int{1}, nil, w, []int{1}, nil)}
		},
		"part of it": func(w, x, y *graph.Node) []*graph.Node {
			part := graph.Slice(w, graph.AxisRange(1, 5), graph.AxisRange(2, 9))
			return []*graph.Node{graph.DotGeneral(graph.Slice(x, graph.AxisRange(), graph.AxisRange(0, 7)), []int{1}, nil, part, []int{1}, nil)}
		},
		"batches": func(w, x, _ *graph.Node) []*graph.Node {
			b := graph.Reshape(w, 2, 3, 10)
			return []*graph.Node{graph.DotGeneral(graph.Reshape(x, 2, 2, 10), []int{2}, []int{0}, b, []int{2}, []int{0})}
		},
		"kernel": func(w, x, _ *graph.Node) []*graph.Node {
			kernel, image := graph.Reshape(w, 1, 3, 4, 5), graph.Reshape(graph.Concatenate([]*graph.Node{x, x}, 1), 1, 4, 5, 4)
			y := graph.Convolve(image, kernel).PadSame().Done()
			return []*graph.Node{y, graph.Gradient(graph.ReduceAllSum(graph.Square(y)), image)[0], graph.Convolve(image, graph.Reverse(kernel, 0, 1)).PadSame().Done()}
		},
		"elements": func(w, x, _ *graph.Node) []*graph.Node {
			a := graph.Slice(w, graph.AxisRange(0, 4))
			return []*graph.Node{graph.Add(a, x), graph.Tanh(w), graph.ReduceSum(w, 0), graph.Where(graph.GreaterThan(a, x), a, x)}
		},
		"moved": func(w, x, _ *graph.Node) []*graph.Node {
			rows := graph.Gather(w, graph.Const(w.Graph(), [][]int32{{5}, {0}, {2}}))
			return []*graph.Node{w, graph.Concatenate([]*graph.Node{w, x}, 0), graph.Reshape(graph.Transpose(w, 0, 1), 4, 15), rows, graph.Softmax(w, -1)}
		},
		"named": func(w, x, _ *graph.Node) []*graph.Node {
			f := graph.NewFunction(w.Graph(), "sum_squares__n1", func(g *graph.Graph) []*graph.Node {
				return []*graph.Node{graph.ReduceAllSum(graph.Square(graph.Parameter(g, "x", w.Shape())))}
			})
			return []*graph.Node{f.Call(w)[0]}
		},
	}
	r := rand.New(rand.NewPCG(3, 4))
	numbers := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	values, x, y := numbers(60), numbers(40), numbers(24)
	for _, set := range cpu.InstructionSets() {
		backend, err := cpu.New(set + ",workers=2")
		if err != nil {
			t.Fatal(err)
		}
		defer backend.Finalize()
		for name, program := range programs {
			for _, dtype := range []dtypes.DType{dtypes.Float16, dtypes.BFloat16} {
				var w *tensors.Tensor
				if dtype == dtypes.Float16 {
					flat := make([]float16.Float16, len(values))
					for i, v := range values {
						flat[i] = float16.FromFloat32(v)
					}
					w = tensors.FromFlatDataAndDimensions(flat, 6, 10)
				} else {
					flat := make([]bfloat16.BFloat16, len(values))
					for i, v := range values {
						flat[i] = bfloat16.FromFloat32(v)
					}
					w = tensors.FromFlatDataAndDimensions(flat, 6, 10)
				}
				wide, err := graph.CallOnce(backend, func(w *graph.Node) *graph.Node { return graph.ConvertDType(w, dtypes.Float32) }, w)
				if err != nil {
					t.Fatal(err)
				}
				run := func(w *tensors.Tensor) [][]float32 {
					out, err := graph.CallOnceN(backend, func(in []*graph.Node) []*graph.Node {
						return program(graph.ConvertDType(in[0], dtypes.Float32), in[1], in[2])
					}, w, tensors.FromFlatDataAndDimensions(slices.Clone(x), 4, 10), tensors.FromFlatDataAndDimensions(slices.Clone(y), 4, 6))
					if err != nil {
						t.Fatalf("%s, %s, %s: %v", set, name, dtype, err)
					}
					var flat [][]float32
					for _, o := range out {
						flat = append(flat, tensors.MustCopyFlatData[float32](o))
					}
					return flat
				}
				got, want := run(w), run(wide)
				for i := range want {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("%s, %s, %s: result %d is %v,\nof the same numbers in float32 %v", set, name, dtype, i, got[i], want[i])
					}
				}
			}
		}
	}
}
