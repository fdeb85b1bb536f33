package plan

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// Lower turns nodes, in an order in which every node follows its inputs, into a program.
func Lower(nodes []*Node, params, outs []*Value) *Program {
	l := &lowering{copies: map[*Value]*Value{}, wide: map[*Value]*Value{}}
	for i, p := range params {
		p.Param = i + 1
	}
	for _, n := range live(nodes, outs) {
		l.lower(n)
	}
	p := &Program{Params: params}
	for _, v := range outs {
		p.Outs = append(p.Outs, l.dense(v))
	}
	p.Steps = l.steps
	fuseEpilogues(p)
	joinChains(p)
	return p
}

// live returns the nodes that outs depend on.
func live(nodes []*Node, outs []*Value) []*Node {
	for _, n := range nodes {
		for _, v := range n.Out {
			v.node = n
		}
	}
	wanted := map[*Node]bool{}
	for _, v := range outs {
		wanted[v.node] = true
	}
	for _, n := range slices.Backward(nodes) {
		if wanted[n] {
			for _, v := range n.In {
				wanted[v.node] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return !wanted[n] })
}

type lowering struct {
	steps  []*Step
	copies map[*Value]*Value // of views that some step needs dense
	wide   map[*Value]*Value // of bases of 16 bits, in float32
}

func (l *lowering) step(op any, out []*Value, in ...*Value) *Step {
	s := &Step{Op: op, In: in, Out: out}
	l.steps = append(l.steps, s)
	return s
}

// view makes out a view of in with the given offset and strides relative to in's elements in memory.
func view(out, in *Value, offset int, strides []int) {
	s := seen(in)
	out.View = &View{Base: s.Base, Offset: s.Offset + offset, Strides: strides}
}

// dense returns a value that is not a view and holds v's elements in row-major order: v's base, or a copy.
func (l *lowering) dense(v *Value) *Value {
	if base, ok := alias(v); ok && !half(v) {
		return base
	}
	if c, ok := l.copies[v]; ok {
		return c
	}
	if half(v) {
		c := l.dense(l.single(v))
		l.copies[v] = c
		return c
	}
	c := &Value{DType: v.DType, Dims: v.Dims}
	l.copies[v] = c
	s := seen(v)
	from := Operand{Offset: s.Offset, Dims: v.Dims, Strides: s.Strides}
	l.step(&Copy{Regions: []Region{{From: from, To: rowMajor(v.Dims)}}}, []*Value{c}, s.Base)
	return c
}

func (l *lowering) lower(n *Node) {
	if packed(n) {
		l.external(n)
		return
	}
	var in View
	if len(n.In) > 0 {
		in = seen(n.In[0])
	}
	out := n.Out[0]
	switch n.Op {
	case compute.OpTypeIdentity, compute.OpTypeOptimizationBarrier, compute.OpTypeSchedulingBarrier:
		for i, v := range n.Out {
			s := seen(n.In[i])
			view(v, n.In[i], 0, s.Strides)
		}
		return
	case compute.OpTypeReshape:
		strides, ok := reshape(n.In[0].Dims, in.Strides, out.Dims)
		if !ok {
			view(out, l.dense(n.In[0]), 0, rowMajor(out.Dims))
			return
		}
		view(out, n.In[0], 0, strides)
		return
	case compute.OpTypeTranspose:
		strides := make([]int, len(out.Dims))
		for i, axis := range n.Attr.(Axes) {
			strides[i] = in.Strides[axis]
		}
		view(out, n.In[0], 0, strides)
		return
	case compute.OpTypeReverse:
		strides, offset := slices.Clone(in.Strides), 0
		for _, axis := range n.Attr.(Axes) {
			offset += (max(out.Dims[axis], 1) - 1) * strides[axis]
			strides[axis] = -strides[axis]
		}
		view(out, n.In[0], offset, strides)
		return
	case compute.OpTypeSlice:
		a := n.Attr.(Slice)
		strides, offset := slices.Clone(in.Strides), 0
		for axis := range strides {
			offset += a.Start[axis] * strides[axis]
			strides[axis] *= a.Stride[axis]
		}
		view(out, n.In[0], offset, strides)
		return
	case compute.OpTypeBroadcastInDim:
		strides := make([]int, len(out.Dims))
		for i, axis := range n.Attr.(Axes) {
			if n.In[0].Dims[i] == out.Dims[axis] {
				strides[axis] = in.Strides[i]
			}
		}
		view(out, n.In[0], 0, strides)
		return
	case compute.OpTypeConvertDType:
		if widens(n) {
			view(out, n.In[0], 0, in.Strides)
			return
		}
	case compute.OpTypeGather:
		if _, rows := n.Attr.(Rows); rows {
			table := n.In[0]
			l.step(&Lookup{Rows: table.Dims[0], Width: size(table.Dims[1:])}, n.Out, l.dense(table), l.dense(n.In[1]))
			return
		}
	}
	n = l.singles(n, n.Op == compute.OpTypeDotGeneral || n.Op == compute.OpTypeConvGeneral)
	switch {
	case n.Op == compute.OpTypeConcatenate:
		l.concatenate(n)
	case n.Op == compute.OpTypePad:
		l.pad(n)
	case elementwise(n):
		l.chain(n)
	case len(n.In) == 0 || out.DType != dtypes.Float32 || n.In[0].DType != dtypes.Float32:
		l.external(n)
	case n.Op == compute.OpTypeReduceSum || n.Op == compute.OpTypeReduceMax || n.Op == compute.OpTypeReduceMin:
		l.reduce(n)
	case n.Op == compute.OpTypeDotGeneral && n.In[1].DType == dtypes.Float32:
		l.dot(n)
	case n.Op == compute.OpTypeConvGeneral && n.In[1].DType == dtypes.Float32:
		l.conv(n)
	case n.Op == compute.OpTypeFusedSoftmax && int(n.Attr.(Softmax)) == len(out.Dims)-1:
		width := out.Dims[len(out.Dims)-1]
		l.step(&SoftmaxRows{Rows: out.Size() / max(width, 1), Width: width}, n.Out, l.dense(n.In[0]))
	case n.Op == compute.OpTypeCall:
		named, in := n.Attr.(Named), make([]*Value, len(n.In))
		for i, v := range n.In {
			in[i] = l.dense(v)
			named.In = append(named.In, v.Dims)
		}
		for _, v := range n.Out {
			named.Out = append(named.Out, v.Dims)
		}
		l.shareSums(l.step(named, n.Out, in...))
	default:
		l.external(n)
	}
}

// packed reports whether several elements of a tensor share a byte, which views cannot express.
func packed(n *Node) bool {
	for _, v := range slices.Concat(n.In, n.Out) {
		if v.DType.IsPacked() {
			return true
		}
	}
	return false
}

func (l *lowering) external(n *Node) {
	in := make([]*Value, len(n.In))
	for i, v := range n.In {
		in[i] = l.dense(v)
	}
	l.step(External{Record: n.Record}, n.Out, in...)
}

func (l *lowering) concatenate(n *Node) {
	axis, out := int(n.Attr.(Concatenate)), n.Out[0]
	to, c, offset := rowMajor(out.Dims), &Copy{}, 0
	var in []*Value
	for i, v := range n.In {
		s := seen(v)
		c.Regions = append(c.Regions, Region{From: Operand{Input: i, Offset: s.Offset, Dims: v.Dims, Strides: s.Strides}, ToOffset: offset, To: to})
		offset += v.Dims[axis] * to[axis]
		in = append(in, s.Base)
	}
	l.step(c, n.Out, in...)
}

func (l *lowering) pad(n *Node) {
	out, x := n.Out[0], n.In[0]
	s, fill := seen(x), seen(n.In[1])
	to, toOffset, offset := rowMajor(out.Dims), 0, s.Offset
	dims := slices.Clone(x.Dims)
	for axis, p := range n.Attr.(Pad) {
		// Element i goes to Start + i·(1+Interior); keep those that stay inside.
		step := 1 + p.Interior
		first := max(0, (-p.Start+step-1)/step)
		last := min(dims[axis]-1, floorDiv(out.Dims[axis]-1-p.Start, step))
		dims[axis] = max(0, last-first+1)
		offset += first * s.Strides[axis]
		toOffset += (p.Start + first*step) * to[axis]
		to[axis] *= step
	}
	l.step(&Copy{
		Fill:    &Operand{Input: 1, Offset: fill.Offset},
		Regions: []Region{{From: Operand{Offset: offset, Dims: dims, Strides: s.Strides}, ToOffset: toOffset, To: to}},
	}, n.Out, s.Base, fill.Base)
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// reduce reduces one run of adjacent axes at a time, the last run first.
func (l *lowering) reduce(n *Node) {
	axes, x := n.Attr.(Axes), n.In[0]
	dims := slices.Clone(x.Dims)
	reduced := make([]bool, len(dims))
	for i := range reduced {
		reduced[i] = len(axes) == 0 || slices.Contains(axes, i)
	}
	from := l.dense(x)
	for end := len(dims); end > 0; {
		if !reduced[end-1] {
			end--
			continue
		}
		start := end - 1
		for start > 0 && (reduced[start-1] || dims[start-1] == 1) {
			start--
		}
		r := &Reduction{Op: n.Op, Outer: size(dims[:start]), Reduce: size(dims[start:end]), Inner: size(dims[end:])}
		for i := start; i < end; i++ {
			dims[i] = 1
		}
		to := &Value{DType: x.DType, Dims: slices.Clone(dims)}
		l.step(r, []*Value{to}, from)
		from, end = to, start
	}
	view(n.Out[0], from, 0, rowMajor(n.Out[0].Dims))
}
