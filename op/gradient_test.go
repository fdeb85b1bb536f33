package op_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/op"
)

// array is a tensor on the host.
type array struct {
	dims []int
	data []float64
}

func zeros(dims ...int) array {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return array{dims, make([]float64, n)}
}

// at returns the position of an element.
func (a array) at(index ...int) *float64 {
	p := 0
	for i, d := range a.dims {
		p = p*d + index[i]
	}
	return &a.data[p]
}

// example is an operation on inputs of some shapes, as a graph function and as plain Go.
type example struct {
	name   string
	shapes [][]int
	graph  func(in []*graph.Node) *graph.Node
	plain  func(in []array) array
}

func examples() []example {
	var out []example
	for _, dims := range [][]int{{5}, {2, 3, 4}} {
		out = append(out,
			example{"silu", [][]int{dims}, func(in []*graph.Node) *graph.Node { return op.SiLU(in[0]) }, plain(func(v float64) float64 { return v / (1 + math.Exp(-v)) })},
			example{"gelu", [][]int{dims}, func(in []*graph.Node) *graph.Node { return op.GELU(in[0]) }, plain(plainGELU)},
			example{"quick gelu", [][]int{dims}, func(in []*graph.Node) *graph.Node { return op.QuickGELU(in[0]) },
				plain(func(v float64) float64 { return v / (1 + math.Exp(-1.702*v)) })},
			example{"softmax", [][]int{dims}, func(in []*graph.Node) *graph.Node { return op.Softmax(in[0]) }, plainSoftmax})
	}
	for epsilon, dims := range map[float64][]int{1e-5: {2, 3, 4}, 0.3: {5, 6}, 1e-12: {1, 2, 2, 5}} {
		width := dims[len(dims)-1:]
		out = append(out, example{"layer norm", [][]int{dims, width, width},
			func(in []*graph.Node) *graph.Node { return op.LayerNorm(in[0], in[1], in[2], epsilon) },
			func(in []array) array { return plainLayerNorm(in, epsilon) }})
	}
	for _, dims := range [][]int{{2}, {2, 3, 6}} {
		out = append(out, example{"geglu", [][]int{dims}, func(in []*graph.Node) *graph.Node { return op.GEGLU(in[0]) }, plainGEGLU})
	}
	for _, c := range []struct {
		dims           []int
		groups         int
		epsilon        float64
		silu, adaptive bool
	}{
		{[]int{2, 3, 2, 6}, 2, 1e-5, true, true},
		{[]int{2, 3, 2, 6}, 2, 1e-5, true, false},
		{[]int{2, 3, 2, 6}, 3, 1e-5, false, true},
		{[]int{2, 3, 2, 6}, 2, 0.3, false, false},
		{[]int{1, 5, 4}, 1, 1e-5, true, true},
		{[]int{3, 2, 2, 4}, 4, 1e-2, true, true},
	} {
		channels := c.dims[len(c.dims)-1]
		shapes := [][]int{c.dims, {channels}, {channels}}
		if c.adaptive {
			shapes = [][]int{c.dims, {c.dims[0], channels}, {c.dims[0], channels}}
		}
		out = append(out, example{"group norm", shapes,
			func(in []*graph.Node) *graph.Node {
				return op.GroupNorm(in[0], in[1], in[2], c.groups, c.epsilon, c.silu)
			},
			func(in []array) array { return plainGroupNorm(in, c.groups, c.epsilon, c.silu) }})
	}
	for _, d := range [][5]int{{2, 3, 3, 2, 4}, {1, 2, 5, 1, 3}, {2, 4, 1, 3, 2}} {
		q, k := []int{d[0], d[1], d[3], d[4]}, []int{d[0], d[2], d[3], d[4]}
		out = append(out, example{"attention", [][]int{q, k, k},
			func(in []*graph.Node) *graph.Node { return op.Attention(in[0], in[1], in[2]) }, plainAttention(false)},
			example{"biased attention", [][]int{q, k, k, {d[0], d[2]}},
				func(in []*graph.Node) *graph.Node { return op.BiasedAttention(in[0], in[1], in[2], in[3]) }, plainAttention(false)},
			example{"causal attention", [][]int{k, k, k},
				func(in []*graph.Node) *graph.Node { return op.CausalAttention(in[0], in[1], in[2]) }, plainAttention(true)})
	}
	for factor, dims := range map[int][]int{1: {2, 3, 2, 1}, 2: {2, 3, 2, 3}, 3: {1, 2, 1, 2}} {
		out = append(out, example{"upsample", [][]int{dims},
			func(in []*graph.Node) *graph.Node { return op.Upsample(in[0], factor) },
			func(in []array) array { return plainUpsample(in[0], factor) }})
	}
	for _, c := range []struct {
		x, w    []int
		stride  int
		padding op.Padding
	}{
		{[]int{2, 4, 3, 2}, []int{3, 3, 2, 3}, 1, op.Same(3)},
		{[]int{2, 4, 3, 3}, []int{1, 1, 3, 2}, 1, op.Same(1)},
		{[]int{1, 6, 6, 2}, []int{3, 3, 2, 2}, 2, op.Same(3)},
		{[]int{1, 5, 7, 1}, []int{3, 3, 1, 2}, 2, op.Same(3)},
		{[]int{1, 6, 6, 1}, []int{3, 3, 1, 2}, 2, op.Padding{{0, 1}, {1, 0}}},
		{[]int{2, 4, 4, 2}, []int{2, 2, 2, 3}, 2, op.Padding{}},
		{[]int{1, 5, 4, 2}, []int{2, 2, 2, 1}, 2, op.Padding{}}, // the last row is not seen
		{[]int{1, 5, 5, 1}, []int{2, 2, 1, 2}, 1, op.Padding{{1, 0}, {0, 1}}},
		{[]int{1, 6, 8, 1}, []int{4, 4, 1, 2}, 2, op.Padding{{1, 1}, {1, 1}}},
		{[]int{1, 8, 8, 1}, []int{4, 4, 1, 2}, 4, op.Padding{}}, // patches
		{[]int{1, 4, 5, 2}, []int{2, 3, 2, 2}, 1, op.Padding{{0, 1}, {1, 1}}},
		{[]int{1, 8, 7, 1}, []int{3, 2, 1, 1}, 3, op.Padding{{2, 0}, {0, 2}}},
		{[]int{1, 3, 3, 1}, []int{1, 1, 1, 2}, 2, op.Padding{{1, 1}, {0, 2}}}, // padding wider than the kernel
	} {
		shapes := [][]int{c.x, c.w, {c.w[3]}}
		out = append(out, example{fmt.Sprintf("convolution %v %v /%d %v", c.x, c.w, c.stride, c.padding), shapes,
			func(in []*graph.Node) *graph.Node { return op.Conv(in[0], in[1], in[2], c.stride, c.padding) },
			func(in []array) array { return plainConv(in, c.stride, c.padding) }})
	}
	return out
}

