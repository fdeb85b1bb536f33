//go:build xla

package op_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/op"
)

// Values and gradients of all ops are those of package cpu, within 1e-5 of the largest entry of each. The other tests of this
// package compare XLA with plain Go, first and second gradients.
func TestXLALikeCPU(t *testing.T) {
	backend := oracle.XLA(t)
	cases := append(examples(), updates()...)
	var names []string
	run := func(backend string) [][]float32 {
		names = nil
		r := rand.New(rand.NewPCG(3, 4))
		var inputs []any
		for _, c := range cases {
			for _, dims := range c.shapes {
				x := make([]float32, len(zeros(dims...).data))
				for j := range x {
					x[j] = float32(r.NormFloat64())
				}
				inputs = append(inputs, tensors.FromFlatDataAndDimensions(x, dims...))
			}
		}
		return oracle.Run(t, backend, func(in []*graph.Node) []*graph.Node {
			var out []*graph.Node
			for _, c := range cases {
				x := in[:len(c.shapes)]
				in = in[len(x):]
				y := c.graph(x)
				names, out = append(names, fmt.Sprint(c.name, " ", c.shapes)), append(out, y)
				// A loss in which every element has a weight of its own.
				weights := graph.Cos(graph.MulScalar(graph.IotaFull(y.Graph(), y.Shape()), 0.7))
				for j, g := range graph.Gradient(graph.ReduceAllSum(graph.Mul(weights, y)), x...) {
					names, out = append(names, fmt.Sprintf("gradient %d of %s %v", j, c.name, c.shapes)), append(out, g)
				}
			}
			return out
		}, inputs...)
	}
	want, got := run("cpu"), run(backend)
	var worst float64
	for i := range want {
		worst = max(worst, oracle.Alike(t, names[i], got[i], want[i], 1e-5))
	}
	t.Logf("%d results of %d ops, the worst off by %.1e of its largest entry", len(want), len(cases), worst)
}

// updates are the ops that nobody differentiates but that can be, all outputs in one.
func updates() []example {
	square := func(x *graph.Node) *graph.Node { return graph.Mul(x, x) }
	vector := []int{7}
	return []example{
		{"adamw", [][]int{vector, vector, vector, vector}, func(in []*graph.Node) *graph.Node {
			one := graph.ScalarOne(in[0].Graph(), in[0].DType())
			p, m, v := op.AdamW(in[0], in[1], in[2], square(in[3]), graph.MulScalar(one, 0.1), graph.MulScalar(one, 2), graph.MulScalar(one, 3), one, 0.9, 0.99, 1e-3, 0.01)
			return graph.Concatenate([]*graph.Node{p, m, v}, 0)
		}, nil},
		{"void adamw", [][]int{vector, vector, vector, vector}, func(in []*graph.Node) *graph.Node {
			one := graph.ScalarOne(in[0].Graph(), in[0].DType())
			p, m, v := op.AdamW(in[0], in[1], in[2], square(in[3]), one, one, one, graph.ScalarZero(in[0].Graph(), in[0].DType()), 0.9, 0.99, 1e-3, 0.01)
			return graph.Concatenate([]*graph.Node{p, m, v}, 0)
		}, nil},
		{"global norm", [][]int{vector, {2, 3}}, op.GlobalNorm, nil},
		{"ema", [][]int{vector, vector, {}}, func(in []*graph.Node) *graph.Node { return op.EMA(in[0], in[1], in[2]) }, nil},
		{"sinusoids", [][]int{vector}, func(in []*graph.Node) *graph.Node {
			return op.Sinusoids(graph.MulScalar(in[0], 1e-3), 16) // larger phases have errors of their own, see TestSinusoids
		}, nil},
	}
}
