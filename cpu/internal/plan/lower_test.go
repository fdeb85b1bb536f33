package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// steps fails unless the program has exactly these kinds of steps.
func steps(t *testing.T, p *Program, want ...string) {
	t.Helper()
	if got := kinds(p); !slices.Equal(got, want) {
		t.Errorf("steps are %v, want %v", got, want)
	}
	made := map[*Value]bool{}
	for _, v := range p.Params {
		made[v] = true
	}
	for k, s := range p.Steps {
		for _, v := range s.In {
			if v.View != nil || !made[v] && v.Const == nil {
				t.Errorf("step %d, %s, reads a %v that nobody has made", k, kinds(p)[k], v.Dims)
			}
		}
		for _, v := range s.Out {
			if v.View != nil || made[v] {
				t.Errorf("step %d, %s, writes a %v that is a view or made twice", k, kinds(p)[k], v.Dims)
			}
			made[v] = true
		}
	}
	for _, v := range p.Outs {
		if !made[v] && v.Const == nil {
			t.Errorf("output %v is not made", v.Dims)
		}
	}
}

func op[T any](t *testing.T, p *Program, step int) T {
	t.Helper()
	if step < len(p.Steps) {
		if x, ok := p.Steps[step].Op.(T); ok {
			return x
		}
	}
	var none T
	t.Fatalf("step %d of %v is no %T", step, kinds(p), none)
	return none
}

func TestUnusedNodesAreDropped(t *testing.T) {
	g := &graph{}
	x := g.param(3)
	y := g.unary(compute.OpTypeExp, x)
	g.unary(compute.OpTypeLog, y)
	g.reduce(g.unary(compute.OpTypeSin, x))
	steps(t, g.lower(y), "chain of 1")
}