// Every op in one graph, with several shapes and precisions, against plain Go and its central differences. The loss is
// Σ weight·y²: its gradient needs y again, which is recomputed under Checkpoint.
func TestValuesAndGradients(t *testing.T) {
	for _, backend := range oracle.Backends() {
		for _, checkpoint := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,checkpoint=%v", backend, checkpoint), func(t *testing.T) {
				checkGradients(t, backend, checkpoint)
			})
		}
	}
}

func checkGradients(t *testing.T, backend string, checkpoint bool) {
	e := oracle.OpenOn(t, backend)
	r := rand.New(rand.NewPCG(1, 2))
	precisions := []dtypes.DType{dtypes.Float64, dtypes.Float32}
	cases := examples()
	data := make([][]array, len(cases)) // the inputs of every case, the weights last
	var inputs []any
	for i, c := range cases {
		for _, dims := range c.shapes {
			x := zeros(dims...)
			for j := range x.data {
				x.data[j] = r.NormFloat64()
			}
			data[i] = append(data[i], x)
		}
		weights := c.plain(data[i])
		for j := range weights.data {
			weights.data[j] = r.NormFloat64()
		}
		data[i] = append(data[i], weights)
		for _, x := range data[i] {
			inputs = append(inputs, tensors.FromFlatDataAndDimensions(x.data, x.dims...))
		}
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		var out []*graph.Node
		for _, precision := range precisions {
			rest := in
			for i, c := range cases {
				x := make([]*graph.Node, len(c.shapes))
				start := make([]*graph.Node, len(c.shapes))
				for j := range x {
					x[j] = graph.ConvertDType(rest[j], precision)
					if precision == dtypes.Float64 {
						x[j] = graph.Identity(x[j]) // inputs that no other case shares
					}
					start[j] = x[j]
					if checkpoint {
						start[j] = x[j].Checkpoint()
					}
				}
				weights := graph.ConvertDType(rest[len(x)], precision)
				rest = rest[len(data[i]):]
				y := c.graph(start)
				square := graph.Square(y)
				if checkpoint {
					square = square.StopCheckpoint()
				}
				out = append(out, y)
				out = append(out, graph.Gradient(graph.ReduceAllSum(graph.Mul(weights, square)), x...)...)
			}
		}
		for i := range out {
			out[i] = graph.ConvertDType(out[i], dtypes.Float64)
		}
		return out
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := program.Run(inputs...)
	if err != nil {
		t.Fatal(err)
	}
	for _, precision := range precisions {
		for i, c := range cases {
			in, weights := data[i][:len(c.shapes)], data[i][len(c.shapes)]
			name := fmt.Sprintf("%s %v %s", c.name, c.shapes, precision)
			want := c.plain(in)
			compare(t, name, results[0], want.dims, want.data, precision)
			results = results[1:]
			loss := func() (sum float64) {
				for j, y := range c.plain(in).data {
					sum += weights.data[j] * y * y
				}
				return sum
			}
			for j, x := range in {
				slope := make([]float64, len(x.data))
				for k, v := range x.data {
					const h = 1e-5
					x.data[k] = v + h
					up := loss()
					x.data[k] = v - h
					slope[k] = (up - loss()) / (2 * h)
					x.data[k] = v
				}
				compare(t, fmt.Sprintf("gradient %d of %s", j, name), results[0], x.dims, slope, precision)
				results = results[1:]
			}
		}
	}
}

// Every gradient can be differentiated once more: Hessian times vector is the difference of the gradients on both sides of a point.
func TestSecondGradients(t *testing.T) {
	for _, backend := range oracle.Backends() {
		t.Run(backend, func(t *testing.T) {
			e := oracle.OpenOn(t, backend)
			r := rand.New(rand.NewPCG(1, 2))
			for _, c := range examples() {
				draw := func() []array {
					var out []array
					for _, dims := range c.shapes {
						x := zeros(dims...)
						for j := range x.data {
							x.data[j] = r.NormFloat64()
						}
						out = append(out, x)
					}
					return out
				}
				x, direction := draw(), draw()
				var want [][]float64 // in float64
				for _, precision := range []dtypes.DType{dtypes.Float64, dtypes.Float32} {
					program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
						n := len(c.shapes)
						for i := range in {
							in[i] = graph.ConvertDType(in[i], precision)
						}
						at := in[:n]
						gradient := graph.Gradient(graph.ReduceAllSum(graph.Square(c.graph(at))), at...)
						along := graph.ReduceAllSum(graph.Mul(gradient[0], in[n]))
						for i := 1; i < n; i++ {
							along = graph.Add(along, graph.ReduceAllSum(graph.Mul(gradient[i], in[n+i])))
						}
						out := append(gradient, graph.Gradient(along, at...)...)
						for i := range out {
							out[i] = graph.ConvertDType(out[i], dtypes.Float64)
						}
						return out
					})
					if err != nil {
						t.Fatal(err)
					}
					run := func(step float64) []*tensors.Tensor {
						var inputs []any
						for i := range x {
							moved := slices.Clone(x[i].data)
							for j := range moved {
								moved[j] += step * direction[i].data[j]
							}
							inputs = append(inputs, tensors.FromFlatDataAndDimensions(moved, x[i].dims...))
						}
						for _, d := range direction {
							inputs = append(inputs, tensors.FromFlatDataAndDimensions(d.data, d.dims...))
						}
						out, err := program.Run(inputs...)
						if err != nil {
							t.Fatal(err)
						}
						return out
					}
					const h = 1e-5
					here, above, below := run(0), run(h), run(-h)
					for i := range x {
						if precision == dtypes.Float64 {
							up, down := tensors.MustCopyFlatData[float64](above[i]), tensors.MustCopyFlatData[float64](below[i])
							for j := range up {
								up[j] = (up[j] - down[j]) / (2 * h)
							}
							want = append(want, up)
						}
						compare(t, fmt.Sprintf("Hessian times vector, part %d of %s %v %s", i, c.name, c.shapes, precision), here[len(x)+i], x[i].dims, want[i], precision)
					}
				}
			}
		})
	}
}

