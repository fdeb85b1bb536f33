package cpu_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/compute/support/testutil"

	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// recorder builds operations and panics where one fails.
type recorder struct{ compute.Function }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (f recorder) number(x any) compute.Value {
	flat := reflect.MakeSlice(reflect.SliceOf(reflect.TypeOf(x)), 1, 1)
	flat.Index(0).Set(reflect.ValueOf(x))
	return must(f.Constant(flat.Interface()))
}

func (f recorder) add(x, y compute.Value) compute.Value { return must(f.Add(x, y)) }
func (f recorder) mul(x, y compute.Value) compute.Value { return must(f.Mul(x, y)) }

func (f recorder) param(name string, dims ...int) compute.Value {
	return must(f.Parameter(name, shapes.Make(dtypes.Float32, dims...), nil))
}

// closure makes a closure of f.
func (f recorder) closure(body func(g recorder) []compute.Value) compute.Function {
	g := recorder{must(f.Closure())}
	if err := g.Return(body(g), nil); err != nil {
		panic(err)
	}
	return g.Function
}

// named makes a function that others can call.
func named(b compute.Builder, name string, body func(g recorder) []compute.Value) compute.Function {
	g := recorder{must(b.NewFunction(name))}
	if err := g.Return(body(g), nil); err != nil {
		panic(err)
	}
	return g.Function
}

// execute runs a program on a backend. Its inputs and results are Go numbers and slices.
func execute(b compute.Backend, inputs []any, body func(f recorder, in []compute.Value) []compute.Value) (out []any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return testutil.Exec(b, inputs, func(f compute.Function, in []compute.Value) ([]compute.Value, error) {
		return body(recorder{f}, in), nil
	})
}

// configurations lists every instruction set with every one of these options.
func configurations(options ...string) []string {
	var out []string
	for _, table := range kern.Tables() {
		for _, o := range options {
			out = append(out, table.Name+","+o)
		}
	}
	return out
}

// onEveryTable runs a test with a backend of every instruction set.
func onEveryTable(t *testing.T, fn func(t *testing.T, b *cpu.Backend)) {
	for _, table := range kern.Tables() {
		t.Run(table.Name, func(t *testing.T) { fn(t, open(t, table.Name+",workers=2")) })
	}
}

// gives fails unless the program gives these results, on every instruction set.
func gives(t *testing.T, inputs []any, want []any, body func(f recorder, in []compute.Value) []compute.Value) {
	t.Helper()
	for _, table := range kern.Tables() {
		got, err := execute(open(t, table.Name+",workers=2"), inputs, body)
		if err != nil {
			t.Errorf("%s: %v", table.Name, err)
			continue
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d results, want %d", table.Name, len(got), len(want))
		}
		for k := range want {
			if reflect.TypeOf(got[k]) != reflect.TypeOf(want[k]) || fmt.Sprint(got[k]) != fmt.Sprint(want[k]) {
				t.Errorf("%s: result %d is %v (%T), want %v (%T)", table.Name, k, got[k], got[k], want[k], want[k])
			}
		}
	}
}

func TestCall(t *testing.T) {
	gives(t, []any{[]float32{1, 2, 3}, float32(10)}, []any{[]float32{31, 42, 53}, []float32{11, 12, 13}, []float32{1, 2, 3}, float32(10), []float32{20, 30, 40}},
		func(f recorder, in []compute.Value) []compute.Value {
			// A parameter that comes out again, a result that nobody uses, functions in functions, the same one twice.
			plus := named(f.Builder(), "plus", func(g recorder) []compute.Value {
				x, y := g.param("x", 3), g.param("y")
				return []compute.Value{g.add(x, y), x, must(g.Neg(x)), y}
			})
			affine := named(f.Builder(), "affine", func(g recorder) []compute.Value {
				x, y := g.param("x", 3), g.param("y")
				return must(g.Call(plus, must(g.Call(plus, g.mul(x, y), y))[0], y))[:1] // x·y + 2·y
			})
			once := must(f.Call(plus, in[0], in[1]))
			twice := must(f.Call(affine, in[0], in[1]))
			// (x·10 + 20) + (x + 1) = 31, 42, 53 … with x from a call.
			sum := f.add(twice[0], f.add(once[1], f.number(float32(0))))
			return []compute.Value{sum, once[0], once[1], once[3], must(f.Sub(twice[0], must(f.BroadcastInDim(in[1], shapes.Make(dtypes.Float32, 3), nil))))}
		})
}

