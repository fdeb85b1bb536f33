package cpu_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu"
)

// The stock backend, by which most operations are checked, is wrong for negative padding: these results are by hand.
func TestPad(t *testing.T) {
	const f = 9
	x := [][]float32{{1, 2, 3}, {4, 5, 6}}
	for _, c := range []struct {
		pads []compute.PadAxis
		want [][]float32
	}{
		{[]compute.PadAxis{{Start: 1}, {End: 2}}, [][]float32{{f, f, f, f, f}, {1, 2, 3, f, f}, {4, 5, 6, f, f}}},
		{[]compute.PadAxis{{}, {Start: -1}}, [][]float32{{2, 3}, {5, 6}}},
		{[]compute.PadAxis{{Start: -1, End: 1}, {Start: 2, End: -2}}, [][]float32{{f, f, 4}, {f, f, f}}},
		{[]compute.PadAxis{{}, {Interior: 1}}, [][]float32{{1, f, 2, f, 3}, {4, f, 5, f, 6}}},
		{[]compute.PadAxis{{Interior: 2, End: -1}, {}}, [][]float32{{1, 2, 3}, {f, f, f}, {f, f, f}}},
		{[]compute.PadAxis{{}, {Start: -1, Interior: 1}}, [][]float32{{f, 2, f, 3}, {f, 5, f, 6}}},
		{[]compute.PadAxis{{}, {Start: -2, Interior: 2, End: 1}}, [][]float32{{f, 2, f, f, 3, f}, {f, 5, f, f, 6, f}}},
		{[]compute.PadAxis{{}, {Start: 1, End: -5, Interior: 3}}, [][]float32{{f, 1, f, f, f}, {f, 4, f, f, f}}},
		{[]compute.PadAxis{{Start: -2, End: 1}, {}}, [][]float32{{f, f, f}}},
		{[]compute.PadAxis{{Start: -5, End: 5}, {}}, [][]float32{{f, f, f}, {f, f, f}}},
		{[]compute.PadAxis{{Start: 5, End: -5}}, [][]float32{{f, f, f}, {f, f, f}}},
		{[]compute.PadAxis{{Start: 1}}, [][]float32{{f, f, f}, {1, 2, 3}, {4, 5, 6}}},
		{nil, x},
	} {
		gives(t, []any{x, float32(f)}, []any{c.want}, func(f recorder, in []compute.Value) []compute.Value {
			return []compute.Value{must(f.Pad(in[0], in[1], c.pads...))}
		})
	}
	gives(t, []any{[]int64{1, 2}, int64(7)}, []any{[]int64{7, 1, 7, 2}}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{must(f.Pad(in[0], in[1], compute.PadAxis{Start: 1, Interior: 1}))}
	})
	gives(t, []any{[]bool{true, false, true}, true}, []any{[]bool{false, true, true}}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{must(f.Pad(in[0], in[1], compute.PadAxis{Start: -1, End: 1}))}
	})
}

// Rows of a table, of two axes and more, in several types; numbers beyond the table are those of its ends.
func TestLookup(t *testing.T) {
	lookup := func(table any, rank int, want any) {
		t.Helper()
		gives(t, []any{table, [][][]int32{{{2}, {0}}, {{-5}, {9}}}}, []any{want}, func(f recorder, in []compute.Value) []compute.Value {
			sizes, after := []int{1}, []int{}
			for axis := 1; axis < rank; axis++ {
				sizes, after = append(sizes, 2), append(after, 1+axis)
			}
			return []compute.Value{must(f.Gather(in[0], in[1], 2, after, []int{0}, []int{0}, sizes, false))}
		})
	}
	lookup([][]float32{{1, 2}, {3, 4}, {5, 6}}, 2, [][][]float32{{{5, 6}, {1, 2}}, {{1, 2}, {5, 6}}})
	lookup([][]float64{{1, 2}, {3, 4}, {5, 6}}, 2, [][][]float64{{{5, 6}, {1, 2}}, {{1, 2}, {5, 6}}})
	lookup([]bool{true, false, false}, 1, [][]bool{{false, true}, {true, false}})
	lookup([][][]int16{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}, 3, [][][][]int16{{{{5, 6}, {7, 8}}, {{1, 2}, {3, 4}}}, {{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}})
}

// What the stock backend has not is not there, and says so when it is recorded.
func TestMissingOperations(t *testing.T) {
	b := open(t, "")
	f := recorder{b.Builder("missing").Main()}
	x, i := f.param("x", 4), must(f.Parameter("i", shapes.Make(dtypes.Int32), nil))
	for name, build := range map[string]func() (compute.Value, error){
		"DynamicSlice":       func() (compute.Value, error) { return f.DynamicSlice(x, []compute.Value{i}, []int{2}) },
		"DynamicUpdateSlice": func() (compute.Value, error) { return f.DynamicUpdateSlice(x, x, []compute.Value{i}) },
		"FFT":                func() (compute.Value, error) { return f.FFT(x, compute.FFTForward, []int{4}) },
		"AllReduce": func() (compute.Value, error) {
			_, err := f.AllReduce([]compute.Value{x}, compute.ReduceOpSum, nil)
			return nil, err
		},
	} {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: panic: %v", name, r)
				}
			}()
			if _, err := build(); !errors.Is(err, compute.ErrNotImplemented) {
				t.Errorf("%s: error %v, want that it is not implemented", name, err)
			}
		}()
	}
	// The recording goes on.
	if err := f.Return([]compute.Value{f.add(x, x)}, nil); err != nil {
		t.Error(err)
	}
}

