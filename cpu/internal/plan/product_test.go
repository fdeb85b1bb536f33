package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"pgregory.net/rapid"
)

// viewOf draws a value of the given dimensions that is a view of a new parameter, with axes in another order, parts of
// longer axes, repeated and reversed ones, and returns it with its elements.
func viewOf(t *rapid.T, g *graph, dims []int, memory map[*Value][]int) (*Value, array) {
	rank := len(dims)
	places := make([]int, rank)
	for i := range places {
		places[i] = i
	}
	perm := rapid.Permutation(places).Draw(t, "order") // axis i is axis perm[i] of the parameter
	whole, start, stride, kept := make([]int, rank), make([]int, rank), make([]int, rank), make([]int, rank)
	var reversed, axes []int
	change := rapid.IntRange(0, 2).Draw(t, "changes") > 0
	for i, d := range dims {
		k := perm[i]
		axes = append(axes, i)
		whole[k], stride[k], kept[k] = d, 1, d
		if !change {
			continue
		}
		switch rapid.IntRange(0, 7).Draw(t, "change") {
		case 0:
			whole[k], start[k] = d+3, 2
		case 1:
			whole[k], stride[k] = 2*d, 2
		case 2:
			reversed = append(reversed, k)
		case 3:
			whole[k], kept[k] = 1, 1 // broadcast
		}
	}
	x := g.param(whole...)
	a := array{whole, flat(x.Size(), len(g.params))}
	memory[x] = a.flat
	y := g.slice(x, start, stride, kept)
	y = g.reverse(y, reversed...)
	y = g.transpose(y, perm...)
	y = g.broadcast(y, axes, dims...)
	return y, a.mapped(dims, 0, func(index []int) []int {
		from := make([]int, rank)
		for i, k := range perm {
			from[k] = min(index[i], kept[k]-1)
			if slices.Contains(reversed, k) {
				from[k] = kept[k] - 1 - from[k]
			}
			from[k] = start[k] + stride[k]*from[k]
		}
		return from
	})
}

// axesOf draws which axes of an operand are for what: their sizes are given by role.
func axesOf(t *rapid.T, label string, batch, contract, cross []int) (dims, batchAxes, contractAxes, crossAxes []int) {
	n := len(batch) + len(contract) + len(cross)
	places := make([]int, n)
	for i := range places {
		places[i] = i
	}
	places = rapid.Permutation(places).Draw(t, label)
	dims = make([]int, n)
	for i, d := range slices.Concat(batch, contract, cross) {
		dims[places[i]] = d
	}
	crossAxes = slices.Sorted(slices.Values(places[len(batch)+len(contract):]))
	return dims, places[:len(batch)], places[len(batch) : len(batch)+len(contract)], crossAxes
}

// Every DotGeneral of every view is computed, with what follows it.
func TestDot(t *testing.T) {
	check(t, func(t *rapid.T) {
		sizes := func(label string, n int) []int {
			return rapid.SliceOfN(rapid.SampledFrom([]int{1, 2, 3, 4}), 0, n).Draw(t, label)
		}
		batch, contract := sizes("batch", 2), sizes("contract", 2)
		crossA, crossB := sizes("cross A", 2), sizes("cross B", 2)
		memory := map[*Value][]int{}
		g := &graph{}
		dimsA, batchA, contractA, axesA := axesOf(t, "axes A", batch, contract, crossA)
		dimsB, batchB, contractB, axesB := axesOf(t, "axes B", batch, contract, crossB)
		a, arrayA := viewOf(t, g, dimsA, memory)
		b, arrayB := viewOf(t, g, dimsB, memory)
		y := g.dot(a, b, contractA, contractB, batchA, batchB)
		want := array{dims: y.Dims}
		indexA, indexB := make([]int, len(dimsA)), make([]int, len(dimsB))
		each(y.Dims, func(index []int) {
			for i := range batch {
				indexA[batchA[i]], indexB[batchB[i]] = index[i], index[i]
			}
			rest := index[len(batch):]
			for i, axis := range axesA {
				indexA[axis] = rest[i]
			}
			for i, axis := range axesB {
				indexB[axis] = rest[len(axesA)+i]
			}
			sum := 0
			each(contract, func(k []int) {
				for i := range contract {
					indexA[contractA[i]], indexB[contractB[i]] = k[i], k[i]
				}
				sum += arrayA.at(indexA) * arrayB.at(indexB)
			})
			want.flat = append(want.flat, sum)
		})
		y, want = epilogue(t, g, y, want, memory)
		p := g.lower(y)
		interpret(t, p, memory)
		if got := memory[p.Outs[0]]; !slices.Equal(got, want.flat) {
			t.Fatalf("%v·%v: got %v, want %v; steps %v", dimsA, dimsB, got, want.flat, kinds(p))
		}
	})
}

