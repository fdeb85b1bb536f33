package exec_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// Every elementwise operation computes what it should, with operands that are tensors and with numbers on either side.
func TestEveryOperation(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	logistic := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	unary := map[compute.OpType]func(x float64) float64{
		compute.OpTypeAbs: math.Abs, compute.OpTypeCeil: math.Ceil, compute.OpTypeCos: math.Cos, compute.OpTypeErf: math.Erf,
		compute.OpTypeExp: math.Exp, compute.OpTypeExpm1: math.Expm1, compute.OpTypeFloor: math.Floor, compute.OpTypeLog: math.Log,
		compute.OpTypeLog1p: math.Log1p, compute.OpTypeLogistic: logistic, compute.OpTypeNeg: func(x float64) float64 { return -x },
		compute.OpTypeRound: math.RoundToEven, compute.OpTypeRsqrt: func(x float64) float64 { return 1 / math.Sqrt(x) },
		compute.OpTypeSign: func(x float64) float64 {
			if math.IsNaN(x) {
				return x
			}
			return truth(x > 0) - truth(x < 0)
		},
		compute.OpTypeSin: math.Sin, compute.OpTypeSqrt: math.Sqrt, compute.OpTypeTanh: math.Tanh,
		plan.SiLU: func(x float64) float64 { return x * logistic(x) },
		plan.GELU: func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }, plan.QuickGELU: func(x float64) float64 { return x * logistic(1.702*x) },
	}
	names := map[compute.OpType]string{plan.SiLU: "silu", plan.SiLUGrad: "silu_grad", plan.GELU: "gelu", plan.GELUGrad: "gelu_grad",
		plan.QuickGELU: "quick_gelu", plan.QuickGELUGrad: "quick_gelu_grad"}
	unaryTruth := map[compute.OpType]func(x float64) bool{
		compute.OpTypeIsNaN:    math.IsNaN,
		compute.OpTypeIsFinite: func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) },
		plan.NotZero:           func(x float64) bool { return x != 0 },
	}
	binary := map[compute.OpType]func(x, y float64) float64{
		compute.OpTypeAdd: func(x, y float64) float64 { return x + y }, compute.OpTypeSub: func(x, y float64) float64 { return x - y },
		compute.OpTypeMul: func(x, y float64) float64 { return x * y }, compute.OpTypeDiv: func(x, y float64) float64 { return x / y },
		compute.OpTypeMax: math.Max, compute.OpTypeMin: math.Min, compute.OpTypePow: math.Pow, compute.OpTypeRem: math.Mod, compute.OpTypeAtan2: math.Atan2,
		plan.SiLUGrad: func(dy, x float64) float64 { return dy * logistic(x) * (1 + x*logistic(-x)) },
		plan.GELUGrad: func(dy, x float64) float64 {
			return dy * (math.Erfc(-x/math.Sqrt2)/2 + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi))
		},
		plan.QuickGELUGrad: func(dy, x float64) float64 {
			return dy * logistic(1.702*x) * (1 + 1.702*x*logistic(-1.702*x))
		},
	}
	comparison := map[compute.OpType]func(x, y float64) bool{
		compute.OpTypeEqual: func(x, y float64) bool { return x == y }, compute.OpTypeNotEqual: func(x, y float64) bool { return x != y },
		compute.OpTypeLessThan: func(x, y float64) bool { return x < y }, compute.OpTypeLessOrEqual: func(x, y float64) bool { return x <= y },
		compute.OpTypeGreaterThan: func(x, y float64) bool { return x > y }, compute.OpTypeGreaterOrEqual: func(x, y float64) bool { return x >= y },
	}
	logical := map[compute.OpType]func(x, y bool) bool{
		compute.OpTypeLogicalAnd: func(x, y bool) bool { return x && y }, compute.OpTypeLogicalOr: func(x, y bool) bool { return x || y },
		compute.OpTypeLogicalXor: func(x, y bool) bool { return x != y },
	}
	numbers := []float64{0, 1, -1, 0.5, -0.5, 2.5, -2.5, 3, 1e-3, -7.25, 20, 2, nan, inf, -inf}
	var left, right []float64
	for _, x := range numbers {
		for _, y := range numbers {
			left, right = append(left, x), append(right, y)
		}
	}
	single := func(x []float64) []float32 {
		out := make([]float32, len(x))
		for i := range x {
			out[i] = float32(x[i])
		}
		return out
	}
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		n := len(left)
		for op, f := range unary {
			g := &graph{}
			x := g.floats(single(left), n)
			var y *plan.Value
			name, activation := names[op]
			if activation {
				y = g.call(plan.Named{Name: name}, []*plan.Value{tensor(n)}, x)[0]
			} else {
				y = g.node(op, nil, tensor(n), x)
			}
			var want []float64
			for _, x := range left {
				w := f(float64(float32(x)))
				if activation && math.IsInf(x, -1) {
					w = 0 // the limit, where the formula has none
				}
				want = append(want, w)
			}
			near(t, fmt.Sprint(op), g.run(t, table, y)[0].([]float32), want, 1e-6)
		}
		for op, f := range unaryTruth {
			g := &graph{}
			x := g.floats(single(left), n)
			node := op
			if op == plan.NotZero {
				node = compute.OpTypeConvertDType
			}
			got := g.run(t, table, g.node(node, nil, value(dtypes.Bool, n), x))[0].([]bool)
			for i, x := range left {
				if want := f(x); got[i] != want {
					t.Errorf("%s of %g is %t", op, x, got[i])
				}
			}
		}
		// Operands of two: tensor ∘ tensor, tensor ∘ number, number ∘ tensor, number ∘ number.
		for op, f := range binary {
			forms(t, fmt.Sprint(op), table, single(left), single(right), func(g *graph, out, x, y *plan.Value) *plan.Value {
				if name, activation := names[op]; activation {
					if len(x.Dims) != len(y.Dims) {
						return nil // the function's operands have one shape
					}
					return g.call(plan.Named{Name: name}, []*plan.Value{out}, x, y)[0]
				}
				return g.node(op, nil, out, x, y)
			}, func(what string, got any, x, y []float32) {
				var want []float64
				for i := range x {
					w := f(float64(x[i]), float64(y[i]))
					if math.IsNaN(float64(x[i])) || math.IsNaN(float64(y[i])) {
						w = math.NaN() // also for max(NaN, ∞), where Go's differ
						if op == compute.OpTypePow && (x[i] == 1 || y[i] == 0) {
							w = 1
						}
					}
					if _, activation := names[op]; activation && math.IsInf(float64(y[i]), 0) {
						return // only limits
					}
					want = append(want, w)
				}
				near(t, what, got.([]float32), want, 2e-6)
			}, dtypes.Float32)
		}
		for op, f := range comparison {
			forms(t, fmt.Sprint(op), table, single(left), single(right), func(g *graph, out, x, y *plan.Value) *plan.Value {
				return g.node(op, nil, out, x, y)
			}, func(what string, got any, x, y []float32) {
				for i := range x {
					if got, want := got.([]bool)[i], f(float64(x[i]), float64(y[i])); got != want {
						t.Errorf("%s of %g and %g is %t", what, x[i], y[i], got)
					}
				}
			}, dtypes.Bool)
		}
		for op, f := range logical {
			forms(t, fmt.Sprint(op), table, []bool{false, false, true, true}, []bool{false, true, false, true}, func(g *graph, out, x, y *plan.Value) *plan.Value {
				return g.node(op, nil, out, x, y)
			}, func(what string, got any, x, y []bool) {
				for i := range x {
					if got := got.([]bool)[i]; got != f(x[i], y[i]) {
						t.Errorf("%s of %t and %t is %t", what, x[i], y[i], got)
					}
				}
			}, dtypes.Bool)
		}
		g := &graph{}
		x := g.param([]bool{true, false, true}, dtypes.Bool, 3)
		y := g.floats([]float32{1, 2, 3}, 3)
		z := g.floats([]float32{5}, []int{}...)
		out := g.run(t, table, g.node(compute.OpTypeLogicalNot, nil, value(dtypes.Bool, 3), x), g.node(compute.OpTypeConvertDType, nil, tensor(3), x),
			g.node(compute.OpTypeWhere, nil, tensor(3), x, y, z), g.node(compute.OpTypeWhere, nil, tensor(3), x, z, y),
			g.node(compute.OpTypeClamp, nil, tensor(3), g.floats([]float32{1.5}), y, g.floats([]float32{2, 2.5, 2.75}, 3)),
			g.node(compute.OpTypeWhere, nil, value(dtypes.Bool, 3), x, g.node(compute.OpTypeLogicalNot, nil, value(dtypes.Bool, 3), x), g.param([]bool{true, true, false}, dtypes.Bool, 3)))
		if got, want := fmt.Sprint(out), "[[false true false] [1 0 1] [1 5 3] [5 2 5] [1.5 2 2.75] [false true false]]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// forms checks an operation of two operands with each of them as a tensor and as a number.