func TestChainsJoin(t *testing.T) {
	// Any number of operations in sequence.
	for _, k := range []int{1, 2, 5, maxCode, maxCode + 1} {
		g := &graph{}
		x := g.param(4, 5)
		for range k {
			x = g.unary(compute.OpTypeSin, x)
		}
		if k <= maxCode {
			steps(t, g.lower(x), fmt.Sprintf("chain of %d", k))
		} else {
			steps(t, g.lower(x), fmt.Sprintf("chain of %d", k-maxCode), fmt.Sprintf("chain of %d", maxCode))
		}
	}

	t.Run("diamond", func(t *testing.T) {
		g := &graph{}
		x := g.param(7)
		a := g.unary(compute.OpTypeExp, x)
		y := g.mul(g.unary(compute.OpTypeSin, a), g.add(a, x))
		p := g.lower(y)
		steps(t, p, "chain of 4")
		if s := p.Steps[0]; len(s.In) != 1 || len(op[*Chain](t, p, 0).Operands) != 1 || len(s.Out) != 1 {
			t.Errorf("reads %d values by %d operands, writes %d; want x read once", len(s.In), len(op[*Chain](t, p, 0).Operands), len(s.Out))
		}
	})
	t.Run("through reshapes", func(t *testing.T) {
		g := &graph{}
		x := g.param(4, 6)
		y := g.unary(compute.OpTypeExp, g.reshape(g.unary(compute.OpTypeSin, x), 2, 12))
		steps(t, g.lower(y), "chain of 2")
	})
	t.Run("not through transpositions", func(t *testing.T) {
		g := &graph{}
		x := g.param(4, 6)
		y := g.unary(compute.OpTypeExp, g.transpose(g.unary(compute.OpTypeSin, x), 1, 0))
		steps(t, g.lower(y), "chain of 1", "Copy", "chain of 1")
	})
	t.Run("not through broadcasts", func(t *testing.T) {
		g := &graph{}
		x, v := g.param(4, 6), g.param(6)
		y := g.mul(x, g.broadcast(g.unary(compute.OpTypeExp, v), []int{1}, 4, 6))
		steps(t, g.lower(y), "chain of 1", "chain of 1")
	})
	t.Run("not through reversals", func(t *testing.T) {
		g := &graph{}
		x := g.param(4, 6)
		y := g.unary(compute.OpTypeExp, g.reverse(g.unary(compute.OpTypeSin, x), 0))
		steps(t, g.lower(y), "chain of 1", "chain of 1")
	})
	t.Run("what others need is kept", func(t *testing.T) {
		g := &graph{}
		x := g.param(3, 5)
		a := g.unary(compute.OpTypeExp, x)
		b := g.unary(compute.OpTypeSin, a)
		p := g.lower(b, a)
		steps(t, p, "chain of 2")
		if c := op[*Chain](t, p, 0); !slices.Equal(c.Results, []Ref{0, 1}) {
			t.Errorf("results %v, want both", c.Results)
		}
		// A later reader that is no chain does not matter either.
		g = &graph{}
		x = g.param(3, 5)
		a = g.unary(compute.OpTypeExp, x)
		b = g.unary(compute.OpTypeSin, a)
		p = g.lower(b, g.reduce(a))
		steps(t, p, "chain of 2", "Reduction")
	})
	t.Run("not past a reader", func(t *testing.T) {
		// sum(a) is needed for the second operation on a.
		g := &graph{}
		x := g.param(3, 5)
		a := g.unary(compute.OpTypeExp, x)
		y := g.binary(compute.OpTypeDiv, a, g.reduce(a))
		steps(t, g.lower(y), "chain of 1", "Reduction", "chain of 1")
	})
	t.Run("limits", func(t *testing.T) {
		g := &graph{}
		y := g.param(8)
		for range 2 * maxOperands {
			y = g.add(y, g.param(8))
		}
		p := g.lower(y)
		code := 0
		for i := range p.Steps {
			c := op[*Chain](t, p, i)
			if code += len(c.Code); len(c.Operands) > maxOperands {
				t.Errorf("a chain of %d operands, want at most %d", len(c.Operands), maxOperands)
			}
		}
		if len(p.Steps) < 2 || len(p.Steps) > 3 || code != 2*maxOperands {
			t.Errorf("steps are %v", kinds(p))
		}
		g = &graph{}
		x := g.param(8)
		var outs []*Value
		for range 2 * maxResults {
			x = g.unary(compute.OpTypeSin, x)
			outs = append(outs, x)
		}
		p = g.lower(outs...)
		for i := range p.Steps {
			if c := op[*Chain](t, p, i); len(c.Results) > maxResults {
				t.Errorf("a chain of %d results, want at most %d", len(c.Results), maxResults)
			}
		}
		if len(p.Steps) != 2 {
			t.Errorf("steps are %v, want two chains", kinds(p))
		}
	})
}

