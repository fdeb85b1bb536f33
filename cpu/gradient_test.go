package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// counting is a stock backend that remembers which operations it had to run.
type counting struct {
	compute.Backend
	ran []string
}

func (c *counting) Builder(name string) compute.Builder {
	c.ran = append(c.ran, name)
	return c.Backend.Builder(name)
}

// Losses of small networks and their gradients, as autodiff writes them, are what the stock backend makes of the same
// graphs, and no convolution or product is left to it.
func TestAutodiff(t *testing.T) {
	stock, err := gobackend.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := New("workers=2,direct")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Finalize()
	count := &counting{Backend: ours.stock}
	ours.stock = count

	type layer func(x, w *graph.Node) *graph.Node
	plain := func(change func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder) layer {
		return func(x, w *graph.Node) *graph.Node { return change(graph.Convolve(x, w)).Done() }
	}
	for _, c := range []struct {
		name    string
		kernel  [2]int
		size    [2]int
		forward layer
	}{
		{"3×3, same", [2]int{3, 3}, [2]int{8, 8}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.PadSame() })},
		{"3×3, valid", [2]int{3, 3}, [2]int{7, 9}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding() })},
		{"5×3, stride 2", [2]int{5, 3}, [2]int{9, 11}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding().Strides(2) })},
		{"3×3, stride 2 with a rest", [2]int{3, 3}, [2]int{8, 10}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding().Strides(2) })},
		{"3×3, stride 2, same", [2]int{3, 3}, [2]int{8, 9}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.PadSame().Strides(2) })},
		{"3×3, stride 3 × 1", [2]int{3, 3}, [2]int{9, 5}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.PadSame().StridePerAxis(3, 1) })},
		{"3×3, dilation 2", [2]int{3, 3}, [2]int{9, 9}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding().Dilations(2) })},
		{"1×1", [2]int{1, 1}, [2]int{6, 6}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding() })},
		{"1×1, stride 2", [2]int{1, 1}, [2]int{6, 6}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding().Strides(2) })},
		// GoMLX's own gradient with respect to the input is wrong for even kernels; but it is a graph like any other.
		{"2×2, stride 2", [2]int{2, 2}, [2]int{8, 8}, plain(func(c *graph.ConvolutionBuilder) *graph.ConvolutionBuilder { return c.NoPadding().Strides(2) })},
	} {
		var r *rand.Rand
		random := func(dims ...int) *tensors.Tensor {
			n := 1
			for _, d := range dims {
				n *= d
			}
			flat := make([]float32, n)
			for i := range flat {
				flat[i] = float32(0.5 * r.NormFloat64())
			}
			return tensors.FromFlatDataAndDimensions(flat, dims...)
		}
		const batch, channels, hidden, classes = 4, 3, 6, 5
		inputs := func() []any {
			r = rand.New(rand.NewPCG(9, 9))
			return []any{random(batch, c.size[0], c.size[1], channels), random(c.kernel[0], c.kernel[1], channels, hidden), random(hidden), random(3, 3, hidden, hidden), random(hidden, classes), random(classes)}
		}
		step := func(in []*graph.Node) []*graph.Node {
			x, w0, b0, w1, w2, b2 := in[0], in[1], in[2], in[3], in[4], in[5]
			y := graph.Add(c.forward(x, w0), graph.Reshape(b0, 1, 1, 1, hidden))
			y = graph.Tanh(y)
			y = graph.Add(y, graph.Convolve(y, w1).PadSame().Done())
			y = graph.ReduceMean(graph.Mul(y, graph.Logistic(y)), 1, 2)
			y = graph.Add(graph.Dot(y, w2).Product(), graph.Reshape(b2, 1, classes))
			loss := graph.ReduceAllMean(graph.Mul(graph.Softmax(y), y))
			return append([]*graph.Node{loss}, graph.Gradient(loss, in...)...)
		}
		count.ran = nil
		var got, want []*tensors.Tensor
		for b, out := range map[compute.Backend]*[]*tensors.Tensor{stock: &want, compute.Backend(ours): &got} {
			if *out, err = graph.CallOnceN(b, step, inputs()...); err != nil {
				t.Fatalf("%s: %s: %v", c.name, b.Name(), err)
			}
		}
		for k := range want {
			g, w := tensors.MustCopyFlatData[float32](got[k]), tensors.MustCopyFlatData[float32](want[k])
			most := 0.0
			for i := range w {
				most = max(most, math.Abs(float64(w[i])))
			}
			for i := range w {
				if d := math.Abs(float64(g[i] - w[i])); !(d <= 2e-5*(1e-3+most)) {
					t.Errorf("%s: result %d[%d] is %g, want %g of at most %g", c.name, k, i, g[i], w[i], most)
					break
				}
			}
		}
		for _, op := range []compute.OpType{compute.OpTypeConvGeneral, compute.OpTypeDotGeneral, compute.OpTypeReduceSum, compute.OpTypeAdd} {
			if slices.Contains(count.ran, op.String()) {
				t.Errorf("%s: %s is left to the stock backend", c.name, op)
			}
		}
		if t.Failed() {
			t.Log(fmt.Sprint(count.ran))
		}
	}
}
