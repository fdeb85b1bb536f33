package plan

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"pgregory.net/rapid"
)

// stridesOf draws strides: those of a dense array, of its permutations, broadcasts and reversals, or any.
func stridesOf(t *rapid.T, dims []int) []int {
	strides := rowMajor(dims)
	for i := range strides {
		switch rapid.IntRange(0, 9).Draw(t, "change") {
		case 0:
			strides[i] = 0
		case 1:
			strides[i] = -strides[i]
		case 2:
			strides[i] = rapid.IntRange(-7, 7).Draw(t, "stride")
		case 3:
			strides[i] *= 2
		}
	}
	return strides
}

// A collapsed view has the same elements in the same order, no axes of 1, and nothing left to merge.
func TestCollapse(t *testing.T) {
	check(t, func(t *rapid.T) {
		dims := dimsOf(t, "dims", 5)
		operands := make([][]int, rapid.IntRange(1, 3).Draw(t, "operands"))
		for k := range operands {
			operands[k] = stridesOf(t, dims)
		}
		merged, strides := Collapse(dims, operands...)
		if len(strides) != len(operands) || slices.Contains(merged, 1) {
			t.Fatalf("collapsed to %v with %d operands", merged, len(strides))
		}
		for k := range operands {
			if got, want := offsets(3, merged, strides[k]), offsets(3, dims, operands[k]); !slices.Equal(got, want) {
				t.Fatalf("operand %d: %v with strides %v became %v with %v", k, dims, operands[k], merged, strides[k])
			}
		}
		for i := 1; i < len(merged); i++ {
			joins := true
			for _, s := range strides {
				joins = joins && s[i-1] == s[i]*merged[i]
			}
			if joins && size(dims) > 0 {
				t.Fatalf("axes %d and %d of %v with %v could be one", i-1, i, merged, strides)
			}
		}
	})
}

func TestDense(t *testing.T) {
	check(t, func(t *rapid.T) {
		dims := dimsOf(t, "dims", 4)
		strides := stridesOf(t, dims)
		if size(dims) == 0 {
			return // without elements every answer is right
		}
		want := true
		for i, at := range offsets(0, dims, strides) {
			want = want && at == i
		}
		if got := Dense(dims, strides); got != want {
			t.Fatalf("Dense(%v, %v) is %t", dims, strides, got)
		}
	})
}

// A reshaped view has the same elements in the same order; and it is found whenever there is one.
func TestReshape(t *testing.T) {
	check(t, func(t *rapid.T) {
		from := dimsOf(t, "from", 4)
		strides := stridesOf(t, from)
		to := factorOf(t, "to", size(from))
		got, ok := reshape(from, strides, to)
		want := offsets(0, from, strides)
		if ok && !slices.Equal(offsets(0, to, got), want) {
			t.Fatalf("%v with strides %v became %v with %v", from, strides, to, got)
		}
		if !ok && describable(to, want) {
			t.Fatalf("no strides for %v with %v as %v, but there are some", from, strides, to)
		}
	})
}

// describable reports whether strides exist with which dims has the given offsets.
func describable(dims []int, want []int) bool {
	strides := make([]int, len(dims))
	for i, s := range rowMajor(dims) {
		if dims[i] > 1 {
			strides[i] = want[s] - want[0]
		}
	}
	return slices.Equal(offsets(want[0], dims, strides), want)
}

// Views of views, and what copies them, address the elements that a computation index by index does.
func TestViews(t *testing.T) {
	check(t, func(t *rapid.T) {
		g := &graph{}
		x := g.param(dimsOf(t, "dims", 4)...)
		a := array{dims: x.Dims}
		for i := range x.Size() {
			a.flat = append(a.flat, i)
		}
		memory := map[*Value][]int{x: a.flat}
		const fill = 1 << 20
		filler := g.param()
		memory[filler] = []int{fill}
		for range rapid.IntRange(1, 8).Draw(t, "operations") {
			x, a = view1(t, g, x, a, filler, fill)
		}
		p := g.lower(x)
		interpret(t, p, memory)
		if out := p.Outs[0]; out.View != nil || !slices.Equal(memory[out], a.flat) {
			t.Fatalf("%v became %v (view %v), want %v", x.Dims, memory[out], out.View, a.flat)
		}
		// A view that is never needed densely costs nothing.
		if base, ok := alias(x); ok && base == g.params[0] && len(p.Steps) > 0 {
			t.Fatalf("%d copies of what is the parameter itself", len(p.Steps))
		}
	})
}