// What has a kernel depends on the element types.
func TestElementwiseTypes(t *testing.T) {
	value := func(d dtypes.DType) *Value { return &Value{DType: d, Dims: []int{4}} }
	for _, c := range []struct {
		op   compute.OpType
		out  dtypes.DType
		in   []dtypes.DType
		want string
	}{
		{compute.OpTypeAdd, dtypes.Float32, []dtypes.DType{dtypes.Float32, dtypes.Float32}, "chain of 1"},
		{compute.OpTypeAdd, dtypes.Float64, []dtypes.DType{dtypes.Float64, dtypes.Float64}, "external"},
		{compute.OpTypeAdd, dtypes.Int32, []dtypes.DType{dtypes.Int32, dtypes.Int32}, "external"},
		{compute.OpTypeLessThan, dtypes.Bool, []dtypes.DType{dtypes.Float32, dtypes.Float32}, "chain of 1"},
		{compute.OpTypeEqual, dtypes.Bool, []dtypes.DType{dtypes.Bool, dtypes.Bool}, "external"},
		{compute.OpTypeEqual, dtypes.Bool, []dtypes.DType{dtypes.Int64, dtypes.Int64}, "external"},
		{compute.OpTypeLogicalAnd, dtypes.Bool, []dtypes.DType{dtypes.Bool, dtypes.Bool}, "chain of 1"},
		{compute.OpTypeLogicalAnd, dtypes.Int8, []dtypes.DType{dtypes.Int8, dtypes.Int8}, "external"},
		{compute.OpTypeIsFinite, dtypes.Bool, []dtypes.DType{dtypes.Float32}, "chain of 1"},
		{compute.OpTypeIsFinite, dtypes.Bool, []dtypes.DType{dtypes.Float64}, "external"},
		{compute.OpTypeWhere, dtypes.Float32, []dtypes.DType{dtypes.Bool, dtypes.Float32, dtypes.Float32}, "chain of 1"},
		{compute.OpTypeWhere, dtypes.Bool, []dtypes.DType{dtypes.Bool, dtypes.Bool, dtypes.Bool}, "chain of 1"},
		{compute.OpTypeWhere, dtypes.Int32, []dtypes.DType{dtypes.Bool, dtypes.Int32, dtypes.Int32}, "external"},
		{compute.OpTypeConvertDType, dtypes.Float32, []dtypes.DType{dtypes.Bool}, "chain of 1"},
		{compute.OpTypeConvertDType, dtypes.Bool, []dtypes.DType{dtypes.Float32}, "chain of 1"},
		{compute.OpTypeConvertDType, dtypes.Float32, []dtypes.DType{dtypes.Int32}, "external"},
		{compute.OpTypeConvertDType, dtypes.Float64, []dtypes.DType{dtypes.Float32}, "external"},
		{compute.OpTypeBitwiseNot, dtypes.Float32, []dtypes.DType{dtypes.Float32}, "external"},
	} {
		g := &graph{}
		for _, d := range c.in {
			g.params = append(g.params, value(d))
		}
		p := g.lower(g.node(c.op, nil, value(c.out), g.params...))
		if got := kinds(p); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s of %v to %s: %v, want %s", c.op, c.in, c.out, got, c.want)
		}
	}
	// To the same type it is nothing, and needs a copy only as an output of its own.
	g := &graph{}
	x := g.param(4)
	p := g.lower(g.unary(compute.OpTypeExp, g.unary(compute.OpTypeConvertDType, x)))
	steps(t, p, "chain of 1")
}

// Operands that are read down their columns are copied first; broadcasts are not.
func TestChainOperands(t *testing.T) {
	g := &graph{}
	x := g.param(6, 4)
	steps(t, g.lower(g.add(x, g.transpose(g.param(4, 6), 1, 0))), "Copy", "chain of 1")
	steps(t, g.lower(g.add(x, g.reverse(g.param(6, 4), 1))), "Copy", "chain of 1")
	for name, y := range map[string]*Value{
		"scalar":  g.param(),
		"row":     g.param(1, 4),
		"column":  g.param(6, 1),
		"part":    g.slice(g.param(9, 7), []int{1, 2}, []int{1, 1}, []int{6, 4}),
		"rows":    g.slice(g.param(12, 4), []int{1, 0}, []int{2, 1}, []int{6, 4}),
		"vector":  g.broadcast(g.param(4), []int{1}, 6, 4),
		"upwards": g.reverse(g.param(6, 4), 0),
	} {
		p := g.lower(g.add(x, y))
		if got := kinds(p); !slices.Equal(got, []string{"chain of 1"}) {
			t.Errorf("%s: %v, want no copy", name, got)
		}
	}
	// Two readers share the copy.
	y := g.transpose(g.param(4, 6), 1, 0)
	steps(t, g.lower(g.reduce(g.mul(g.reduce(g.add(x, y)), y))), "Copy", "chain of 1", "Reduction", "chain of 1", "Reduction")
}