func forms[T bool | float32](t *testing.T, name string, table *kern.Table, left, right []T,
	build func(g *graph, out, x, y *plan.Value) *plan.Value, verify func(what string, got any, x, y []T), result dtypes.DType) {
	t.Helper()
	in := dtypes.FromGenericsType[T]()
	n := len(left)
	g := &graph{}
	x, y := g.param(left, in, n), g.param(right, in, n)
	if z := build(g, value(result, n), x, y); z != nil {
		verify(name, g.run(t, table, z)[0], left, right)
	}
	for _, k := range []int{0, n / 3, n / 2, n - 1} {
		g := &graph{}
		x, y := g.param(left, in, n), g.param(right[k:k+1], in)
		if z := build(g, value(result, n), x, y); z != nil {
			verify(name+", tensor and number", g.run(t, table, z)[0], left, slices.Repeat(right[k:k+1], n))
		}
		g = &graph{}
		x, y = g.param(left[k:k+1], in), g.param(right, in, n)
		if z := build(g, value(result, n), x, y); z != nil {
			verify(name+", number and tensor", g.run(t, table, z)[0], slices.Repeat(left[k:k+1], n), right)
		}
		g = &graph{}
		x, y = g.param(left[k:k+1], in), g.param(right[k:k+1], in)
		if z := build(g, value(result), x, y); z != nil {
			verify(name+", numbers", g.run(t, table, z)[0], left[k:k+1], right[k:k+1])
		}
	}
}