// view1 draws one operation and returns its result in both forms.
func view1(t *rapid.T, g *graph, x *Value, a array, filler *Value, fill int) (*Value, array) {
	rank := len(x.Dims)
	switch op := rapid.IntRange(0, 7).Draw(t, "operation"); {
	case op == 0:
		dims := factorOf(t, "reshape", x.Size())
		return g.reshape(x, dims...), array{dims, a.flat}
	case op == 1:
		axes := make([]int, rank)
		for i := range axes {
			axes[i] = i
		}
		perm := rapid.Permutation(axes).Draw(t, "perm")
		y := g.transpose(x, perm...)
		return y, a.mapped(y.Dims, 0, func(index []int) []int {
			from := make([]int, rank)
			for i, axis := range perm {
				from[axis] = index[i]
			}
			return from
		})
	case op == 2 && rank > 0:
		axis := rapid.IntRange(0, rank-1).Draw(t, "reverse")
		y := g.reverse(x, axis)
		return y, a.mapped(y.Dims, 0, func(index []int) []int {
			from := slices.Clone(index)
			from[axis] = x.Dims[axis] - 1 - from[axis]
			return from
		})
	case op == 3:
		start, stride, dims := make([]int, rank), make([]int, rank), make([]int, rank)
		for i, d := range x.Dims {
			start[i] = rapid.IntRange(0, max(d-1, 0)).Draw(t, "start")
			stride[i] = rapid.IntRange(1, 3).Draw(t, "stride")
			dims[i] = (rapid.IntRange(start[i], d).Draw(t, "limit") - start[i] + stride[i] - 1) / stride[i]
		}
		return g.slice(x, start, stride, dims), a.mapped(dims, 0, func(index []int) []int {
			from := slices.Clone(index)
			for i := range from {
				from[i] = start[i] + from[i]*stride[i]
			}
			return from
		})
	case op == 4 && rank < 5 && x.Size() < 500:
		at, n := rapid.IntRange(0, rank).Draw(t, "axis"), rapid.IntRange(0, 3).Draw(t, "size")
		dims := slices.Insert(slices.Clone(x.Dims), at, n)
		var axes []int
		for i := range dims {
			if i != at {
				axes = append(axes, i)
			}
		}
		for i, d := range dims { // axes of 1 are broadcast as well
			if d == 1 && rapid.Bool().Draw(t, "expand") {
				dims[i] = 2
			}
		}
		return g.broadcast(x, axes, dims...), a.mapped(dims, 0, func(index []int) []int {
			from := make([]int, rank)
			for i, axis := range axes {
				from[i] = min(index[axis], x.Dims[i]-1)
			}
			return from
		})
	case op == 5 && rank > 0 && x.Size() < 500:
		axis := rapid.IntRange(0, rank-1).Draw(t, "concatenate")
		dims := slices.Clone(x.Dims)
		dims[axis] *= 2
		y := g.node(compute.OpTypeConcatenate, Concatenate(axis), tensor(dims...), x, x)
		return y, a.mapped(dims, 0, func(index []int) []int {
			from := slices.Clone(index)
			from[axis] %= x.Dims[axis]
			return from
		})
	case op == 6 && x.Size() < 500:
		var pads Pad
		dims := slices.Clone(x.Dims)
		for i, d := range dims {
			p := compute.PadAxis{Start: rapid.IntRange(-3, 3).Draw(t, "start"), End: rapid.IntRange(-3, 3).Draw(t, "end"), Interior: rapid.IntRange(0, 2).Draw(t, "interior")}
			dims[i] = d + p.Start + p.End + max(d-1, 0)*p.Interior
			if dims[i] < 0 {
				p, dims[i] = compute.PadAxis{}, d
			}
			pads = append(pads, p)
		}
		y := g.node(compute.OpTypePad, pads, tensor(dims...), x, filler)
		return y, a.mapped(dims, fill, func(index []int) []int {
			from := slices.Clone(index)
			for i, p := range pads {
				k := from[i] - p.Start
				if k < 0 || k%(1+p.Interior) != 0 || k/(1+p.Interior) >= x.Dims[i] {
					return nil
				}
				from[i] = k / (1 + p.Interior)
			}
			return from
		})
	}
	return g.unary(compute.OpTypeIdentity, x), a
}