// compare allows for the rounding of a precision, and of central differences.
func compare(t *testing.T, name string, got *tensors.Tensor, dims []int, want []float64, precision dtypes.DType) {
	t.Helper()
	if !slices.Equal(got.Shape().Dimensions, dims) {
		t.Errorf("%s has dimensions %v, want %v", name, got.Shape().Dimensions, dims)
		return
	}
	tolerance := 1e-7
	if precision == dtypes.Float32 {
		tolerance = 1e-4
	}
	for i, v := range tensors.MustCopyFlatData[float64](got) {
		if !(math.Abs(v-want[i]) <= tolerance*(1+math.Abs(want[i]))) {
			t.Errorf("%s: element %d is %.10g, want %.10g", name, i, v, want[i])
			return
		}
	}
}

// plain is a function of every element.
func plain(f func(float64) float64) func(in []array) array {
	return func(in []array) array {
		y := zeros(in[0].dims...)
		for i, v := range in[0].data {
			y.data[i] = f(v)
		}
		return y
	}
}

func plainGELU(v float64) float64 { return v * math.Erfc(-v/math.Sqrt2) / 2 }

func plainGEGLU(in []array) array {
	dims := slices.Clone(in[0].dims)
	n := dims[len(dims)-1] / 2
	dims[len(dims)-1] = n
	y := zeros(dims...)
	for i := range y.data {
		row := in[0].data[i/n*2*n:]
		y.data[i] = row[i%n] * plainGELU(row[n+i%n])
	}
	return y
}