func TestClamp(t *testing.T) {
	x := []float32{-3, -1, 0, 2, float32(math.Inf(1)), float32(math.NaN())}
	gives(t, []any{x, float32(-1), float32(1)}, []any{[]float32{-1, -1, 0, 1, 1, float32(math.NaN())}}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{must(f.Clamp(in[1], in[0], in[2]))}
	})
	gives(t, []any{[]float32{-3, 5}, []float32{-1, -2}, []float32{1, 7}}, []any{[]float32{-1, 5}}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{must(f.Clamp(in[1], in[0], in[2]))}
	})
	gives(t, []any{[]int32{-3, 5}, int32(0), int32(4)}, []any{[]int32{0, 4}}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{must(f.Clamp(in[1], in[0], in[2]))}
	})
}

// Constants are folded if they are small; big ones are computed like anything else.
func TestIota(t *testing.T) {
	for _, n := range []int{1, 1 << 16, 1<<16 + 1, 1 << 18} {
		for _, d := range []dtypes.DType{dtypes.Float32, dtypes.Int32} {
			got, err := execute(open(t, ""), nil, func(f recorder, _ []compute.Value) []compute.Value {
				return []compute.Value{must(f.Iota(shapes.Make(d, 2, n), 1))}
			})
			if err != nil {
				t.Fatalf("%d of %s: %v", n, d, err)
			}
			want, at := fmt.Sprint(n-1), ""
			switch x := got[0].(type) {
			case [][]float32:
				at = fmt.Sprint(int(x[1][n-1]))
			case [][]int32:
				at = fmt.Sprint(x[1][n-1])
			}
			if at != want {
				t.Errorf("the last of %d of %s is %s", n, d, at)
			}
		}
	}
}

// Operations on constants alone are computed once; a program may return them, and take several steps on them.
func TestConstants(t *testing.T) {
	gives(t, nil, []any{[]int32{2, 4, 6}, []float32{2, 4, 6}, [][]bool{{true, false}, {false, true}}, []float32{1, 2, 3}}, func(f recorder, _ []compute.Value) []compute.Value {
		data := []float32{1, 2, 3}
		x := must(f.Constant([]int32{1, 2, 3}, 3))
		y := must(f.Constant(data, 3))
		data[0] = 100 // the data were copied
		rows, columns := must(f.Iota(shapes.Make(dtypes.Int32, 2, 2), 0)), must(f.Iota(shapes.Make(dtypes.Int32, 2, 2), 1))
		return []compute.Value{f.add(x, x), must(f.ConvertDType(f.add(x, x), dtypes.Float32)), must(f.Equal(rows, columns)), y}
	})
}

// Tensors without elements, with one, and of every size around a vector and a block.
func TestSizes(t *testing.T) {
	onEveryTable(t, func(t *testing.T, b *cpu.Backend) {
		r := rand.New(rand.NewPCG(1, 1))
		for _, n := range []int{0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 1023, 1024, 1025} {
			x := numbers(r, []int{3, n})
			out, err := runFlat(b, [][]int{{3, n}}, [][]float32{x}, func(f recorder, in []compute.Value) []compute.Value {
				zero := f.number(float32(0))
				y := must(f.Tanh(f.add(in[0], in[0])))
				mask := must(f.GreaterThan(y, zero))
				y = must(f.Where(mask, y, zero)) // tanh(2x) where positive
				turned := must(f.Transpose(y, 1, 0))
				product := must(f.DotGeneral(y, []int{1}, nil, y, []int{1}, nil, compute.DotGeneralConfig{}))
				return []compute.Value{y, turned, must(f.ReduceSum(y)), must(f.ReduceSum(turned, 0)), product, must(f.Reverse(y, 0, 1)),
					must(f.Concatenate(1, y, y)), must(f.FusedSoftmax(y, 1))}
			})
			if err != nil {
				t.Fatalf("%d columns: %v", n, err)
			}
			want := make([][]float64, 8)
			want[2], want[3], want[4] = make([]float64, 1), make([]float64, 3), make([]float64, 9)
			y := func(i, j int) float64 { return max(0, math.Tanh(2*float64(x[i*n+j]))) }
			for i := range 3 {
				sum := 0.0
				for j := range n {
					want[0] = append(want[0], y(i, j))
					want[2][0] += y(i, j)
					want[3][i] += y(i, j)
					want[5] = append(want[5], y(2-i, n-1-j))
					for k := range 3 {
						want[4][i*3+k] += y(i, j) * y(k, j)
					}
					sum += math.Exp(y(i, j))
				}
				for j := range 2 * n {
					want[6] = append(want[6], y(i, j%n))
				}
				for j := range n {
					want[7] = append(want[7], math.Exp(y(i, j))/sum)
				}
			}
			for j := range n {
				want[1] = append(want[1], y(0, j), y(1, j), y(2, j))
			}
			for k := range want {
				near(t, fmt.Sprintf("%d columns: result %d", n, k), out[k], want[k], 2e-5)
			}
		}
	})
}

