package plan

import (
	"cmp"
	"slices"

	"github.com/gomlx/compute/dtypes"
)

// conv lowers ConvGeneral, which computes
//
//	out[b, o, f] = Σ_{k,c} in[b, (o·stride + k·kernelDilation − pad)/inputDilation, c] · kernel[k, c, f]
//
// and with which autodiff also writes both gradients of a convolution. Those are recognised by the order of the axes in
// memory: an input gradient reads its kernel backwards with the channels swapped, a kernel gradient has the batch where
// the channels are.
func (l *lowering) conv(n *Node) {
	a, out := n.Attr.(Conv), n.Out[0]
	if out.Size() == 0 || n.In[0].Size() == 0 || n.In[1].Size() == 0 {
		l.zeros(n)
		return
	}
	if len(a.Axes.InputSpatial) != 2 || a.ChannelGroups > 1 || a.BatchGroups > 1 {
		l.external(n)
		return
	}
	pair := func(v []int) [2]int {
		if len(v) == 0 {
			return [2]int{1, 1}
		}
		return [2]int{v[0], v[1]}
	}
	g := geometry{stride: pair(a.Strides), inDilation: pair(a.InputDilations), dilation: pair(a.KernelDilations)}
	if len(a.Paddings) > 0 {
		g.pad = [2]int{a.Paddings[0][0], a.Paddings[1][0]}
	}
	in, kernel := l.entire(n.In[0]), l.entire(n.In[1])
	x := l.oriented(in, a.Axes.InputBatch, a.Axes.InputSpatial, a.Axes.InputChannels)
	w := l.oriented(kernel, a.Axes.KernelSpatial[0], []int{a.Axes.KernelSpatial[1], a.Axes.KernelInputChannels}, a.Axes.KernelOutputChannels)
	y := l.oriented(out, a.Axes.OutputBatch, a.Axes.OutputSpatial, a.Axes.OutputChannels)
	one := [2]int{1, 1}
	switch {
	case g.inDilation == one && x.dense() && w.dense() && y.dense():
		l.forward(n.Out, x, w, y, g)
	case g.stride == one && x.dense() && y.dense() && w.backwards():
		// dy of the forward pass is x here; its stride is our input dilation.
		c := &Convolution{Pass: InputGrad, Batch: y.dims[0], H: y.dims[1], W: y.dims[2], Ci: y.dims[3],
			Kh: w.dims[0], Kw: w.dims[1], Co: x.dims[3], outH: x.dims[1], outW: x.dims[2]}
		c.set(g.inDilation, g.dilation, (w.dims[0]-1)*g.dilation[0]-g.pad[0], (w.dims[1]-1)*g.dilation[1]-g.pad[1])
		l.step(c, n.Out, x.view.Base, w.view.Base)
	case g.inDilation == one && x.turned() && w.gradient() && y.kernel():
		if half(kernel) {
			w.view.Base = l.single(kernel).View.Base
		}
		c := &Convolution{Pass: KernelGrad, Batch: x.dims[3], H: x.dims[1], W: x.dims[2], Ci: x.dims[0],
			Kh: y.dims[1], Kw: y.dims[2], Co: w.dims[3], outH: w.dims[0], outW: w.dims[1]}
		c.set(g.dilation, g.stride, g.pad[0], g.pad[1])
		l.step(c, n.Out, x.view.Base, w.view.Base)
	case g.inDilation == one:
		// Any other layout is brought into the usual one.
		t := &Value{DType: dtypes.Float32, Dims: y.dims}
		l.forward([]*Value{t}, l.straight(x), l.straight(w), arrangement{dims: y.dims, view: seen(t)}, g)
		back := View{Base: t, Strides: make([]int, len(out.Dims))}
		for axis, stride := range rowMajor(y.dims) {
			back.Strides[y.axes[axis]] = stride
		}
		out.View = &back
	default:
		l.external(n)
	}
}

