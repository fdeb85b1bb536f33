package plan

import "github.com/gomlx/compute/dtypes"

// Widen converts numbers of 16 bits to float32.
type Widen struct{}

// A conversion of float16 or bfloat16 to float32 is a view: the value has the type float32, its base has 16 bits. Products
// and convolutions whose second factor, the weights, is such a view read the base and widen what they pack. For everything
// else the base is widened as a whole, by one step that all share.

func is16(t dtypes.DType) bool { return t == dtypes.Float16 || t == dtypes.BFloat16 }

// widens reports whether the node is such a conversion.
func widens(n *Node) bool { return is16(n.In[0].DType) && n.Out[0].DType == dtypes.Float32 }

// half reports whether v is a view in float32 of a base of 16 bits.
func half(v *Value) bool {
	return v.View != nil && v.View.Base.DType != v.DType && is16(v.View.Base.DType)
}

// single returns v, as a view of the widened base if its base has 16 bits.
func (l *lowering) single(v *Value) *Value {
	if !half(v) {
		return v
	}
	base := v.View.Base
	wide, ok := l.wide[base]
	if !ok {
		wide = &Value{DType: dtypes.Float32, Dims: base.Dims}
		l.wide[base] = wide
		l.step(&Widen{}, []*Value{wide}, base)
	}
	return &Value{DType: v.DType, Dims: v.Dims, View: &View{Base: wide, Offset: v.View.Offset, Strides: v.View.Strides}}
}

// singles returns the node with its operands widened, but for weights that are read as they are.
func (l *lowering) singles(n *Node, weights bool) *Node {
	changed := false
	in := make([]*Value, len(n.In))
	for i, v := range n.In {
		if in[i] = v; half(v) && !(weights && i == 1) {
			in[i], changed = l.single(v), true
		}
	}
	if !changed {
		return n
	}
	return &Node{Op: n.Op, Attr: n.Attr, In: in, Out: n.Out, Record: n.Record}
}