// A name that only looks like one of those with a kernel is a name like any other.
func TestUnknownNamesRunTheirBody(t *testing.T) {
	for _, name := range []string{"mystery", "mystery__n1", "silu", "Silu__n1", "silu2__n1", "__", "silu__x__n1", "silu__fzz__n1"} {
		gives(t, []any{[]float32{1, 2}}, []any{[]float32{-1, -2}}, func(f recorder, in []compute.Value) []compute.Value {
			return must(f.Call(named(f.Builder(), name, func(g recorder) []compute.Value {
				return []compute.Value{must(g.Neg(g.param("x", 2)))}
			}), in[0]))
		})
	}
}

// A kernel takes the place of the body of a function with its name, in float32 only: the body here is another function.
func TestNamesOfKernels(t *testing.T) {
	body := func(d dtypes.DType) func(f recorder, in []compute.Value) []compute.Value {
		return func(f recorder, in []compute.Value) []compute.Value {
			return must(f.Call(named(f.Builder(), "softmax__n1", func(g recorder) []compute.Value {
				return []compute.Value{must(g.Neg(must(g.Parameter("x", shapes.Make(d, 2), nil))))}
			}), in[0]))
		}
	}
	gives(t, []any{[]float32{3, 3}}, []any{[]float32{0.5, 0.5}}, body(dtypes.Float32))
	gives(t, []any{[]float64{3, 4}}, []any{[]float64{-3, -4}}, body(dtypes.Float64))
}

// Numbers in names are the decimal ones that were meant, not the float32 next to them: 1−0.999 is 0.001.
func TestNumbersInNames(t *testing.T) {
	in := []any{[]float32{0}, []float32{1}, []float32{0}, []float32{0}, float32(0), float32(1), float32(1), float32(1)}
	gives(t, in, []any{[]float32{0}, []float32{0.1}, []float32{0.001}}, func(f recorder, in []compute.Value) []compute.Value {
		return must(f.Call(named(f.Builder(), "adamw__p3f666666__q3f7fbe77__e322bcc77__w00000000__n0", func(g recorder) []compute.Value {
			var out []compute.Value
			for i := range in {
				dims := []int{1}
				if i > 3 {
					dims = nil
				}
				out = append(out, g.param(fmt.Sprint("x", i), dims...))
			}
			return out[:3]
		}), in...))
	})
}

func TestWhile(t *testing.T) {
	// Sums of x times step, where step is from outside and the bound a constant of the closure; nested in another loop.
	gives(t, []any{int32(4), []float32{1, 10}, float32(0.5)}, []any{int32(4), []float32{13, 130}, []float32{0.5, 5}},
		func(f recorder, in []compute.Value) []compute.Value {
			half := f.mul(in[1], must(f.BroadcastInDim(in[2], shapes.Make(dtypes.Float32, 2), nil))) // captured
			integer := shapes.Make(dtypes.Int32)
			vector := shapes.Make(dtypes.Float32, 2)
			cond := f.closure(func(g recorder) []compute.Value {
				i := must(g.Parameter("i", integer, nil))
				must(g.Parameter("sum", vector, nil))
				return []compute.Value{must(g.LessThan(i, in[0]))}
			})
			body := f.closure(func(g recorder) []compute.Value {
				i, sum := must(g.Parameter("i", integer, nil)), must(g.Parameter("sum", vector, nil))
				// Adds x twice in an inner loop, which captures from both functions around it.
				inner := must(g.While(g.closure(func(h recorder) []compute.Value {
					k := must(h.Parameter("k", integer, nil))
					must(h.Parameter("sum", vector, nil))
					return []compute.Value{must(h.LessThan(k, h.number(int32(2))))}
				}), g.closure(func(h recorder) []compute.Value {
					k, s := must(h.Parameter("k", integer, nil)), must(h.Parameter("sum", vector, nil))
					return []compute.Value{h.add(k, h.number(int32(1))), h.add(s, in[1])}
				}), g.number(int32(0)), sum))
				return []compute.Value{g.add(i, g.number(int32(1))), g.add(inner[1], half)}
			})
			zero := must(f.Constant([]float32{3, 30}, 2))
			out := must(f.While(cond, body, f.number(int32(0)), zero)) // 3 + 4·(2 + ½)
			return []compute.Value{out[0], out[1], half}
		})
}