// entire returns v if it is all of its base in some order of axes and directions, else a dense copy.
func (l *lowering) entire(v *Value) *Value {
	s := seen(v)
	strides := make([]int, len(v.Dims))
	order := make([]int, len(v.Dims))
	for i, stride := range s.Strides {
		strides[i], order[i] = max(stride, -stride), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(strides[b], strides[a]) })
	stride := 1
	for _, axis := range slices.Backward(order) {
		if v.Dims[axis] != 1 && strides[axis] != stride {
			return l.dense(v)
		}
		stride *= v.Dims[axis]
	}
	if stride != s.Base.Size() {
		return l.dense(v)
	}
	return v
}

type geometry struct{ stride, inDilation, dilation, pad [2]int }

// set sets what the three passes share. The trailing padding is what makes the size of the result right; it may cut.
func (c *Convolution) set(stride, dilation [2]int, top, left int) {
	c.StrideH, c.StrideW, c.DilationH, c.DilationW = stride[0], stride[1], dilation[0], dilation[1]
	c.PadTop, c.PadLeft = top, left
	c.PadBottom = (c.outH-1)*c.StrideH + (c.Kh-1)*c.DilationH + 1 - c.H - top
	c.PadRight = (c.outW-1)*c.StrideW + (c.Kw-1)*c.DilationW + 1 - c.W - left
}

func (l *lowering) forward(out []*Value, x, w, y arrangement, g geometry) {
	c := &Convolution{Pass: Forward, Batch: x.dims[0], H: x.dims[1], W: x.dims[2], Ci: x.dims[3],
		Kh: w.dims[0], Kw: w.dims[1], Co: w.dims[3], outH: y.dims[1], outW: y.dims[2]}
	c.set(g.stride, g.dilation, g.pad[0], g.pad[1])
	l.step(c, out, x.view.Base, w.view.Base)
}

// arrangement is a tensor with its four axes in a convolution's order: [batch, h, w, channel] or [h, w, in, out].
type arrangement struct {
	dims []int
	axes []int // axes[i] is the tensor's own axis that became axis i
	view View
}

func (l *lowering) oriented(v *Value, first int, middle []int, last int) arrangement {
	a := arrangement{axes: []int{first, middle[0], middle[1], last}, dims: make([]int, 4)}
	s := seen(v)
	strides := make([]int, 4)
	for i, axis := range a.axes {
		a.dims[i], strides[i] = v.Dims[axis], s.Strides[axis]
	}
	a.view = View{Base: s.Base, Offset: s.Offset, Strides: strides}
	return a
}

// straight returns a dense copy in the arrangement's order.
func (l *lowering) straight(a arrangement) arrangement {
	v := l.dense(&Value{DType: dtypes.Float32, Dims: a.dims, View: &a.view})
	return arrangement{dims: a.dims, view: View{Base: v, Strides: rowMajor(a.dims)}}
}

// like reports whether the arrangement is all of its base, whose dimensions are those at the given places, from the
// slowest to the fastest. Reversed axes are given as places + 4.
func (a arrangement) like(order ...int) bool {
	stride, offset := 1, 0
	for _, place := range slices.Backward(order) {
		want := stride
		if place >= 4 {
			place -= 4
			want = -stride
			offset += (a.dims[place] - 1) * stride
		}
		if a.dims[place] != 1 && a.view.Strides[place] != want {
			return false
		}
		stride *= a.dims[place]
	}
	return a.view.Offset == offset && a.view.Base.Size() == stride
}

func (a arrangement) dense() bool     { return a.like(0, 1, 2, 3) }
func (a arrangement) backwards() bool { return a.like(4, 5, 3, 2) } // [h, w, in, out] of a kernel [H, W, out, in], reversed
func (a arrangement) turned() bool    { return a.like(3, 1, 2, 0) } // [channel, h, w, batch] of [batch, h, w, channel]
func (a arrangement) gradient() bool  { return a.like(2, 0, 1, 3) } // [h, w, batch, channel] of [batch, h, w, channel]
func (a arrangement) kernel() bool    { return a.like(1, 2, 0, 3) } // [in, h, w, out] of [h, w, in, out]
