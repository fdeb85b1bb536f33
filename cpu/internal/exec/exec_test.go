package exec_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// graph collects the nodes of a test's program and the contents of its parameters.
type graph struct {
	nodes  []*plan.Node
	params []*plan.Value
	flats  []any
}

func value(d dtypes.DType, dims ...int) *plan.Value { return &plan.Value{DType: d, Dims: dims} }

func tensor(dims ...int) *plan.Value { return value(dtypes.Float32, dims...) }

func (g *graph) param(flat any, d dtypes.DType, dims ...int) *plan.Value {
	v := value(d, dims...)
	g.params, g.flats = append(g.params, v), append(g.flats, flat)
	return v
}

func (g *graph) floats(flat []float32, dims ...int) *plan.Value {
	return g.param(flat, dtypes.Float32, dims...)
}

func (g *graph) node(op compute.OpType, attr any, out *plan.Value, in ...*plan.Value) *plan.Value {
	g.nodes = append(g.nodes, &plan.Node{Op: op, Attr: attr, In: in, Out: []*plan.Value{out}})
	return out
}

// call adds a call of a named function.
func (g *graph) call(named plan.Named, out []*plan.Value, in ...*plan.Value) []*plan.Value {
	g.nodes = append(g.nodes, &plan.Node{Op: compute.OpTypeCall, Attr: named, In: in, Out: out})
	return out
}

// instance is a bound program and its memory.
type instance struct {
	*exec.Instance
	program      *plan.Program
	layout       *plan.Layout
	params, outs []exec.Memory
}

func (g *graph) bind(t testing.TB, table *kern.Table, workers int, donated []bool, external func(*plan.Step) (exec.External, error), outs ...*plan.Value) *instance {
	t.Helper()
	p := pool.New(workers)
	t.Cleanup(p.Close)
	x := &instance{program: plan.Lower(g.nodes, g.params, outs)}
	x.layout = plan.Arrange(x.program, donated)
	var err error
	if x.Instance, err = exec.New(x.program, x.layout, exec.Options{Context: kern.NewContext(table, p), Arena: kern.Aligned((x.layout.Bytes + 3) / 4), External: external}); err != nil {
		t.Fatal(err)
	}
	for _, flat := range g.flats {
		x.params = append(x.params, exec.Of(flat))
	}
	for i, v := range x.program.Outs {
		if d := x.layout.Donor[i]; d >= 0 {
			x.outs = append(x.outs, x.params[d])
		} else {
			x.outs = append(x.outs, exec.Of(dtypes.MakeAnySlice(v.DType, v.Size())))
		}
	}
	return x
}

// run executes the program twice, so that what the first run left behind is found, and returns the outputs.
func (g *graph) run(t testing.TB, table *kern.Table, outs ...*plan.Value) []any {
	t.Helper()
	x := g.bind(t, table, 2, nil, nil, outs...)
	var flats []any
	for range 2 {
		flats = nil
		if err := x.Run(x.params, x.outs); err != nil {
			t.Fatal(err)
		}
		for _, m := range x.outs {
			flats = append(flats, m.Flat)
		}
	}
	return flats
}

func onEveryTable(t *testing.T, fn func(t *testing.T, table *kern.Table)) {
	for _, table := range kern.Tables() {
		t.Run(table.Name, func(t *testing.T) { fn(t, table) })
	}
}

// whole returns n whole numbers of at most 20, which sums of some dozens leave exact.
func whole(r *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.IntN(41) - 20)
	}
	return out
}

func normal(r *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// near fails unless got is want up to a part of the larger of want and 1.
func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		g := float64(got[i])
		if d := math.Abs(g - want[i]); !(d <= tolerance*max(1, math.Abs(want[i]))) && g != want[i] && !(math.IsNaN(g) && math.IsNaN(want[i])) {
			t.Fatalf("%s: element %d of %d is %g, want %g", what, i, len(want), g, want[i])
		}
	}
}

type unknown struct{}

// What cannot be run is found before the program runs, and said.
func TestBindErrors(t *testing.T) {
	p := pool.New(1)
	defer p.Close()
	options := exec.Options{Context: kern.NewContext(kern.Tables()[0], p), External: func(*plan.Step) (exec.External, error) {
		return nil, errors.New("no such thing")
	}}
	for _, c := range []struct {
		op   any
		want string
	}{
		{unknown{}, "unknown"},
		{plan.External{}, "no such thing"},
		{plan.Named{Name: "mystery"}, "mystery"},
		{&plan.Reduction{Op: compute.OpTypeAdd}, "Add"},
		{&plan.Chain{Size: 3, Operands: []plan.Operand{{Dims: []int{3}, Strides: []int{1}}}, Code: []plan.Instruction{{Op: compute.OpTypeGather, Args: []plan.Ref{-1}}}, Results: []plan.Ref{0}}, "Gather"},
	} {
		x, y := tensor(3), tensor(3)
		program := &plan.Program{Params: []*plan.Value{x}, Outs: []*plan.Value{y}, Steps: []*plan.Step{{Op: c.op, In: []*plan.Value{x}, Out: []*plan.Value{y}}}}
		_, err := exec.New(program, plan.Arrange(program, nil), options)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T: error %v, want one that names %q", c.op, err, c.want)
		}
	}
}