func TestIf(t *testing.T) {
	for _, c := range []struct {
		x, y float32
		want []float32
	}{{1, 0, []float32{-2, -4}}, {-1, 5, []float32{10, 20}}, {-1, -5, []float32{2, 2}}} {
		gives(t, []any{[]float32{1, 2}, c.x, c.y}, []any{c.want, []float32{2, 4}}, func(f recorder, in []compute.Value) []compute.Value {
			zero := f.number(float32(0))
			double := f.add(in[0], in[0])
			out := must(f.If(must(f.GreaterThan(in[1], zero)),
				f.closure(func(g recorder) []compute.Value { return []compute.Value{must(g.Neg(double))} }),
				f.closure(func(g recorder) []compute.Value {
					// A branch in a branch, with values of all functions around it.
					five := g.number(float32(5))
					return must(g.If(must(g.GreaterThan(in[2], g.number(float32(0)))),
						g.closure(func(h recorder) []compute.Value {
							return []compute.Value{h.mul(double, must(h.BroadcastInDim(five, shapes.Make(dtypes.Float32, 2), nil)))}
						}),
						g.closure(func(h recorder) []compute.Value { return []compute.Value{must(h.Constant([]float32{2, 2}, 2))} })))
				})))
			return []compute.Value{out[0], double}
		})
	}
}

// A branch that returns what it captured, or calls a function.
func TestIfCalls(t *testing.T) {
	for _, yes := range []bool{true, false} {
		want := []float32{3, 4}
		if yes {
			want = []float32{-3, -4}
		}
		gives(t, []any{yes, []float32{3, 4}}, []any{want}, func(f recorder, in []compute.Value) []compute.Value {
			neg := named(f.Builder(), "neg", func(g recorder) []compute.Value {
				return []compute.Value{must(g.Neg(g.param("x", 2)))}
			})
			return must(f.If(in[0],
				f.closure(func(g recorder) []compute.Value { return must(g.Call(neg, in[1])) }),
				f.closure(func(g recorder) []compute.Value { return []compute.Value{must(g.Identity(in[1]))} })))
		})
	}
}

func TestSort(t *testing.T) {
	// Rows are sorted by key, ties in order; the second operand comes along.
	keys := [][]float32{{3, 1, 3, 1}, {5, -1, 0, 2}}
	marks := [][]int32{{0, 1, 2, 3}, {0, 1, 2, 3}}
	gives(t, []any{keys, marks}, []any{[][]float32{{1, 1, 3, 3}, {-1, 0, 2, 5}}, [][]int32{{1, 3, 0, 2}, {1, 2, 3, 0}}},
		func(f recorder, in []compute.Value) []compute.Value {
			comparator := f.closure(func(g recorder) []compute.Value {
				a, b := g.param("a"), g.param("b")
				must(g.Parameter("c", shapes.Make(dtypes.Int32), nil))
				must(g.Parameter("d", shapes.Make(dtypes.Int32), nil))
				return []compute.Value{must(g.LessThan(a, b))}
			})
			return must(f.Sort(comparator, 1, true, in...))
		})
}

// Operands from other functions are refused, not misread.
func TestForeignValues(t *testing.T) {
	b, other := open(t, ""), open(t, "")
	f, g := recorder{b.Builder("a").Main()}, recorder{other.Builder("b").Main()}
	x, y := f.param("x", 2), g.param("y", 2)
	if _, err := f.Add(x, y); err == nil {
		t.Error("an operand of another builder was taken")
	}
	if _, err := f.Add(x, nil); err == nil {
		t.Error("no operand was taken")
	}
	if _, err := f.Builder().OpShape(y); err == nil {
		t.Error("another builder's value has a shape here")
	}
	if err := f.Return([]compute.Value{y}, nil); err == nil {
		t.Error("another builder's value was returned")
	}
	callee := named(g.Builder(), "f", func(h recorder) []compute.Value { return []compute.Value{h.param("x", 2)} })
	if _, err := f.Call(callee, x); err == nil {
		t.Error("another builder's function was called")
	}
	closure := g.closure(func(h recorder) []compute.Value { return []compute.Value{h.number(true)} })
	if _, err := f.If(f.number(true), closure, closure); err == nil {
		t.Error("another function's closure was taken")
	}
	if _, err := f.Call(f.closure(func(h recorder) []compute.Value { return []compute.Value{h.number(true)} })); err == nil {
		t.Error("a closure was called")
	}
}