// epilogue draws additions and a transposition after a product or convolution.
func epilogue(t *rapid.T, g *graph, y *Value, want array, memory map[*Value][]int) (*Value, array) {
	for range rapid.IntRange(0, 3).Draw(t, "epilogues") {
		rank := len(y.Dims)
		var other *Value
		var added array
		switch kind := rapid.IntRange(0, 3).Draw(t, "epilogue"); {
		case kind == 0 && rank > 0: // bias
			last := y.Dims[rank-1]
			other = g.param(last)
			memory[other] = flat(last, len(g.params))
			added = array{[]int{last}, memory[other]}
			added = added.mapped(y.Dims, 0, func(index []int) []int { return index[rank-1:] })
			other = g.broadcast(other, []int{rank - 1}, y.Dims...)
		case kind == 1: // residual
			other = g.param(y.Dims...)
			memory[other] = flat(y.Size(), len(g.params))
			added = array{y.Dims, memory[other]}
		case kind == 2:
			axes := make([]int, rank)
			for i := range axes {
				axes[i] = i
			}
			perm := rapid.Permutation(axes).Draw(t, "transpose")
			y = g.transpose(y, perm...)
			want = want.mapped(y.Dims, 0, func(index []int) []int {
				from := make([]int, rank)
				for i, axis := range perm {
					from[axis] = index[i]
				}
				return from
			})
			continue
		default: // something that cannot move into it
			y = g.unary(compute.OpTypeNeg, y)
			want = array{want.dims, slices.Clone(want.flat)}
			for i := range want.flat {
				want.flat[i] *= -1
			}
			continue
		}
		if rapid.Bool().Draw(t, "swap") {
			y = g.add(other, y)
		} else {
			y = g.add(y, other)
		}
		want = array{want.dims, slices.Clone(want.flat)}
		for i := range want.flat {
			want.flat[i] += added.flat[i]
		}
	}
	return y, want
}

