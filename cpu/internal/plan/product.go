package plan

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
)

// group is a list of axes of one operand of a product.
type group struct{ dims, strides []int }

func (g *group) add(v *Value, s View, axis int) {
	g.dims = append(g.dims, v.Dims[axis])
	g.strides = append(g.strides, s.Strides[axis])
}

// single returns the group as one axis: its size, its stride, and whether that is possible.
func (g group) single() (n, stride int, ok bool) {
	dims, strides := Collapse(g.dims, g.strides)
	switch len(dims) {
	case 0:
		return 1, 1, true
	case 1:
		return dims[0], strides[0][0], true
	}
	return size(dims), 0, false
}

// dot lowers DotGeneral, whose result is [batch…, cross axes of A…, cross axes of B…].
func (l *lowering) dot(n *Node) {
	attr, out := n.Attr.(Dot), n.Out[0]
	if out.Size() == 0 || n.In[0].Size() == 0 {
		l.zeros(n)
		return
	}
	var sides [2]side
	for i, v := range n.In {
		sides[i] = newSide(v, attr.Contract[i], attr.Batch[i])
	}
	// The contracted axes of both operands must be one axis, in the same order.
	dims, strides := Collapse(sides[0].contract.dims, sides[0].contract.strides, sides[1].contract.strides)
	for i, v := range n.In {
		sides[i].contract = group{dims, strides[i]}
		if len(dims) > 1 || !sides[i].fits() {
			sides[i] = newSide(l.permuted(v, attr.Contract[i], attr.Batch[i]))
		}
	}
	p := &Product{}
	a, b := sides[0], sides[1]
	p.M, p.K, p.LDA, p.TransA = a.matrix(false)
	p.N, _, p.LDB, p.TransB = b.matrix(true)
	if p.TransA && is16(b.view.Base.DType) { // the kernel for that reads B as it lies
		b.view.Base = l.single(n.In[1]).View.Base
	}
	p.OffA, p.OffB = a.view.Offset, b.view.Offset
	batch, s := Collapse(a.batch.dims, a.batch.strides, b.batch.strides)
	c := p.M * p.N
	for i := len(batch) - 1; i >= 0; i-- {
		p.Batch = slices.Insert(p.Batch, 0, BatchAxis{batch[i], s[0][i], s[1][i], c})
		c *= batch[i]
	}
	l.step(p, n.Out, a.view.Base, b.view.Base)
}

// zeros lowers a product that has no terms: the stock backend does not run one.
func (l *lowering) zeros(n *Node) {
	l.step(&Copy{Fill: &Operand{}}, n.Out, &Value{DType: dtypes.Float32, Const: []float32{0}})
}

// side is one operand of a product with its axes sorted by what they do.
type side struct {
	view                   View
	batch, cross, contract group
}

func newSide(v *Value, contract, batch []int) side {
	s := side{view: seen(v)}
	for _, axis := range batch {
		s.batch.add(v, s.view, axis)
	}
	for _, axis := range contract {
		s.contract.add(v, s.view, axis)
	}
	for axis := range v.Dims {
		if !slices.Contains(batch, axis) && !slices.Contains(contract, axis) {
			s.cross.add(v, s.view, axis)
		}
	}
	return s
}

// fits reports whether a matrix product can read the operand where it is: one cross axis and one contracted axis, one of
// them with stride 1 and the other at least as long as a row.
func (s side) fits() bool {
	m, sm, okM := s.cross.single()
	k, sk, okK := s.contract.single()
	if !okM || !okK || slices.ContainsFunc(s.batch.strides, func(stride int) bool { return stride < 0 }) {
		return false
	}
	return k == 1 && sm > 0 || m == 1 && sk > 0 || sk == 1 && sm >= k || sm == 1 && sk >= m
}

// matrix returns the sizes of the cross and contracted axes, the distance of rows in memory, and whether the rows in
// memory are the columns of the factor.
func (s side) matrix(right bool) (cross, contract, ld int, trans bool) {
	m, sm, _ := s.cross.single()
	k, sk, _ := s.contract.single()
	// crossRows: a row in memory runs along the contracted axis.
	var crossRows bool
	switch {
	case k == 1:
		crossRows = !right || sm != 1
	case m == 1:
		crossRows = sk == 1
	default:
		crossRows = sk == 1 && sm >= k
	}
	if crossRows {
		ld = max(sm, k)
	} else {
		ld = max(sk, m)
	}
	return m, k, ld, crossRows == right
}

// permuted returns a dense copy of v as [batch…, cross…, contract…] and the axes of that copy.
func (l *lowering) permuted(v *Value, contract, batch []int) (*Value, []int, []int) {
	s := seen(v)
	var order []int
	order = append(order, batch...)
	for axis := range v.Dims {
		if !slices.Contains(batch, axis) && !slices.Contains(contract, axis) {
			order = append(order, axis)
		}
	}
	order = append(order, contract...)
	t := &Value{DType: dtypes.Float32, Dims: make([]int, len(order))}
	strides := make([]int, len(order))
	for i, axis := range order {
		t.Dims[i], strides[i] = v.Dims[axis], s.Strides[axis]
	}
	t.View = &View{Base: s.Base, Offset: s.Offset, Strides: strides}
	c := l.dense(t)
	c = &Value{DType: c.DType, Dims: t.Dims, View: &View{Base: c, Strides: rowMajor(t.Dims)}}
	axes := func(from, n int) []int {
		out := make([]int, n)
		for i := range out {
			out[i] = from + i
		}
		return out
	}
	return c, axes(len(order)-len(contract), len(contract)), axes(0, len(batch))
}