func TestReduce(t *testing.T) {
	for _, c := range []struct {
		axes []int
		want []Reduction
	}{
		{nil, []Reduction{{Outer: 1, Reduce: 2 * 3 * 4 * 5, Inner: 1}}},
		{[]int{3}, []Reduction{{Outer: 24, Reduce: 5, Inner: 1}}},
		{[]int{0}, []Reduction{{Outer: 1, Reduce: 2, Inner: 60}}},
		{[]int{2, 1}, []Reduction{{Outer: 2, Reduce: 12, Inner: 5}}},
		{[]int{0, 2}, []Reduction{{Outer: 6, Reduce: 4, Inner: 5}, {Outer: 1, Reduce: 2, Inner: 15}}},
		{[]int{1, 3}, []Reduction{{Outer: 24, Reduce: 5, Inner: 1}, {Outer: 2, Reduce: 3, Inner: 4}}},
	} {
		g := &graph{}
		p := g.lower(g.reduce(g.param(2, 3, 4, 5), c.axes...))
		var got []Reduction
		for _, s := range p.Steps {
			r := *s.Op.(*Reduction)
			if r.Op != compute.OpTypeReduceSum {
				t.Errorf("reduction by %s", r.Op)
			}
			r.Op = 0
			got = append(got, r)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("axes %v: %+v, want %+v", c.axes, got, c.want)
		}
	}
	g := &graph{} // an axis of 1 between two runs joins them
	steps(t, g.lower(g.reduce(g.param(2, 1, 4, 5), 0, 2)), "Reduction")
}

// Softmax over the last axis has a kernel.
func TestSoftmax(t *testing.T) {
	g := &graph{}
	x := g.param(2, 3, 4)
	p := g.lower(g.node(compute.OpTypeFusedSoftmax, Softmax(2), tensor(2, 3, 4), x))
	if s := *op[*SoftmaxRows](t, p, 0); s != (SoftmaxRows{Rows: 6, Width: 4}) {
		t.Errorf("%+v", s)
	}
	steps(t, g.lower(g.node(compute.OpTypeFusedSoftmax, Softmax(1), tensor(2, 3, 4), x)), "external")
}

// Calls of named functions keep the dimensions of the graph, whatever shape the values in memory have.
func TestNamed(t *testing.T) {
	g := &graph{}
	x := g.reshape(g.unary(compute.OpTypeExp, g.param(12)), 3, 4)
	call := Named{Name: "softmax"}
	p := g.lower(g.reshape(g.node(compute.OpTypeCall, call, tensor(3, 4), x), 2, 6))
	steps(t, p, "chain of 1", "softmax")
	if n := op[Named](t, p, 1); fmt.Sprint(n.In, n.Out) != "[[3 4]] [[3 4]]" {
		t.Errorf("dimensions %v and %v", n.In, n.Out)
	}
	// The activation is elementwise, and joins.
	g = &graph{}
	a := g.unary(compute.OpTypeExp, g.param(12))
	y := g.node(compute.OpTypeCall, Named{Name: "silu"}, tensor(12), a)
	z := g.node(compute.OpTypeCall, Named{Name: "silu_grad"}, tensor(12), y, a)
	p = g.lower(z)
	steps(t, p, "chain of 3")
	if c := op[*Chain](t, p, 0).Code; c[1].Op != SiLU || c[2].Op != SiLUGrad || !slices.Equal(c[2].Args, []Ref{1, 0}) {
		t.Errorf("code %+v", c)
	}
}

// Everything without a kernel is run by the stock backend on dense operands.
func TestExternal(t *testing.T) {
	g := &graph{}
	x := g.transpose(g.param(3, 4), 1, 0)
	record := new(int)
	y := g.node(compute.OpTypeArgMinMax, nil, &Value{DType: dtypes.Int32, Dims: []int{4}}, x)
	g.nodes[len(g.nodes)-1].Record = record
	p := g.lower(y)
	steps(t, p, "Copy", "external")
	if op[External](t, p, 1).Record != record {
		t.Error("the recording got lost")
	}
	// No operand at all.
	g = &graph{}
	p = g.lower(g.node(compute.OpTypeIota, nil, tensor(1<<17)))
	steps(t, p, "external")
}