// The products of dense layers and attention read their operands where they are.
func TestProductsWithoutCopies(t *testing.T) {
	type dims = []int
	for _, c := range []struct {
		name                     string
		a, b                     dims
		contractA, contractB     dims
		batchA, batchB           dims
		want                     Product
		transposeA, transposeOut dims
	}{
		{name: "NN", a: dims{5, 3}, b: dims{3, 4}, contractA: dims{1}, contractB: dims{0},
			want: Product{M: 5, N: 4, K: 3, LDA: 3, LDB: 4}},
		{name: "NT", a: dims{5, 3}, b: dims{4, 3}, contractA: dims{1}, contractB: dims{1},
			want: Product{M: 5, N: 4, K: 3, LDA: 3, LDB: 3, TransB: true}},
		{name: "TN", a: dims{3, 5}, b: dims{3, 4}, contractA: dims{0}, contractB: dims{0},
			want: Product{M: 5, N: 4, K: 3, LDA: 5, LDB: 4, TransA: true}},
		{name: "TT", a: dims{3, 5}, b: dims{4, 3}, contractA: dims{0}, contractB: dims{1},
			want: Product{M: 5, N: 4, K: 3, LDA: 5, LDB: 3, TransA: true, TransB: true}},
		{name: "through a transposition", a: dims{3, 5}, transposeA: dims{1, 0}, b: dims{3, 4}, contractA: dims{1}, contractB: dims{0},
			want: Product{M: 5, N: 4, K: 3, LDA: 5, LDB: 4, TransA: true}},
		{name: "rows of several axes", a: dims{2, 5, 3}, b: dims{3, 4}, contractA: dims{2}, contractB: dims{0},
			want: Product{M: 10, N: 4, K: 3, LDA: 3, LDB: 4}},
		{name: "two contracted axes", a: dims{5, 2, 3}, b: dims{2, 3, 4}, contractA: dims{1, 2}, contractB: dims{0, 1},
			want: Product{M: 5, N: 4, K: 6, LDA: 6, LDB: 4}},
		// The gradient of weights as autodiff writes it: dyᵀ·x, and then transposed. The product writes xᵀ·dy itself.
		{name: "weight gradient", a: dims{7, 4}, b: dims{7, 3}, contractA: dims{0}, contractB: dims{0}, transposeOut: dims{1, 0},
			want: Product{M: 3, N: 4, K: 7, LDA: 3, LDB: 4, TransA: true}},
		// Heads of attention: [B, S, H, D] with [B, T, H, D] over D.
		{name: "attention", a: dims{2, 5, 3, 4}, b: dims{2, 6, 3, 4}, contractA: dims{3}, contractB: dims{3}, batchA: dims{0, 2}, batchB: dims{0, 2},
			want: Product{M: 5, N: 6, K: 4, LDA: 12, LDB: 12, TransB: true, Batch: []BatchAxis{{2, 60, 72, 90}, {3, 4, 4, 30}}}},
		// [B, H, S, T] with [B, T, H, D] over T.
		{name: "mixing", a: dims{2, 3, 5, 6}, b: dims{2, 6, 3, 4}, contractA: dims{3}, contractB: dims{1}, batchA: dims{0, 1}, batchB: dims{0, 2},
			want: Product{M: 5, N: 4, K: 6, LDA: 6, LDB: 12, Batch: []BatchAxis{{2, 90, 72, 60}, {3, 30, 4, 20}}}},
		{name: "one batch axis of several", a: dims{2, 3, 5, 6}, b: dims{2, 3, 6, 4}, contractA: dims{3}, contractB: dims{2}, batchA: dims{0, 1}, batchB: dims{0, 1},
			want: Product{M: 5, N: 4, K: 6, LDA: 6, LDB: 4, Batch: []BatchAxis{{6, 30, 24, 20}}}},
	} {
		g := &graph{}
		a, b := g.param(c.a...), g.param(c.b...)
		left := a
		if c.transposeA != nil {
			left = g.transpose(a, c.transposeA...)
		}
		y := g.dot(left, b, c.contractA, c.contractB, c.batchA, c.batchB)
		if c.transposeOut != nil {
			y = g.transpose(y, c.transposeOut...)
		}
		p := g.lower(y)
		if got := kinds(p); !slices.Equal(got, []string{"Product"}) {
			t.Errorf("%s: steps are %v, want one product", c.name, got)
			continue
		}
		if got := *op[*Product](t, p, 0); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// A product that somebody wants transposed, much later, still runs when its operands are there: they are not kept for it.
func TestTranspositionDoesNotDelay(t *testing.T) {
	g := &graph{}
	dw := g.transpose(g.dot(g.param(7, 4), g.param(7, 3), []int{0}, []int{0}, nil, nil), 1, 0)
	other := g.unary(compute.OpTypeExp, g.param(5))
	if got, want := kinds(g.lower(other, dw)), []string{"Product", "chain of 1"}; !slices.Equal(got, want) {
		t.Errorf("steps are %v, want %v", got, want)
	}
}

// Bias and residual move into the product or convolution, in the order in which they are added.
func TestEpilogues(t *testing.T) {
	dense := func(g *graph, rows int) *Value {
		return g.dot(g.param(rows, 3), g.param(3, 4), []int{1}, []int{0}, nil, nil)
	}
	row := func(g *graph, rows int) *Value { return g.broadcast(g.param(4), []int{1}, rows, 4) }
	for _, c := range []struct {
		name           string
		build          func(g *graph) *Value
		bias, residual bool
		want           []string
	}{
		{"bias", func(g *graph) *Value { return g.add(dense(g, 5), row(g, 5)) }, true, false, []string{"Product"}},
		{"bias first", func(g *graph) *Value { return g.add(row(g, 5), dense(g, 5)) }, true, false, []string{"Product"}},
		{"residual", func(g *graph) *Value { return g.add(dense(g, 5), g.param(5, 4)) }, false, true, []string{"Product"}},
		{"both", func(g *graph) *Value { return g.add(g.param(5, 4), g.add(dense(g, 5), row(g, 5))) }, true, true, []string{"Product"}},
		{"a third", func(g *graph) *Value {
			return g.add(g.param(5, 4), g.add(g.param(5, 4), g.add(dense(g, 5), row(g, 5))))
		}, true, true, []string{"Product", "chain of 1"}},
		// (x·w + residual) + bias is rounded in another order than the kernel does.
		{"bias last", func(g *graph) *Value { return g.add(g.add(dense(g, 5), g.param(5, 4)), row(g, 5)) }, false, true, []string{"Product", "chain of 1"}},
		{"through a reshape", func(g *graph) *Value {
			return g.add(g.reshape(dense(g, 6), 2, 3, 4), g.broadcast(g.param(4), []int{2}, 2, 3, 4))
		}, true, false, []string{"Product"}},
		{"one row", func(g *graph) *Value { return g.add(dense(g, 1), row(g, 1)) }, true, false, []string{"Product"}},
		{"a computed residual", func(g *graph) *Value {
			return g.add(dense(g, 5), g.unary(compute.OpTypeExp, g.param(5, 4)))
		}, false, true, []string{"chain of 1", "Product"}},
		{"a column", func(g *graph) *Value { return g.add(dense(g, 5), g.param(5, 1)) }, false, false, []string{"Product", "chain of 1"}},
		{"a scalar", func(g *graph) *Value { return g.add(dense(g, 5), g.param()) }, false, false, []string{"Product", "chain of 1"}},
		{"a product", func(g *graph) *Value { return g.mul(dense(g, 5), row(g, 5)) }, false, false, []string{"Product", "chain of 1"}},
		{"itself", func(g *graph) *Value { y := dense(g, 5); return g.add(y, y) }, false, false, []string{"Product", "chain of 1"}},
		{"reversed", func(g *graph) *Value { return g.add(g.reverse(dense(g, 5), 0), g.param(5, 4)) }, false, false, []string{"Product", "chain of 1"}},
		{"also needed alone", func(g *graph) *Value {
			y := dense(g, 5)
			return g.dot(g.add(y, row(g, 5)), y, []int{0, 1}, []int{0, 1}, nil, nil)
		}, false, false, []string{"Product", "chain of 1", "Product"}},
	} {
		g := &graph{}
		p := g.lower(c.build(g))
		if got := kinds(p); !slices.Equal(got, c.want) {
			t.Errorf("%s: steps are %v, want %v", c.name, got, c.want)
			continue
		}
		for _, s := range p.Steps {
			if product, ok := s.Op.(*Product); ok && (product.Bias > 0 != c.bias || product.Residual > 0 != c.residual) {
				t.Errorf("%s: bias is operand %d and residual operand %d", c.name, product.Bias, product.Residual)
			}
		}
	}
	// An output stays what it is.
	g := &graph{}
	y := dense(g, 5)
	steps(t, g.lower(g.add(y, row(g, 5)), y), "Product", "chain of 1")
	// The residual may be made after the product.
	g = &graph{}
	y = dense(g, 5)
	steps(t, g.lower(g.add(y, g.reduce(g.param(2, 5, 4), 0))), "Reduction", "Product")
}