// Elements that share bytes can be kept, moved and converted.
func TestPackedElements(t *testing.T) {
	b, stock := open(t, ""), stockBackend(t)
	build := func(f recorder, in []compute.Value) []compute.Value {
		x := must(f.ConvertDType(in[0], dtypes.Int4))
		y := must(f.ConvertDType(must(f.Identity(x)), dtypes.Int32))
		return []compute.Value{f.add(y, y)}
	}
	in := []any{[]int8{1, -2, 3, -4, 5}}
	want, err := execute(stock, in, build)
	if err != nil {
		t.Skipf("the stock backend cannot do it: %v", err)
	}
	got, err := execute(b, in, build)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// A product and a reduction that are divided into many parts, against float64.
func TestBigShapes(t *testing.T) {
	onEveryTable(t, func(t *testing.T, b *cpu.Backend) {
		const m, k, n = 517, 301, 259
		r := rand.New(rand.NewPCG(2, 2))
		x, w, bias := numbers(r, []int{m, k}), numbers(r, []int{k, n}), numbers(r, []int{n})
		out, err := runFlat(b, [][]int{{m, k}, {k, n}, {n}}, [][]float32{x, w, bias}, func(f recorder, in []compute.Value) []compute.Value {
			y := must(f.DotGeneral(in[0], []int{1}, nil, in[1], []int{0}, nil, compute.DotGeneralConfig{}))
			y = f.add(y, must(f.BroadcastInDim(in[2], shapes.Make(dtypes.Float32, m, n), []int{1})))
			y = must(f.Max(y, f.number(float32(0))))
			return []compute.Value{y, must(f.ReduceSum(y, 0)), must(f.ReduceSum(y, 1)), must(f.ReduceMax(y)), must(f.Transpose(y, 1, 0))}
		})
		if err != nil {
			t.Fatal(err)
		}
		want := [][]float64{make([]float64, m*n), make([]float64, n), make([]float64, m), {0}, make([]float64, m*n)}
		for i := range m {
			row := make([]float64, n)
			for l := range k {
				for j := range n {
					row[j] += float64(x[i*k+l]) * float64(w[l*n+j])
				}
			}
			for j := range n {
				v := max(0, row[j]+float64(bias[j]))
				want[0][i*n+j], want[4][j*m+i] = v, v
				want[1][j] += v
				want[2][i] += v
				want[3][0] = max(want[3][0], v)
			}
		}
		for i := range want {
			near(t, fmt.Sprint("result ", i), out[i], want[i], 3e-5)
		}
	})
}

// near fails unless got is want up to a part of the larger of want and 1.
func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= tolerance*max(1, math.Abs(want[i]))) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

// runFlat runs a program of float32 parameters.
func runFlat(b compute.Backend, dims [][]int, flats [][]float32, body func(f recorder, in []compute.Value) []compute.Value) ([][]float32, error) {
	p, err := compileFlat(b, dims, body)
	if err != nil {
		return nil, err
	}
	in := make([]compute.Buffer, len(flats))
	for i, flat := range flats {
		if in[i], err = b.BufferFromFlatData(0, slices.Clone(flat), shapes.Make(dtypes.Float32, dims[i]...)); err != nil {
			return nil, err
		}
	}
	out, err := p.Execute(in, nil, 0)
	if err != nil {
		return nil, err
	}
	return floats(out)
}

func compileFlat(b compute.Backend, dims [][]int, body func(f recorder, in []compute.Value) []compute.Value) (p compute.Executable, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	builder := b.Builder("flat")
	f := recorder{builder.Main()}
	var in []compute.Value
	for i, d := range dims {
		in = append(in, f.param(fmt.Sprint("x", i), d...))
	}
	if err := f.Return(body(f, in), nil); err != nil {
		return nil, err
	}
	return builder.Compile()
}

// floats copies buffers of float32.
func floats(buffers []compute.Buffer) ([][]float32, error) {
	var out [][]float32
	for _, x := range buffers {
		s, err := x.Shape()
		if err != nil {
			return nil, err
		}
		flat := make([]float32, s.Size())
		if err := x.ToFlatData(flat); err != nil {
			return nil, err
		}
		out = append(out, flat)
	}
	return out, nil
}