// operand adds a parameter that is seen with the given dimensions in one of many ways, or that broadcasts to them, and
// returns what every element is.
func operand(r *rand.Rand, g *graph, dims []int, boolean bool) (*plan.Value, []float64) {
	from := slices.Clone(dims)
	start, stride := make([]int, len(dims)), slices.Repeat([]int{1}, len(dims))
	var reversed plan.Axes
	kind, axis := 0, 0
	if len(dims) > 0 {
		kind, axis = r.IntN(6), r.IntN(len(dims))
	}
	kept := slices.Clone(dims)
	switch kind {
	case 1: // a number
		from = nil
	case 2: // repeated along some axes
		for i := range from {
			if r.IntN(2) == 0 {
				from[i], kept[i] = 1, 1
			}
		}
	case 3: // a part
		from[axis], start[axis] = 2*dims[axis]+3, 1
		stride[axis] = 1 + r.IntN(2)
	case 4: // backwards
		reversed = plan.Axes{axis}
	case 5: // one axis
		for i := range from {
			if i != axis {
				from[i], kept[i] = 1, 1
			}
		}
	}
	flat := whole(r, size(from))
	var v *plan.Value
	if boolean {
		b := make([]bool, len(flat))
		for i := range flat {
			b[i] = flat[i] > 0
			flat[i] = 0
			if b[i] {
				flat[i] = 1
			}
		}
		v = g.param(b, dtypes.Bool, from...)
	} else {
		v = g.floats(flat, from...)
	}
	if from == nil {
		x := float64(flat[0])
		return v, slices.Repeat([]float64{x}, size(dims))
	}
	v = g.node(compute.OpTypeSlice, plan.Slice{Start: start, Stride: stride}, value(v.DType, kept...), v)
	v = g.node(compute.OpTypeReverse, reversed, value(v.DType, kept...), v)
	if kind == 5 && r.IntN(2) == 0 { // as BroadcastInDim and not as an axis of 1
		v = g.node(compute.OpTypeReshape, nil, value(v.DType, dims[axis]), v)
		v = g.node(compute.OpTypeBroadcastInDim, plan.Axes{axis}, value(v.DType, dims...), v)
	}
	out := make([]float64, size(dims))
	for k := range out {
		at, unit := 0, 1
		for i, rest := len(dims)-1, k; i >= 0; i-- {
			index := rest % dims[i]
			rest /= dims[i]
			index = min(index, kept[i]-1)
			if slices.Contains(reversed, i) {
				index = kept[i] - 1 - index
			}
			at += (start[i] + stride[i]*index) * unit
			unit *= from[i]
		}
		out[k] = float64(flat[at])
	}
	return v, out
}