// Elements that share bytes cannot be seen by strides.
func TestPackedTypes(t *testing.T) {
	g := &graph{}
	x := &Value{DType: dtypes.Int4, Dims: []int{3, 4}}
	g.params = append(g.params, x)
	y := g.node(compute.OpTypeTranspose, Axes{1, 0}, &Value{DType: dtypes.Int4, Dims: []int{4, 3}}, x)
	steps(t, g.lower(y), "external")
}

func TestBarriersAreViews(t *testing.T) {
	g := &graph{}
	x, y := g.param(3), g.param(4)
	outs := g.many(compute.OpTypeOptimizationBarrier, nil, []*Value{tensor(3), tensor(4)}, x, y)
	p := g.lower(outs[1], outs[0])
	steps(t, p)
	if p.Outs[0] != y || p.Outs[1] != x {
		t.Error("the results of a barrier are not its operands, in order")
	}
}

// A Gather of rows is a step of its own; any other one is left to the stock backend.
func TestLookup(t *testing.T) {
	for _, c := range []struct {
		attr any
		want string
	}{{Rows{}, "Lookup"}, {nil, "external"}} {
		g := &graph{}
		table, numbers := g.param(5, 2, 3), &Value{DType: dtypes.Int32, Dims: []int{4, 1}}
		g.params = append(g.params, numbers)
		p := g.lower(g.node(compute.OpTypeGather, c.attr, tensor(4, 2, 3), table, numbers))
		if got := kinds(p); len(got) != 1 || got[0] != c.want {
			t.Errorf("%T is lowered to %v, want one %s", c.attr, got, c.want)
			continue
		}
		if c.attr != nil {
			if got := *op[*Lookup](t, p, 0); got != (Lookup{Rows: 5, Width: 6}) {
				t.Errorf("%+v of a table of 5 rows of 6", got)
			}
		}
	}
}

// A gradient reads the log-sums of the attention whose result it gets, and of no other.
func TestAttentionSharesSums(t *testing.T) {
	long, short := []int{2, 5, 3, 4}, []int{2, 7, 3, 4}
	for _, c := range []struct {
		name, gradient string
		other          bool // another k
		want           bool
	}{{"attention", "attention_grad", false, true}, {"attention", "attention_grad", true, false}, {"causal_attention", "attention_grad", false, false}} {
		g := &graph{}
		dy, q, k, v, other := g.param(long...), g.param(long...), g.param(short...), g.param(short...), g.param(short...)
		y := g.node(compute.OpTypeCall, Named{Name: c.name}, tensor(long...), q, k, v)
		if c.other {
			k = other
		}
		dq, dk, dv := tensor(long...), tensor(short...), tensor(short...)
		g.nodes = append(g.nodes, &Node{Op: compute.OpTypeCall, Attr: Named{Name: c.gradient}, In: []*Value{dy, y, q, k, v}, Out: []*Value{dq, dk, dv}})
		p := g.lower(y, dq, dk, dv)
		steps(t, p, c.name, c.gradient)
		forward, backward := p.Steps[0], p.Steps[1]
		if shared := len(forward.Out) == 2 && len(backward.In) == 6 && backward.In[5] == forward.Out[1]; shared != c.want || !shared && (len(forward.Out) != 1 || len(backward.In) != 5) {
			t.Errorf("%+v: results %d, operands of the gradient %d", c, len(forward.Out), len(backward.In))
		}
		if c.want && !slices.Equal(forward.Out[1].Dims, []int{2, 3, 5}) {
			t.Errorf("log-sums are %v", forward.Out[1].Dims)
		}
	}
}
