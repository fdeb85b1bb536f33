package plan

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"pgregory.net/rapid"
)

// graph collects the nodes of a test's program.
type graph struct {
	nodes  []*Node
	params []*Value
}

func tensor(dims ...int) *Value { return &Value{DType: dtypes.Float32, Dims: dims} }

func (g *graph) param(dims ...int) *Value {
	v := tensor(dims...)
	g.params = append(g.params, v)
	return v
}

func constant(value float32, dims ...int) *Value {
	v := tensor(dims...)
	v.Const = slices.Repeat([]float32{value}, v.Size())
	return v
}

func (g *graph) node(op compute.OpType, attr any, out *Value, in ...*Value) *Value {
	g.nodes = append(g.nodes, &Node{Op: op, Attr: attr, In: in, Out: []*Value{out}})
	return out
}

func (g *graph) many(op compute.OpType, attr any, out []*Value, in ...*Value) []*Value {
	g.nodes = append(g.nodes, &Node{Op: op, Attr: attr, In: in, Out: out})
	return out
}

func (g *graph) unary(op compute.OpType, x *Value) *Value {
	return g.node(op, nil, tensor(x.Dims...), x)
}
func (g *graph) add(x, y *Value) *Value { return g.binary(compute.OpTypeAdd, x, y) }
func (g *graph) mul(x, y *Value) *Value { return g.binary(compute.OpTypeMul, x, y) }

// binary broadcasts axes of 1 and scalars.
func (g *graph) binary(op compute.OpType, x, y *Value) *Value {
	dims := slices.Clone(x.Dims)
	if len(y.Dims) > len(dims) {
		dims = slices.Clone(y.Dims)
	}
	for i := range dims {
		if len(x.Dims) == len(y.Dims) {
			dims[i] = max(x.Dims[i], y.Dims[i])
		}
	}
	return g.node(op, nil, tensor(dims...), x, y)
}

func (g *graph) reshape(x *Value, dims ...int) *Value {
	return g.node(compute.OpTypeReshape, nil, tensor(dims...), x)
}

func (g *graph) transpose(x *Value, perm ...int) *Value {
	dims := make([]int, len(perm))
	for i, axis := range perm {
		dims[i] = x.Dims[axis]
	}
	return g.node(compute.OpTypeTranspose, Axes(perm), tensor(dims...), x)
}

func (g *graph) reverse(x *Value, axes ...int) *Value {
	return g.node(compute.OpTypeReverse, Axes(axes), tensor(x.Dims...), x)
}

func (g *graph) broadcast(x *Value, axes []int, dims ...int) *Value {
	return g.node(compute.OpTypeBroadcastInDim, Axes(axes), tensor(dims...), x)
}

func (g *graph) slice(x *Value, start, stride, dims []int) *Value {
	return g.node(compute.OpTypeSlice, Slice{Start: start, Stride: stride}, tensor(dims...), x)
}

func (g *graph) reduce(x *Value, axes ...int) *Value {
	var dims []int
	for i, d := range x.Dims {
		if len(axes) > 0 && !slices.Contains(axes, i) {
			dims = append(dims, d)
		}
	}
	return g.node(compute.OpTypeReduceSum, Axes(axes), tensor(dims...), x)
}

// dot contracts and batches the given axes.
func (g *graph) dot(a, b *Value, contractA, contractB, batchA, batchB []int) *Value {
	var dims []int
	for _, axis := range batchA {
		dims = append(dims, a.Dims[axis])
	}
	for i, v := range []*Value{a, b} {
		for axis, d := range v.Dims {
			if !slices.Contains([][]int{contractA, contractB}[i], axis) && !slices.Contains([][]int{batchA, batchB}[i], axis) {
				dims = append(dims, d)
			}
		}
	}
	return g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{contractA, contractB}, Batch: [2][]int{batchA, batchB}}, tensor(dims...), a, b)
}

func (g *graph) lower(outs ...*Value) *Program { return Lower(g.nodes, g.params, outs) }

// kinds lists the steps of a program by what they are.
func kinds(p *Program) []string {
	var out []string
	for _, s := range p.Steps {
		switch op := s.Op.(type) {
		case *Chain:
			out = append(out, fmt.Sprintf("chain of %d", len(op.Code)))
		case *Convolution:
			out = append(out, []string{"forward", "input gradient", "kernel gradient"}[op.Pass])
		case Named:
			out = append(out, op.Name)
		case External:
			out = append(out, "external")
		default:
			out = append(out, fmt.Sprintf("%T", op)[len("*plan."):])
		}
	}
	return out
}

// offsets lists where the elements of a view are in memory, in row-major order.
func offsets(offset int, dims, strides []int) []int {
	out := []int{offset}
	for i, d := range dims {
		var next []int
		for _, at := range out {
			for k := range d {
				next = append(next, at+k*strides[i])
			}
		}
		out = next
	}
	return out
}

// dimsOf draws dimensions with at most some hundred elements.
func dimsOf(t *rapid.T, label string, maxRank int) []int {
	for {
		dims := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 2, 2, 3, 4, 5, 6, 0}), 0, maxRank).Draw(t, label)
		if size(dims) <= 400 {
			return dims
		}
	}
}

// factorOf draws other dimensions of the same size.
func factorOf(t *rapid.T, label string, n int) []int {
	if n == 0 {
		return rapid.SampledFrom([][]int{{0}, {0, 3}, {2, 0}, {1, 0, 1}}).Draw(t, label)
	}
	dims := []int{}
	for n > 1 {
		var divisors []int
		for d := 1; d <= n; d++ {
			if n%d == 0 {
				divisors = append(divisors, d)
			}
		}
		d := rapid.SampledFrom(divisors).Draw(t, label)
		dims = append(dims, d)
		if n /= d; len(dims) > 6 {
			dims = append(dims, n)
			break
		}
	}
	return dims
}
