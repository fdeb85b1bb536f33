package cpu

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// steps compiles a program of one parameter [4] and returns how many steps it has.
func steps(t *testing.T, build func(f compute.Function, x compute.Value) []compute.Value) int {
	t.Helper()
	b, err := New("generic,workers=1")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	builder := b.Builder("program")
	f := builder.Main()
	x, err := f.Parameter("x", shapes.Make(dtypes.Float32, 4), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Return(build(f, x), nil); err != nil {
		t.Fatal(err)
	}
	program, err := builder.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return len(program.(*executable).program.Steps)
}

// What is recorded twice is computed once, unless a barrier says that it is not the same.
func TestCommonSubexpressions(t *testing.T) {
	sum := func(f compute.Function, x compute.Value) compute.Value {
		s, err := f.ReduceSum(x, 0)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if n := steps(t, func(f compute.Function, x compute.Value) []compute.Value {
		return []compute.Value{sum(f, x), sum(f, x)}
	}); n != 1 {
		t.Errorf("the same sum twice takes %d steps", n)
	}
	n := steps(t, func(f compute.Function, x compute.Value) []compute.Value {
		y, err := f.OptimizationBarrier(x)
		if err != nil {
			t.Fatal(err)
		}
		return []compute.Value{sum(f, x), sum(f, y[0])}
	})
	if n != 2 {
		t.Errorf("the same sum before and behind a barrier takes %d steps, want 2", n)
	}
}

// Operations on constants that no kernel is there for run once, while the program is compiled.
func TestConstantsAreFolded(t *testing.T) {
	n := steps(t, func(f compute.Function, x compute.Value) []compute.Value {
		rows, err := f.Iota(shapes.Make(dtypes.Int32, 4), 0)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := f.Add(rows, rows)
		if err != nil {
			t.Fatal(err)
		}
		numbers, err := f.ConvertDType(twice, dtypes.Float32)
		if err != nil {
			t.Fatal(err)
		}
		y, err := f.Add(x, numbers)
		if err != nil {
			t.Fatal(err)
		}
		return []compute.Value{y}
	})
	if n != 1 {
		t.Errorf("%d steps, want one addition", n)
	}
}
