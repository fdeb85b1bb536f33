package exec_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// copies checks what moves elements without looking at them, for one type of element.
func copies[T comparable](t *testing.T, d dtypes.DType, number func(i int) T) {
	flat := func(n int) []T {
		out := make([]T, n)
		for i := range out {
			out[i] = number(i)
		}
		return out
	}
	verify := func(name string, g *graph, out *plan.Value, want func(index []int) T) {
		t.Helper()
		got := g.run(t, kern.Tables()[0], out)[0].([]T)
		if len(got) != size(out.Dims) {
			t.Fatalf("%s of %s: %d elements, want %d", name, d, len(got), size(out.Dims))
		}
		index := make([]int, len(out.Dims))
		for k := range got {
			for i, rest := len(index)-1, k; i >= 0; i-- {
				index[i] = rest % out.Dims[i]
				rest /= out.Dims[i]
			}
			if w := want(index); got[k] != w {
				t.Fatalf("%s of %s to %v: element %v is %v, want %v", name, d, out.Dims, index, got[k], w)
			}
		}
	}
	// Larger ones are copied in several parts.
	for _, n := range []int{1, 5, 40} {
		dims := []int{n, 33, 2 * n}
		x := flat(size(dims))
		at := func(i, j, k int) T { return x[(i*33+j)*2*n+k] }
		for _, perm := range [][3]int{{0, 2, 1}, {1, 0, 2}, {2, 1, 0}, {1, 2, 0}} {
			g := &graph{}
			out := []int{dims[perm[0]], dims[perm[1]], dims[perm[2]]}
			v := g.node(compute.OpTypeTranspose, plan.Axes(perm[:]), value(d, out...), g.param(x, d, dims...))
			verify("transposition", g, v, func(index []int) T {
				var from [3]int
				for i, axis := range perm {
					from[axis] = index[i]
				}
				return at(from[0], from[1], from[2])
			})
		}
		g := &graph{}
		v := g.node(compute.OpTypeReverse, plan.Axes{0, 2}, value(d, dims...), g.param(x, d, dims...))
		verify("reversal", g, v, func(i []int) T { return at(n-1-i[0], i[1], 2*n-1-i[2]) })

		g = &graph{}
		v = g.node(compute.OpTypeSlice, plan.Slice{Start: []int{0, 3, 1}, Stride: []int{1, 2, 1}}, value(d, n, 15, 2*n-1), g.param(x, d, dims...))
		verify("slice", g, v, func(i []int) T { return at(i[0], 3+2*i[1], 1+i[2]) })

		g = &graph{}
		v = g.node(compute.OpTypeBroadcastInDim, plan.Axes{0, 1, 3}, value(d, n, 33, 3, 2*n), g.param(x, d, dims...))
		verify("broadcast", g, v, func(i []int) T { return at(i[0], i[1], i[3]) })

		g = &graph{}
		a, fill := g.param(x, d, dims...), g.param([]T{number(77)}, d)
		pad := plan.Pad{{Start: 1, End: -1, Interior: 1}, {Start: -2, End: 3}, {Start: 2}}
		v = g.node(compute.OpTypePad, pad, value(d, 2*n-1, 34, 2*n+2), a, fill)
		verify("pad", g, v, func(i []int) T {
			if i[0]%2 == 0 || i[1] >= 31 || i[2] < 2 {
				return number(77)
			}
			return at((i[0]-1)/2, i[1]+2, i[2]-2)
		})

		g = &graph{}
		a = g.param(x, d, dims...)
		b := g.node(compute.OpTypeSlice, plan.Slice{Start: []int{0, 1, 0}, Stride: []int{1, 1, 1}}, value(d, n, 2, 2*n), a)
		v = g.node(compute.OpTypeConcatenate, plan.Concatenate(1), value(d, n, 68, 2*n), a, b, a)
		verify("concatenation", g, v, func(i []int) T {
			switch j := i[1]; {
			case j < 33:
				return at(i[0], j, i[2])
			case j < 35:
				return at(i[0], j-32, i[2])
			default:
				return at(i[0], j-35, i[2])
			}
		})
	}
	// Nothing at all, and numbers.
	g := &graph{}
	empty := g.param([]T{}, d, 3, 0)
	fill := g.param([]T{number(3)}, d)
	v := g.node(compute.OpTypePad, plan.Pad{{}, {Start: 2}}, value(d, 3, 2), empty, fill)
	verify("pad of nothing", g, v, func([]int) T { return number(3) })
	v = g.node(compute.OpTypeTranspose, plan.Axes{1, 0}, value(d, 0, 3), empty)
	verify("transposition of nothing", g, v, nil)
	v = g.node(compute.OpTypeBroadcastInDim, plan.Axes{}, value(d, 5), fill)
	verify("broadcast of a number", g, v, func([]int) T { return number(3) })
}

func TestCopies(t *testing.T) {
	copies(t, dtypes.Bool, func(i int) bool { return i%3 == 1 })
	copies(t, dtypes.Int8, func(i int) int8 { return int8(i * 7) })
	copies(t, dtypes.Uint16, func(i int) uint16 { return uint16(i * 7) })
	copies(t, dtypes.Int32, func(i int) int32 { return int32(i * 7777777) })
	copies(t, dtypes.Float32, func(i int) float32 { return float32(i) })
	copies(t, dtypes.Float64, func(i int) float64 { return float64(i) / 3 })
	copies(t, dtypes.Int64, func(i int) int64 { return int64(i) * 7777777777777 })
	copies(t, dtypes.Complex128, func(i int) complex128 { return complex(float64(i), float64(-i)) })
}

// Bits are copied, not numbers: a NaN keeps its payload, −0 its sign.
func TestCopiesKeepBits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	bits := make([]uint32, 6*700)
	for i := range bits {
		bits[i] = r.Uint32() | 0x7f800000*uint32(i%2) // every second one is infinite or NaN
	}
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		g := &graph{}
		x := g.node(compute.OpTypeTranspose, plan.Axes{1, 0}, tensor(700, 6), g.floats(floatsOf(bits), 6, 700))
		got := bitsOf(g.run(t, table, x)[0].([]float32))
		for i := range 700 {
			for j := range 6 {
				if got[i*6+j] != bits[j*700+i] {
					t.Fatalf("%#x became %#x", bits[j*700+i], got[i*6+j])
				}
			}
		}
		g = &graph{}
		x = g.node(compute.OpTypeReverse, plan.Axes{0}, tensor(len(bits)), g.floats(floatsOf(bits), len(bits)))
		got = bitsOf(g.run(t, table, x)[0].([]float32))
		if slices.Reverse(got); !slices.Equal(got, bits) {
			t.Error("a reversal changed bits")
		}
	})
}
