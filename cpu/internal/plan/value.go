package plan

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
)

// Value is one tensor of a graph. It is a parameter, a constant, the result of a node, or a view of another value.
type Value struct {
	ID    int
	DType dtypes.DType
	Dims  []int

	View  *View // not nil: the memory is that of View.Base
	Const any   // not nil: a flat slice of the constant's elements
	Param int   // 1 + index of the parameter, or 0
	node  *Node // what computes it, or nil
}

// Size returns the number of elements.
func (v *Value) Size() int { return size(v.Dims) }

func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// View says which element of Base is element (i₀, i₁, …): the one at Offset + Σ iₖ·Strides[k], counted in elements.
// A stride is 0 along a broadcast axis and negative along a reversed one.
type View struct {
	Base    *Value
	Offset  int
	Strides []int
}

// rowMajor returns the strides of a dense array.
func rowMajor(dims []int) []int {
	strides := make([]int, len(dims))
	n := 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = n
		n *= dims[i]
	}
	return strides
}

// seen returns how v lies in memory: its own dense view if it is not a view of another value.
func seen(v *Value) View {
	if v.View != nil {
		return *v.View
	}
	return View{Base: v, Strides: rowMajor(v.Dims)}
}

// Dense reports whether elements of these dimensions with these strides lie one after another in row-major order.
func Dense(dims, strides []int) bool {
	n := 1
	for i := len(dims) - 1; i >= 0; i-- {
		if dims[i] != 1 && strides[i] != n {
			return false
		}
		n *= dims[i]
	}
	return true
}

// alias reports whether v is all of its base in the same order, and returns the base.
func alias(v *Value) (*Value, bool) {
	if v.View == nil {
		return v, true
	}
	if v.View.Offset == 0 && v.Size() == v.View.Base.Size() && Dense(v.Dims, v.View.Strides) {
		return v.View.Base, true
	}
	return nil, false
}

// Collapse merges adjacent axes that can be walked as one, and drops axes of size 1. All operands (one list of strides
// each) must allow a merge.
func Collapse(dims []int, strides ...[]int) ([]int, [][]int) {
	out := make([][]int, len(strides))
	var merged []int
	for i, d := range dims {
		if d == 1 {
			continue
		}
		last := len(merged) - 1
		joins := last >= 0
		for k, s := range strides {
			joins = joins && out[k][last] == s[i]*d
		}
		if joins {
			merged[last] *= d
			for k, s := range strides {
				out[k][last] = s[i]
			}
			continue
		}
		merged = append(merged, d)
		for k, s := range strides {
			out[k] = append(out[k], s[i])
		}
	}
	return merged, out
}

// reshape returns the strides of a view after a change of dimensions, or false if no strides describe it.
func reshape(from, strides, to []int) ([]int, bool) {
	if size(from) == 0 {
		return rowMajor(to), true
	}
	merged, s := Collapse(from, strides)
	out := make([]int, len(to))
	k := len(merged) - 1
	left := 1 // elements of merged[k] not yet covered, filled from the end
	var stride int
	if k >= 0 {
		left, stride = merged[k], s[0][k]
	}
	for i := len(to) - 1; i >= 0; i-- {
		d := to[i]
		if d == 1 {
			continue
		}
		if left == 1 {
			if k--; k < 0 {
				return nil, false
			}
			left, stride = merged[k], s[0][k]
		}
		if left%d != 0 {
			return nil, false
		}
		out[i] = stride
		stride *= d
		left /= d
	}
	return out, true
}

func same(a, b []int) bool { return slices.Equal(a, b) }
