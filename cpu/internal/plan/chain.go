package plan

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// Chain evaluates elementwise operations on Size elements in one pass. Booleans are the floats 0 and 1 inside.
type Chain struct {
	Size     int
	Operands []Operand // what is read
	Code     []Instruction
	Results  []Ref // what is written, one for every Out of the step
}

// Instruction is one operation on earlier results and operands.
type Instruction struct {
	Op   compute.OpType
	Args []Ref
}

// Ref names the result of instruction r if r ≥ 0, else operand −1−r.
type Ref int

// Named functions that are elementwise have no operation of compute's; these numbers are beyond those.
const (
	SiLU compute.OpType = compute.OpTypeLast + iota
	SiLUGrad
	GELU
	GELUGrad
	QuickGELU
	QuickGELUGrad
	NotZero // 1 where the argument is not 0
	Copied  // the argument
)

// activations are the named functions that are elementwise.
var activations = map[string]compute.OpType{
	"silu": SiLU, "silu_grad": SiLUGrad, "gelu": GELU, "gelu_grad": GELUGrad, "quick_gelu": QuickGELU, "quick_gelu_grad": QuickGELUGrad,
}

// kinds of elementwise operations by their element types.
const (
	arithmetic = 1 + iota // float32 to float32
	comparison            // float32, or booleans, to boolean
	logical               // booleans to boolean
	choice                // boolean, any two of one type
	conversion
)

var elementwiseOps = map[compute.OpType]int{
	compute.OpTypeAbs: arithmetic, compute.OpTypeAdd: arithmetic, compute.OpTypeAtan2: arithmetic, compute.OpTypeCeil: arithmetic,
	compute.OpTypeClamp: arithmetic, compute.OpTypeCos: arithmetic, compute.OpTypeDiv: arithmetic, compute.OpTypeErf: arithmetic,
	compute.OpTypeExp: arithmetic, compute.OpTypeExpm1: arithmetic, compute.OpTypeFloor: arithmetic, compute.OpTypeLog: arithmetic,
	compute.OpTypeLog1p: arithmetic, compute.OpTypeLogistic: arithmetic, compute.OpTypeMax: arithmetic, compute.OpTypeMin: arithmetic,
	compute.OpTypeMul: arithmetic, compute.OpTypeNeg: arithmetic, compute.OpTypePow: arithmetic, compute.OpTypeRem: arithmetic,
	compute.OpTypeRound: arithmetic, compute.OpTypeRsqrt: arithmetic, compute.OpTypeSign: arithmetic, compute.OpTypeSin: arithmetic,
	compute.OpTypeSqrt: arithmetic, compute.OpTypeSub: arithmetic, compute.OpTypeTanh: arithmetic,
	compute.OpTypeEqual: comparison, compute.OpTypeNotEqual: comparison, compute.OpTypeLessThan: comparison,
	compute.OpTypeLessOrEqual: comparison, compute.OpTypeGreaterThan: comparison, compute.OpTypeGreaterOrEqual: comparison,
	compute.OpTypeIsNaN: comparison, compute.OpTypeIsFinite: comparison,
	compute.OpTypeLogicalAnd: logical, compute.OpTypeLogicalOr: logical, compute.OpTypeLogicalXor: logical, compute.OpTypeLogicalNot: logical,
	compute.OpTypeWhere:        choice,
	compute.OpTypeConvertDType: conversion,
}

func elementwise(n *Node) bool {
	all := func(t dtypes.DType, values ...*Value) bool {
		return !slices.ContainsFunc(values, func(v *Value) bool { return v.DType != t })
	}
	const f, b = dtypes.Float32, dtypes.Bool
	switch elementwiseOps[n.Op] {
	case arithmetic:
		return all(f, n.In...) && all(f, n.Out...)
	case comparison:
		return all(f, n.In...)
	case logical:
		return all(b, n.In...)
	case choice:
		return all(f, n.In[1:]...) || all(b, n.In[1:]...)
	case conversion:
		from, to := n.In[0].DType, n.Out[0].DType
		return (from == f || from == b) && (to == f || to == b)
	}
	if named, ok := n.Attr.(Named); ok && n.Op == compute.OpTypeCall {
		return activations[named.Name] != 0 && all(f, n.In...)
	}
	return false
}

// chain lowers one elementwise node to a chain of one instruction.
func (l *lowering) chain(n *Node) {
	out, op := n.Out[0], n.Op
	switch {
	case op == compute.OpTypeCall:
		op = activations[n.Attr.(Named).Name]
	case op == compute.OpTypeConvertDType && out.DType == dtypes.Bool && n.In[0].DType == dtypes.Float32:
		op = NotZero
	case op == compute.OpTypeConvertDType && out.DType == n.In[0].DType:
		view(out, n.In[0], 0, seen(n.In[0]).Strides)
		return
	case op == compute.OpTypeConvertDType:
		op = Copied
	}
	c := &Chain{Size: out.Size(), Results: []Ref{0}}
	code := Instruction{Op: op}
	var in []*Value
	for i, v := range n.In {
		s := seen(v)
		o := Operand{Input: i, Offset: s.Offset, Dims: out.Dims, Strides: make([]int, len(out.Dims))}
		if len(v.Dims) == len(out.Dims) {
			for axis, d := range v.Dims {
				if d == out.Dims[axis] {
					o.Strides[axis] = s.Strides[axis]
				}
			}
		}
		if !streams(o) {
			// Reading down columns wastes most of every cache line: copy once, in blocks.
			base := l.dense(v)
			o.Offset, s.Base = 0, base
			strides := rowMajor(v.Dims)
			for axis := range o.Strides {
				if o.Strides[axis] != 0 {
					o.Strides[axis] = strides[axis]
				}
			}
		}
		c.Operands = append(c.Operands, o)
		in = append(in, s.Base)
		code.Args = append(code.Args, Ref(-1-i))
	}
	c.Code = []Instruction{code}
	l.step(c, n.Out, in...)
}

