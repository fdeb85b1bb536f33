package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestUnknownBackend(t *testing.T) {
	for _, name := range []string{"xlb:cuda", "gpu", "Go"} {
		if _, err := engine.Open(name); !errors.Is(err, engine.ErrUnknownBackend) {
			t.Errorf("Open(%q): error %v, want ErrUnknownBackend", name, err)
		}
	}
	for _, name := range []string{"go:nonsense", "cpu:nonsense", "cpu:workers=0"} {
		if _, err := engine.Open(name); err == nil || errors.Is(err, engine.ErrUnknownBackend) {
			t.Errorf("Open(%q): error %v, want one about the option", name, err)
		}
	}
	for _, name := range append(oracle.Backends(), "") {
		e, err := engine.Open(name)
		if err != nil {
			t.Errorf("Open(%q): %v", name, err)
		} else if kind, _, _ := strings.Cut(e.Name, ":"); !slices.Contains(engine.Backends(), kind) {
			t.Errorf("Open(%q) is named %q, want one of %v", name, e.Name, engine.Backends())
		}
	}
}

// double returns 2x, counted as a network.
func double(in []*graph.Node) []*graph.Node {
	engine.CountCall(in[0])
	return []*graph.Node{graph.Add(in[0], in[0])}
}

func TestCallsAreCountedPerRowAndExecution(t *testing.T) {
	e := oracle.Open(t)
	once, err := e.Compile(double)
	if err != nil {
		t.Fatal(err)
	}
	thrice, err := e.Compile(func(in []*graph.Node) []*graph.Node { return double(double(double(in))) })
	if err != nil {
		t.Fatal(err)
	}
	uncounted, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{graph.Neg(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for i, c := range []struct {
		program *engine.Program
		rows    int
		calls   int64
	}{{once, 5, 5}, {once, 5, 5}, {once, 3, 3}, {thrice, 4, 12}, {uncounted, 9, 0}, {once, 5, 5}, {thrice, 4, 12}} {
		out, err := c.program.Run(engine.Rows(make([]float32, 2*c.rows), 2))
		if err != nil {
			t.Fatal(err)
		}
		out[0].FinalizeAll()
		if want += c.calls; e.NetworkCalls() != want {
			t.Errorf("after run %d of %d rows: %d calls, want %d", i, c.rows, e.NetworkCalls(), want)
		}
	}
	// Rows that only fill a batch do not count.
	before := e.NetworkCalls()
	if _, err := thrice.RunPadded(2, 5, engine.Rows(make([]float32, 10), 2)); err != nil || e.NetworkCalls() != before+6 {
		t.Errorf("2 wanted rows of 5: %d calls, %v; want 6", e.NetworkCalls()-before, err)
	}
}

// What is differentiated counts three times, and what was counted before or is counted after it once.
func TestBackwardPassesCountTwice(t *testing.T) {
	e := oracle.Open(t)
	program, err := e.Compile(func(in []*graph.Node) (out []*graph.Node) {
		in = double(in)
		engine.CountBackward(in[0].Graph(), func() { out = double(double(in)) })
		return double(out)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := program.RunPadded(2, 5, engine.Rows(make([]float32, 10), 2)); err != nil || e.NetworkCalls() != 2*(1+3*2+1) {
		t.Errorf("%d calls of two rows, %v; want 16", e.NetworkCalls(), err)
	}
}

// Concurrent runs, the first of which compile, neither miscount nor mix their data.
func TestConcurrentRuns(t *testing.T) {
	e := oracle.Open(t)
	program, err := e.Compile(double)
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	errs := make([]error, n)
	e.Each(n, func(i int) {
		rows := 1 + i%3
		out, err := program.Run(engine.Rows(slices.Repeat([]float32{float32(i)}, rows), 1))
		if err != nil {
			errs[i] = err
			return
		}
		got := make([]float32, rows)
		errs[i] = engine.Floats(got, out[0])
		if got[rows-1] != float32(2*i) {
			errs[i] = fmt.Errorf("run %d gave %v", i, got)
		}
	})
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	want := int64(0)
	for i := range n {
		want += int64(1 + i%3)
	}
	if e.NetworkCalls() != want {
		t.Errorf("%d calls, want %d", e.NetworkCalls(), want)
	}
}

// A fork reads the parameters of its origin where they are, and keeps its own to itself, as both do their counters.
func TestForkSharesAndIsIsolated(t *testing.T) {
	e := oracle.Open(t)
	base := e.Scope("/base").VariableWithValue("w", []float32{1, 2})
	e.CountPaths(3)
	fork := e.Fork()
	if n := fork.Params.NumVariables(); n != 0 || fork.NetworkCalls() != 0 || fork.Paths() != 0 {
		t.Errorf("a fork starts with %d parameters, %d calls and %d paths, want 0", n, fork.NetworkCalls(), fork.Paths())
	}
	own := fork.Scope("/h").VariableWithValue("w", []float32{10, 20})
	// A program of the fork that updates its own parameter by that of the origin.
	program, err := fork.Compile(func(in []*graph.Node) []*graph.Node {
		sum := graph.Add(engine.Parameter(own, in[0]), engine.Parameter(base, in[0]))
		own.SetNodeValue(sum)
		return double([]*graph.Node{graph.Mul(sum, in[0])})
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func() []float32 {
		out, err := program.Run([]float32{1, 1})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 2)
		if err := engine.Floats(got, out[0]); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := run(); !slices.Equal(got, []float32{22, 44}) {
		t.Errorf("the program of the fork gives %v, want [22 44]", got)
	}
	if err := base.SetValue(tensors.FromValue([]float32{100, 100})); err != nil {
		t.Fatal(err)
	}
	if got := run(); !slices.Equal(got, []float32{222, 244}) {
		t.Errorf("after a change in the origin the fork gives %v, want [222 244]", got)
	}
	fork.CountPaths(5)
	if got := tensors.MustCopyFlatData[float32](own.MustValue()); !slices.Equal(got, []float32{111, 122}) {
		t.Errorf("updated parameters of the fork are %v, want [111 122]", got)
	}
	if got := tensors.MustCopyFlatData[float32](base.MustValue()); !slices.Equal(got, []float32{100, 100}) {
		t.Errorf("the fork changed the parameters of its origin to %v", got)
	}
	if e.Params.GetVariable("/h/w") != nil || fork.Params.GetVariable("/base/w") != nil {
		t.Error("a parameter made in one engine appeared in the other")
	}
	if e.NetworkCalls() != 0 || e.Paths() != 3 || fork.NetworkCalls() != 4 || fork.Paths() != 5 {
		t.Errorf("calls, paths: origin %d, %d, want 0, 3; fork %d, %d, want 4, 5", e.NetworkCalls(), e.Paths(), fork.NetworkCalls(), fork.Paths())
	}
}

// Two parameters of one path would be one in a graph: using both is an error that names the path, using one twice is not.
func TestParametersOfOnePath(t *testing.T) {
	e := oracle.Open(t)
	fork := e.Fork()
	a, b := e.Scope("/h").VariableWithValue("w", []float32{1}), fork.Scope("/h").VariableWithValue("w", []float32{2})
	other := fork.Scope("/other").VariableWithValue("w", []float32{2})
	for _, c := range []struct {
		first, second *model.Variable
		refused       bool
	}{{a, b, true}, {b, a, true}, {a, a, false}, {a, other, false}} {
		program, err := fork.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Add(engine.Parameter(c.first, in[0]), engine.Parameter(c.second, in[0]))}
		})
		if err == nil {
			_, err = program.Run([]float32{0})
		}
		if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "/h/w") {
			t.Errorf("%s and %s: error %v", c.first, c.second, err)
		}
	}
}

// Map takes any number of rows in batches of one size, and counts those that are wanted.
func TestMap(t *testing.T) {
	e := oracle.Open(t)
	program, err := e.Compile(double)
	if err != nil {
		t.Fatal(err)
	}
	var x, want []float32
	for i := range 2 * 9 {
		x, want = append(x, float32(i)), append(want, float32(2*i))
	}
	for _, c := range []struct{ n, batch int }{{9, 4}, {3, 64}, {3, 3}, {1, 5}, {0, 5}} {
		before := e.NetworkCalls()
		got, err := program.Map(t.Context(), x, c.n, c.batch, 2)
		if err != nil || !slices.Equal(got, want[:2*c.n]) || e.NetworkCalls() != before+int64(c.n) {
			t.Errorf("%d rows in batches of %d: %v and %d calls, error %v; want %v", c.n, c.batch, got, e.NetworkCalls()-before, err, want[:2*c.n])
		}
	}
}

func TestPanicsInGraphFunctionsAreErrors(t *testing.T) {
	cause := errors.New("no parameter")
	for name, fn := range map[string]func(in []*graph.Node) []*graph.Node{
		"error":       func([]*graph.Node) []*graph.Node { panic(fmt.Errorf("nn: %w", cause)) },
		"string":      func([]*graph.Node) []*graph.Node { panic("text") },
		"shapes":      func(in []*graph.Node) []*graph.Node { return []*graph.Node{graph.MatMul(in[0], in[0])} },
		"nil pointer": func([]*graph.Node) []*graph.Node { return []*graph.Node{graph.Neg(nil)} },
		"index":       func(in []*graph.Node) []*graph.Node { return []*graph.Node{in[len(in)]} },
	} {
		func() {
			defer func() {
				if r := recover(); r != nil { // in a goroutine of Each it would end the process
					t.Errorf("%s: the panic came out: %v", name, r)
				}
			}()
			program, err := oracle.Open(t).Compile(fn)
			if err == nil {
				_, err = program.Run(engine.Rows(make([]float32, 6), 3))
			}
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			if name == "error" && !errors.Is(err, cause) {
				t.Errorf("%s: %v does not wrap the cause", name, err)
			}
		}()
	}
}

// A program survives a failed call.
func TestRunAfterAnError(t *testing.T) {
	program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node {
		if in[0].Shape().Dimensions[0] == 3 {
			panic(errors.New("three rows"))
		}
		return double(in)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range []int{2, 3, 2, 4} {
		if _, err := program.Run(engine.Rows(make([]float32, rows), 1)); (err != nil) != (rows == 3) {
			t.Errorf("%d rows: error %v", rows, err)
		}
	}
}

func TestEachCallsEveryIndexOnce(t *testing.T) {
	for _, n := range []int{0, 1, 7, 100} {
		var mutex sync.Mutex
		var seen []int
		var total atomic.Int64
		oracle.Open(t).Each(n, func(i int) {
			total.Add(1)
			mutex.Lock()
			defer mutex.Unlock()
			seen = append(seen, i)
		})
		slices.Sort(seen)
		if len(seen) != n || int(total.Load()) != n || len(slices.Compact(seen)) != n || n > 0 && (seen[0] != 0 || seen[n-1] != n-1) {
			t.Errorf("n = %d: indices %v", n, seen)
		}
	}
}

func TestRowsAndFloats(t *testing.T) {
	tensor := engine.Rows([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2)
	if got := tensor.Shape().Dimensions; !slices.Equal(got, []int{2, 2, 2}) {
		t.Errorf("dimensions %v, want [2 2 2]", got)
	}
	got := make([]float32, 3) // a shorter destination takes the first rows: batches are padded
	if err := engine.Floats(got, tensor); err != nil || !slices.Equal(got, []float32{1, 2, 3}) {
		t.Errorf("Floats = %v, %v", got, err)
	}
}

// Frozen weights lie in the memory of a backend that shares it, so that the first program that uses them makes no copy.
func TestFrozenWeightsAreNotCopied(t *testing.T) {
	for _, p := range []engine.Precision{engine.F32, engine.F16, engine.BF16} {
		e := oracle.OpenOn(t, engine.Default)
		one := map[engine.Precision]any{engine.F16: uint16(0x3c00), engine.BF16: uint16(0x3f80)}[p]
		err := engine.Frozen(e.Scope("/net"), "w", p, []int{2, 3}, func(flat any) error {
			switch x := flat.(type) {
			case []float32:
				copy(x, []float32{1, 1, 1, 1, 1, 1})
			case []uint16:
				for i := range x {
					x[i] = one.(uint16)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		v := e.Scope("/net").GetVariable("w")
		value, err := v.Value()
		if err != nil || !value.IsShared() || v.Trainable {
			t.Errorf("%s: shared %v, trainable %v, error %v", p, value.IsShared(), v.Trainable, err)
		}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Dot(in[0], graph.ConvertDType(engine.Parameter(v, in[0]), in[0].DType())).Product()}
		}, [][]float32{{2, 3}})
		if !slices.Equal(out[0], []float32{5, 5, 5}) {
			t.Errorf("%s: [2 3]·ones is %v", p, out[0])
		}
	}
	e := oracle.Open(t)
	boom := errors.New("boom")
	if err := engine.Frozen(e.Scope("/net"), "w", engine.F16, []int{2}, func(any) error { return boom }); !errors.Is(err, boom) || e.Scope("/net").GetVariable("w") != nil {
		t.Errorf("error %v, want that of the function, and no variable", err)
	}
	if err := engine.Frozen(e.Scope("/net"), "w", engine.OfFile, []int{2}, nil); err == nil {
		t.Error("no error for a precision that depends on a file")
	}
}