// Chains of random operations on operands of all kinds, with results in the middle, are exact on whole numbers.
func TestChains(t *testing.T) {
	sizes := [][]int{{}, {1}, {0}, {3, 0, 2}, {1023}, {1024}, {1025}, {31, 33}, {2, 3, 5, 7}, {5, 1, 1025}, {1025, 5}, {64, 1030}, {3, 7, 5003}}
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		for seed := range uint64(104) {
			r := rand.New(rand.NewPCG(seed, 7))
			dims := sizes[int(seed)%len(sizes)]
			n := size(dims)
			g := &graph{}
			type known struct {
				v    *plan.Value
				want []float64
			}
			var values, booleans, results []known
			pick := func(boolean bool) known {
				list := &values
				if boolean {
					list = &booleans
				}
				if len(*list) == 0 || r.IntN(3) == 0 {
					v, want := operand(r, g, dims, boolean)
					*list = append(*list, known{v, want})
				}
				return (*list)[r.IntN(len(*list))]
			}
			for range 1 + r.IntN(12) {
				each := func(f func(i int) float64) []float64 {
					out := make([]float64, n)
					for i := range out {
						out[i] = f(i)
					}
					return out
				}
				truth := func(b bool) float64 {
					if b {
						return 1
					}
					return 0
				}
				floats := func(op compute.OpType, want []float64, in ...*plan.Value) {
					values = append(values, known{g.node(op, nil, tensor(dims...), in...), want})
					results = append(results, values[len(values)-1])
				}
				bools := func(op compute.OpType, want []float64, in ...*plan.Value) {
					booleans = append(booleans, known{g.node(op, nil, value(dtypes.Bool, dims...), in...), want})
					results = append(results, booleans[len(booleans)-1])
				}
				a, b := pick(false), pick(false)
				switch r.IntN(9) {
				case 0:
					floats(compute.OpTypeAdd, each(func(i int) float64 { return a.want[i] + b.want[i] }), a.v, b.v)
				case 1:
					floats(compute.OpTypeSub, each(func(i int) float64 { return a.want[i] - b.want[i] }), a.v, b.v)
				case 2:
					floats(compute.OpTypeMax, each(func(i int) float64 { return max(a.want[i], b.want[i]) }), a.v, b.v)
				case 3:
					floats(compute.OpTypeAbs, each(func(i int) float64 { return math.Abs(a.want[i]) }), a.v)
				case 4:
					bools(compute.OpTypeGreaterThan, each(func(i int) float64 { return truth(a.want[i] > b.want[i]) }), a.v, b.v)
				case 5:
					c := pick(true)
					floats(compute.OpTypeWhere, each(func(i int) float64 { return c.want[i]*a.want[i] + (1-c.want[i])*b.want[i] }), c.v, a.v, b.v)
				case 6:
					c, d := pick(true), pick(true)
					bools(compute.OpTypeLogicalXor, each(func(i int) float64 { return truth(c.want[i] != d.want[i]) }), c.v, d.v)
				case 7:
					c := pick(false)
					floats(compute.OpTypeClamp, each(func(i int) float64 { return min(max(a.want[i], b.want[i]), c.want[i]) }), a.v, b.v, c.v)
				case 8:
					c := pick(true)
					floats(compute.OpTypeConvertDType, c.want, c.v)
				}
			}
			outs := results[len(results)-1:]
			for range r.IntN(4) {
				outs = append(outs, results[r.IntN(len(results))])
			}
			var list []*plan.Value
			for k := range outs {
				list = append(list, outs[k].v)
			}
			donated := make([]bool, len(g.params))
			for k := range donated {
				donated[k] = r.IntN(2) == 0
			}
			x := g.bind(t, table, 2, donated, nil, list...)
			if err := x.Run(x.params, x.outs); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for k, m := range x.outs {
				got := m.F32
				if b, ok := m.Flat.([]bool); ok {
					for _, v := range b {
						got = append(got, 0)
						if v {
							got[len(got)-1] = 1
						}
					}
				}
				near(t, fmt.Sprintf("seed %d: output %d of %v", seed, k, dims), got, outs[k].want, 0)
			}
		}
	})
}

// Parts of one tensor that differ only in where they begin are different operands.
func TestChainOfParts(t *testing.T) {
	const n = 2100
	r := rand.New(rand.NewPCG(1, 8))
	flat := whole(r, n+2)
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		g := &graph{}
		x := g.floats(flat, n+2)
		part := func(start int) *plan.Value {
			return g.node(compute.OpTypeSlice, plan.Slice{Start: []int{start}, Stride: []int{1}}, tensor(n), x)
		}
		y := g.node(compute.OpTypeAdd, nil, tensor(n), part(0), part(2))
		y = g.node(compute.OpTypeSub, nil, tensor(n), y, part(1))
		y = g.node(compute.OpTypeSub, nil, tensor(n), y, part(1))
		want := make([]float64, n)
		for i := range want {
			want[i] = float64(flat[i] - 2*flat[i+1] + flat[i+2])
		}
		near(t, "second difference", g.run(t, table, y)[0].([]float32), want, 0)
	})
}