// streams reports whether the fastest axis of the operand is contiguous or repeated.
func streams(o Operand) bool {
	_, strides := Collapse(o.Dims, o.Strides)
	s := strides[0]
	return len(s) == 0 || s[len(s)-1] == 0 || s[len(s)-1] == 1
}

// whole reports whether the operand is all of the value v, in order.
func (o Operand) whole(v *Value) bool {
	return o.Offset == 0 && v.Size() == size(o.Dims) && Dense(o.Dims, o.Strides)
}

// longest chain, and the most tensors that one chain reads or writes: its blocks have to fit into the first cache.
const (
	maxCode     = 64
	maxOperands = 16
	maxResults  = 4
)

// joinChains merges chains: a chain joins the earliest chain that uses its result, if that one reads the result element by
// element, and if everything else that uses the result comes later.
func joinChains(p *Program) {
	users := usersOf(p)
	root := map[*Step]*Step{} // of a chain: the chain with which it is evaluated
	members := map[*Step][]*Step{}
	results := map[*Step]int{}
	for _, s := range slices.Backward(p.Steps) {
		c, ok := s.Op.(*Chain)
		if !ok {
			continue
		}
		root[s], members[s], results[s] = s, []*Step{s}, 1
		v := s.Out[0]
		at := func(u *Step) *Step {
			if r, ok := root[u]; ok {
				return r
			}
			return u
		}
		var first *Step
		for _, u := range users[v] {
			if r := at(u); first == nil || r.position < first.position {
				first = r
			}
		}
		if first == nil || members[first] == nil {
			continue
		}
		joins, kept := true, slices.Contains(p.Outs, v)
		for _, u := range users[v] {
			if at(u) != first {
				kept = true
				continue
			}
			for _, o := range u.Op.(*Chain).Operands {
				if u.In[o.Input] == v && !o.whole(v) {
					joins = false
				}
			}
			joins = joins && u.Op.(*Chain).Size == c.Size
		}
		length, operands := 1, len(c.Operands)
		for _, m := range members[first] {
			length++
			operands += len(m.Op.(*Chain).Operands) - 1
		}
		extra := 0
		if kept {
			extra = 1
		}
		if !joins || length > maxCode || operands > maxOperands || results[first]+extra > maxResults {
			continue
		}
		root[s] = first
		members[first] = append(members[first], s)
		results[first] += extra
		delete(members, s)
	}
	var steps []*Step
	for _, s := range p.Steps {
		if r, ok := root[s]; !ok {
			steps = append(steps, s)
		} else if r == s {
			steps = append(steps, merge(members[s], users, p.Outs))
		}
	}
	p.Steps = steps
	number(p)
}

// merge makes one chain of several, the last first.
func merge(members []*Step, users map[*Value][]*Step, outs []*Value) *Step {
	if len(members) == 1 {
		return members[0]
	}
	merged := &Chain{Size: members[0].Op.(*Chain).Size}
	s := &Step{Op: merged}
	refs := map[*Value]Ref{}
	for _, m := range slices.Backward(members) {
		c := m.Op.(*Chain)
		code := Instruction{Op: c.Code[0].Op}
		for _, arg := range c.Code[0].Args {
			o := c.Operands[-1-arg]
			v := m.In[o.Input]
			if ref, ok := refs[v]; ok {
				code.Args = append(code.Args, ref)
				continue
			}
			code.Args = append(code.Args, s.read(merged, v, o))
		}
		v := m.Out[0]
		refs[v] = Ref(len(merged.Code))
		merged.Code = append(merged.Code, code)
		outside := func(u *Step) bool { return !slices.Contains(members, u) }
		if slices.Contains(outs, v) || slices.ContainsFunc(users[v], outside) {
			merged.Results = append(merged.Results, refs[v])
			s.Out = append(s.Out, v)
		}
	}
	return s
}

// read returns the reference of an operand of a merged chain, adding it unless it is there.
func (s *Step) read(c *Chain, v *Value, o Operand) Ref {
	input := slices.Index(s.In, v)
	if input < 0 {
		input = len(s.In)
		s.In = append(s.In, v)
	}
	o.Input = input
	for i, have := range c.Operands {
		if have.Input == o.Input && have.Offset == o.Offset && same(have.Dims, o.Dims) && same(have.Strides, o.Strides) {
			return Ref(-1 - i)
		}
	}
	c.Operands = append(c.Operands, o)
	return Ref(-len(c.Operands))
}