// An operation of the stock backend gets the flat slices of its operands and of its results, in every run those of that
// run, and its error is that of the run.
func TestExternal(t *testing.T) {
	g := &graph{}
	x := g.floats([]float32{1, 2, 3}, 3)
	n := g.param([]int32{7}, dtypes.Int32)
	y := g.node(compute.OpTypeExp, nil, tensor(3), x) // in the arena
	z := g.node(compute.OpTypeGather, nil, value(dtypes.Int64, 2), y, n)
	var fault error
	i := g.bind(t, kern.Tables()[0], 1, nil, func(s *plan.Step) (exec.External, error) {
		return func(in, out []any) error {
			a, b, c := in[0].([]float32), in[1].([]int32), out[0].([]int64)
			c[0], c[1] = int64(math.Round(float64(a[0]))), int64(b[0])
			return fault
		}, nil
	}, z)
	for k := range int32(3) {
		out := make([]int64, 2)
		if err := i.Run([]exec.Memory{exec.Of([]float32{float32(k), 0, 0}), exec.Of([]int32{k})}, []exec.Memory{exec.Of(out)}); err != nil {
			t.Fatal(err)
		}
		if want := []int64{int64(math.Round(math.Exp(float64(k)))), int64(k)}; !slices.Equal(out, want) {
			t.Errorf("run %d: %v, want %v", k, out, want)
		}
	}
	fault = errors.New("out of cheese")
	if err := i.Run(i.params, i.outs); !errors.Is(err, fault) {
		t.Errorf("error %v, want %v", err, fault)
	}
}

// Outputs that are parameters, constants, or given twice are copied, whatever their type.
func TestCopiedOutputs(t *testing.T) {
	g := &graph{}
	x := g.param([]complex128{1, 2i}, dtypes.Complex128, 2)
	y := g.floats([]float32{1, 2, 3}, 3)
	c := tensor(2)
	c.Const = []float32{5, 6}
	z := g.node(compute.OpTypeNeg, nil, tensor(3), y)
	out := g.run(t, kern.Tables()[0], x, z, z, c, y)
	if got, want := fmt.Sprint(out), "[[(1+0i) (0+2i)] [-1 -2 -3] [-1 -2 -3] [5 6] [1 2 3]]"; got != want {
		t.Errorf("outputs %s, want %s", got, want)
	}
	if &out[4].([]float32)[0] == &g.flats[1].([]float32)[0] {
		t.Error("the output is the parameter's own memory")
	}
}

// Reductions, softmax and products are bound to the right kernels; the kernels have tests of their own.
func TestBinding(t *testing.T) {
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		r := rand.New(rand.NewPCG(1, 1))
		g := &graph{}
		flat := normal(r, 3*4*5)
		x := g.floats(flat, 3, 4, 5)
		axes := plan.Axes{1}
		out := g.run(t, table,
			g.node(compute.OpTypeReduceSum, axes, tensor(3, 5), x), g.node(compute.OpTypeReduceMax, axes, tensor(3, 5), x),
			g.node(compute.OpTypeReduceMin, axes, tensor(3, 5), x), g.node(compute.OpTypeFusedSoftmax, plan.Softmax(2), tensor(3, 4, 5), x))
		sum, most, least, soft := make([]float64, 15), slices.Repeat([]float64{-9}, 15), slices.Repeat([]float64{9}, 15), make([]float64, 60)
		for i, v := range flat {
			v, k := float64(v), i/20*5+i%5
			sum[k], most[k], least[k] = sum[k]+v, max(most[k], v), min(least[k], v)
			for _, w := range flat[i/5*5:][:5] {
				soft[i] += math.Exp(float64(w) - v)
			}
			soft[i] = 1 / soft[i]
		}
		near(t, "sum", out[0].([]float32), sum, 1e-6)
		near(t, "max", out[1].([]float32), most, 0)
		near(t, "min", out[2].([]float32), least, 0)
		near(t, "softmax", out[3].([]float32), soft, 1e-6)

		// A batch of parts of matrices, with bias and residual.
		g = &graph{}
		fa, fb, bias, residual := whole(r, 2*5*7), whole(r, 2*7*3), whole(r, 3), whole(r, 2*4*3)
		a, b := g.floats(fa, 2, 5, 7), g.floats(fb, 2, 7, 3)
		a = g.node(compute.OpTypeSlice, plan.Slice{Start: []int{0, 1, 2}, Stride: []int{1, 1, 1}}, tensor(2, 4, 5), a)
		b = g.node(compute.OpTypeSlice, plan.Slice{Start: []int{0, 2, 0}, Stride: []int{1, 1, 1}}, tensor(2, 5, 3), b)
		y := g.node(compute.OpTypeDotGeneral, plan.Dot{Contract: [2][]int{{2}, {1}}, Batch: [2][]int{{0}, {0}}}, tensor(2, 4, 3), a, b)
		y = g.node(compute.OpTypeAdd, nil, tensor(2, 4, 3), y, g.node(compute.OpTypeBroadcastInDim, plan.Axes{2}, tensor(2, 4, 3), g.floats(bias, 3)))
		y = g.node(compute.OpTypeAdd, nil, tensor(2, 4, 3), g.floats(residual, 2, 4, 3), y)
		want := make([]float64, 24)
		for i := range want {
			batch, row, column := i/12, i/3%4, i%3
			want[i] = float64(bias[column] + residual[i])
			for k := range 5 {
				want[i] += float64(fa[batch*35+(row+1)*7+k+2] * fb[batch*21+(k+2)*3+column])
			}
		}
		near(t, "product", g.run(t, table, y)[0].([]float32), want, 0)
	})
}