// plainLayerNorm is group normalisation of rows, as images of one pixel and one group.
func plainLayerNorm(in []array, epsilon float64) array {
	n := len(in[1].data)
	rows := array{[]int{len(in[0].data) / n, 1, n}, in[0].data}
	return array{in[0].dims, plainGroupNorm([]array{rows, in[1], in[2]}, 1, epsilon, false).data}
}

func plainSoftmax(in []array) array {
	y := zeros(in[0].dims...)
	n := y.dims[len(y.dims)-1]
	for row := 0; row < len(y.data); row += n {
		var total float64
		for i := row; i < row+n; i++ {
			y.data[i] = math.Exp(in[0].data[i])
			total += y.data[i]
		}
		for i := row; i < row+n; i++ {
			y.data[i] /= total
		}
	}
	return y
}

func plainGroupNorm(in []array, groups int, epsilon float64, silu bool) array {
	x := in[0]
	y := zeros(x.dims...)
	batch, channels := x.dims[0], x.dims[len(x.dims)-1]
	pixels, size := len(x.data)/batch/channels, channels/groups
	for b := range batch {
		scale, bias := in[1].data, in[2].data
		if len(scale) > channels {
			scale, bias = scale[b*channels:], bias[b*channels:]
		}
		for g := range groups {
			var values []float64
			for p := range pixels {
				for c := g * size; c < (g+1)*size; c++ {
					values = append(values, x.data[(b*pixels+p)*channels+c])
				}
			}
			var mean, variance float64
			for _, v := range values {
				mean += v / float64(len(values))
			}
			for _, v := range values {
				variance += (v - mean) * (v - mean) / float64(len(values))
			}
			for i, v := range values {
				p, c := i/size, g*size+i%size
				z := (v-mean)/math.Sqrt(variance+epsilon)*scale[c] + bias[c]
				if silu {
					z /= 1 + math.Exp(-z)
				}
				y.data[(b*pixels+p)*channels+c] = z
			}
		}
	}
	return y
}

func plainAttention(causal bool) func(in []array) array {
	return func(in []array) array {
		q, k, v := in[0], in[1], in[2]
		y := zeros(q.dims...)
		for b := range q.dims[0] {
			for head := range q.dims[2] {
				for i := range q.dims[1] {
					logits := zeros(k.dims[1])
					if causal {
						logits = zeros(i + 1)
					}
					for j := range logits.data {
						if len(in) > 3 {
							logits.data[j] = *in[3].at(b, j)
						}
						for d := range q.dims[3] {
							logits.data[j] += *q.at(b, i, head, d) * *k.at(b, j, head, d) / math.Sqrt(float64(q.dims[3]))
						}
					}
					for j, p := range plainSoftmax([]array{logits}).data {
						for d := range q.dims[3] {
							*y.at(b, i, head, d) += p * *v.at(b, j, head, d)
						}
					}
				}
			}
		}
		return y
	}
}

func plainUpsample(x array, factor int) array {
	d := x.dims
	y := zeros(d[0], factor*d[1], factor*d[2], d[3])
	for b := range d[0] {
		for i := range factor * d[1] {
			for j := range factor * d[2] {
				for c := range d[3] {
					*y.at(b, i, j, c) = *x.at(b, i/factor, j/factor, c)
				}
			}
		}
	}
	return y
}

func plainConv(in []array, stride int, padding op.Padding) array {
	x, w, bias := in[0], in[1], in[2]
	var size [2]int
	for i := range size {
		size[i] = (x.dims[1+i]+padding[i][0]+padding[i][1]-w.dims[i])/stride + 1
	}
	y := zeros(x.dims[0], size[0], size[1], w.dims[3])
	for b := range x.dims[0] {
		for i := range size[0] {
			for j := range size[1] {
				for o := range w.dims[3] {
					total := bias.data[o]
					for r := range w.dims[0] {
						for s := range w.dims[1] {
							row, column := stride*i+r-padding[0][0], stride*j+s-padding[1][0]
							if row < 0 || row >= x.dims[1] || column < 0 || column >= x.dims[2] {
								continue
							}
							for k := range w.dims[2] {
								total += *x.at(b, row, column, k) * *w.at(r, s, k, o)
							}
						}
					}
					*y.at(b, i, j, o) = total
				}
			}
		}
	}
	return y
}
