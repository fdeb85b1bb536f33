package exec

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// block is the number of elements on which a chain runs all its instructions before it goes on to the next ones: a few
// registers of this length stay in the first cache.
const block = 1024

// chain interprets a [plan.Chain]. A register is a block of floats; which memory it is, is in a table of pointers that is
// renewed for every block, so that operands that are read element by element need no copy.
type chain struct {
	*Instance
	size    int
	loads   []load
	code    []instruction
	results []result
	scalars []scalar
	private int // registers with memory of their own
	table   int // registers in all
	parts   int
	work    func(part, worker int)
	tables  [][]*float32 // by worker
}

// load fills a register with an operand.
type load struct {
	slot, register int
	direct         bool // the register is the operand's own memory
	boolean        bool
	offset         int
	dims, strides  []int
}

// scalar is an operand that is one number.
type scalar struct {
	slot, offset int
	boolean      bool
	value        float32
}

type instruction struct {
	unary        kern.Unary
	binary       kern.Binary
	scalar       kern.Scalar
	choose       bool
	dst, a, b, c int
	s            int // index of the scalar
}

type result struct {
	slot, register  int
	boolean, direct bool // direct: the last instruction writes there
}

func (i *Instance) chain(op *plan.Chain, s *plan.Step) (func() error, error) {
	c := &chain{Instance: i, size: op.Size, tables: make([][]*float32, i.ctx.Pool.Workers())}
	b := &allocation{chain: c, op: op, step: s, at: map[plan.Ref]int{}, last: map[plan.Ref]int{}}
	if err := b.allocate(); err != nil {
		return nil, err
	}
	const grain = 16 * block
	if c.parts = 1; c.size*len(c.code) > 4*grain {
		c.parts = (c.size + grain - 1) / grain
	}
	c.work = func(part, worker int) {
		if c.parts == 1 {
			c.run(0, c.size, worker)
			return
		}
		c.run(part*grain, min(c.size, (part+1)*grain), worker)
	}
	for w := range c.tables {
		c.tables[w] = make([]*float32, c.table)
	}
	return func() error {
		for k := range c.scalars {
			s := &c.scalars[k]
			if s.boolean {
				s.value = number(c.memory[s.slot].Flat.([]bool)[s.offset])
			} else {
				s.value = c.memory[s.slot].F32[s.offset]
			}
		}
		if c.size > 0 {
			c.ctx.Pool.Run(c.parts, c.work)
		}
		return nil
	}, nil
}

func number(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

// run evaluates the chain on elements [from, to).
func (c *chain) run(from, to, worker int) {
	// A block of padding keeps registers from sharing cache sets.
	const stride = block + 16
	scratch := c.ctx.Scratch(worker, c.private*stride)
	table := c.tables[worker]
	for r := range c.private {
		table[r] = &scratch[r*stride]
	}
	for lo := from; lo < to; lo += block {
		n := min(block, to-lo)
		for k := range c.loads {
			l := &c.loads[k]
			m := &c.memory[l.slot]
			switch {
			case l.direct:
				table[l.register] = &m.F32[l.offset+lo]
			case l.boolean:
				l.booleans(scratch[l.register*stride:][:n], m.Flat.([]bool), lo)
			default:
				l.floats(scratch[l.register*stride:][:n], m.F32, lo)
			}
		}
		for k := range c.results {
			if r := &c.results[k]; r.direct {
				table[r.register] = &c.memory[r.slot].F32[lo]
			}
		}
		for k := range c.code {
			i := &c.code[k]
			switch {
			case i.binary != nil:
				i.binary(table[i.dst], table[i.a], table[i.b], n)
			case i.unary != nil:
				i.unary(table[i.dst], table[i.a], n)
			case i.scalar != nil:
				i.scalar(table[i.dst], table[i.a], c.scalars[i.s].value, n)
			case i.choose:
				c.ctx.Vec.Select(table[i.dst], table[i.a], table[i.b], table[i.c], n)
			default:
				c.ctx.Vec.Fill(table[i.dst], c.scalars[i.s].value, n)
			}
		}
		for k := range c.results {
			r := &c.results[k]
			switch {
			case r.direct:
			case r.boolean:
				src := unsafe.Slice(table[r.register], n)
				for j, x := range src {
					c.memory[r.slot].Flat.([]bool)[lo+j] = x != 0
				}
			default:
				copy(c.memory[r.slot].F32[lo:lo+n], unsafe.Slice(table[r.register], n))
			}
		}
	}
}

// floats copies elements lo, lo+1, … of a broadcast operand.
func (l *load) floats(dst, src []float32, lo int) {
	last := len(l.dims) - 1
	inner, stride := l.dims[last], l.strides[last]
	row, j := lo/inner, lo%inner
	for len(dst) > 0 {
		offset := l.offset
		for k, rest := last-1, row; k >= 0; k-- {
			offset += rest % l.dims[k] * l.strides[k]
			rest /= l.dims[k]
		}
		n := min(inner-j, len(dst))
		if stride == 0 {
			x := src[offset]
			for k := range dst[:n] {
				dst[k] = x
			}
		} else {
			copy(dst[:n], src[offset+j:])
		}
		dst, row, j = dst[n:], row+1, 0
	}
}

// booleans is floats for booleans.
func (l *load) booleans(dst []float32, src []bool, lo int) {
	for k := range dst {
		offset := l.offset
		rest := lo + k
		for a := len(l.dims) - 1; a >= 0; a-- {
			offset += rest % l.dims[a] * l.strides[a]
			rest /= l.dims[a]
		}
		dst[k] = number(src[offset])
	}
}

// allocation assigns registers to the operands and results of a chain.
type allocation struct {
	*chain
	op   *plan.Chain
	step *plan.Step
	at   map[plan.Ref]int // register of a value
	last map[plan.Ref]int // last instruction that reads it
	free []int
}

func (b *allocation) register() int {
	if n := len(b.free); n > 0 {
		r := b.free[n-1]
		b.free = b.free[:n-1]
		return r
	}
	b.private++
	return b.private - 1
}

func (b *allocation) allocate() error {
	for k, code := range b.op.Code {
		for _, arg := range code.Args {
			b.last[arg] = k
		}
	}
	for _, ref := range b.op.Results {
		b.last[ref] = len(b.op.Code)
	}
	constant := map[plan.Ref]int{} // scalar operands
	var direct []int               // loads without a register of their own
	for k, o := range b.op.Operands {
		ref := plan.Ref(-1 - k)
		v := b.step.In[o.Input]
		dims, strides := plan.Collapse(o.Dims, o.Strides)
		l := load{slot: b.slot(v), boolean: v.DType == dtypes.Bool, offset: o.Offset, dims: dims, strides: strides[0]}
		zero := true
		for _, s := range l.strides {
			zero = zero && s == 0
		}
		if len(dims) == 0 || zero {
			constant[ref] = len(b.scalars)
			b.scalars = append(b.scalars, scalar{slot: l.slot, offset: o.Offset, boolean: l.boolean})
			continue
		}
		if l.direct = !l.boolean && len(dims) == 1 && l.strides[0] == 1; l.direct {
			direct = append(direct, len(b.loads))
		} else {
			b.at[ref] = b.register()
			l.register = b.at[ref]
		}
		b.loads = append(b.loads, l)
		if l.direct {
			b.at[ref] = -len(b.loads) // load number len−1, resolved below
		}
	}
	single := len(b.op.Results) == 1 && b.step.Out[0].DType == dtypes.Float32
	fill := func(ref plan.Ref) int {
		if s, ok := constant[ref]; ok {
			r := b.register()
			b.code = append(b.code, instruction{dst: r, s: s})
			return r
		}
		return b.at[ref]
	}
	const output = 1 << 20 // stands for the register that is the output's memory
	for k, code := range b.op.Code {
		var i instruction
		var temporary []int
		arg := func(n int) int {
			r := fill(code.Args[n])
			if _, ok := constant[code.Args[n]]; ok {
				temporary = append(temporary, r)
			}
			return r
		}
		_, aScalar := constant[code.Args[0]]
		bScalar := false
		if len(code.Args) > 1 {
			_, bScalar = constant[code.Args[1]]
		}
		vec := &b.ctx.Vec
		switch len(code.Args) {
		case 1:
			i.unary = unary(vec, code.Op)
			i.a = arg(0)
		case 2:
			switch {
			case bScalar && !aScalar && right(vec, code.Op) != nil:
				i.scalar, i.a, i.s = right(vec, code.Op), arg(0), constant[code.Args[1]]
			case aScalar && !bScalar && left(vec, code.Op) != nil:
				i.scalar, i.a, i.s = left(vec, code.Op), arg(1), constant[code.Args[0]]
			default:
				i.binary, i.a, i.b = binary(vec, code.Op), arg(0), arg(1)
				if swapped(code.Op) {
					i.a, i.b = i.b, i.a
				}
			}
		case 3:
			i.a, i.b, i.c = arg(0), arg(1), arg(2)
			if code.Op == compute.OpTypeClamp { // min, x, max
				i.binary = vec.Max
				r := b.register()
				i.dst = r
				b.code = append(b.code, i)
				i = instruction{binary: vec.Min, a: r, b: i.c}
				temporary = append(temporary, r)
			} else {
				i.choose = true
			}
		}
		if i.unary == nil && i.binary == nil && i.scalar == nil && !i.choose {
			return fmt.Errorf("no kernel for %s of %d operands", code.Op, len(code.Args))
		}
		b.free = append(b.free, temporary...)
		for n, ref := range code.Args {
			seen := false
			for _, before := range code.Args[:n] {
				seen = seen || before == ref
			}
			if r, ok := b.at[ref]; ok && !seen && b.last[ref] == k && r >= 0 && r != output {
				b.free = append(b.free, r)
			}
		}
		if ref := plan.Ref(k); single && b.op.Results[0] == ref && k == len(b.op.Code)-1 {
			b.at[ref] = output
		} else {
			b.at[ref] = b.register()
		}
		i.dst = b.at[plan.Ref(k)]
		b.code = append(b.code, i)
	}
	// Behind the private registers come the operands that are read in place, and the output.
	b.table = b.private
	number := map[int]int{}
	for _, k := range direct {
		number[-(k + 1)] = b.table
		b.loads[k].register = b.table
		b.table++
	}
	number[output] = b.table
	b.table++
	resolve := func(r *int) {
		if n, ok := number[*r]; ok {
			*r = n
		}
	}
	for k := range b.code {
		i := &b.code[k]
		resolve(&i.dst)
		resolve(&i.a)
		resolve(&i.b)
		resolve(&i.c)
	}
	for k, ref := range b.op.Results {
		r := result{slot: b.slot(b.step.Out[k]), boolean: b.step.Out[k].DType == dtypes.Bool, register: b.at[ref]}
		r.direct = r.register == output
		resolve(&r.register)
		b.results = append(b.results, r)
	}
	return nil
}

func swapped(op compute.OpType) bool {
	return op == compute.OpTypeGreaterThan || op == compute.OpTypeGreaterOrEqual
}

// unary returns the kernel of an operation of one operand.
func unary(v *kern.Vec, op compute.OpType) kern.Unary {
	switch op {
	case compute.OpTypeAbs:
		return v.Abs
	case compute.OpTypeCeil:
		return v.Ceil
	case compute.OpTypeCos:
		return v.Cos
	case compute.OpTypeErf:
		return v.Erf
	case compute.OpTypeExp:
		return v.Exp
	case compute.OpTypeExpm1:
		return v.Expm1
	case compute.OpTypeFloor:
		return v.Floor
	case compute.OpTypeLog:
		return v.Log
	case compute.OpTypeLog1p:
		return v.Log1p
	case compute.OpTypeLogistic:
		return v.Logistic
	case compute.OpTypeNeg:
		return v.Neg
	case compute.OpTypeRound:
		return v.Round
	case compute.OpTypeRsqrt:
		return v.Rsqrt
	case compute.OpTypeSign:
		return v.Sign
	case compute.OpTypeSin:
		return v.Sin
	case compute.OpTypeSqrt:
		return v.Sqrt
	case compute.OpTypeTanh:
		return v.Tanh
	case plan.SiLU:
		return v.SiLU
	case plan.GELU:
		return v.GELU
	case plan.QuickGELU:
		return v.QuickGELU
	case compute.OpTypeLogicalNot:
		return func(dst, a *float32, n int) { v.EqualS(dst, a, 0, n) }
	case plan.NotZero:
		return func(dst, a *float32, n int) { v.NotEqualS(dst, a, 0, n) }
	case compute.OpTypeIsNaN:
		return func(dst, a *float32, n int) { v.NotEqual(dst, a, a, n) }
	case compute.OpTypeIsFinite:
		return func(dst, a *float32, n int) {
			v.Abs(dst, a, n)
			v.LessEqualS(dst, dst, math.MaxFloat32, n)
		}
	case plan.Copied:
		return func(dst, a *float32, n int) { copy(unsafe.Slice(dst, n), unsafe.Slice(a, n)) }
	}
	return nil
}

// binary returns the kernel of an operation of two operands.
func binary(v *kern.Vec, op compute.OpType) kern.Binary {
	switch op {
	case compute.OpTypeAdd:
		return v.Add
	case compute.OpTypeSub:
		return v.Sub
	case compute.OpTypeMul:
		return v.Mul
	case compute.OpTypeDiv:
		return v.Div
	case compute.OpTypeMax:
		return v.Max
	case compute.OpTypeMin:
		return v.Min
	case compute.OpTypeEqual:
		return v.Equal
	case compute.OpTypeNotEqual, compute.OpTypeLogicalXor:
		return v.NotEqual
	case compute.OpTypeLessThan, compute.OpTypeGreaterThan:
		return v.Less
	case compute.OpTypeLessOrEqual, compute.OpTypeGreaterOrEqual:
		return v.LessEqual
	case compute.OpTypeLogicalAnd:
		return v.Min
	case compute.OpTypeLogicalOr:
		return v.Max
	case plan.SiLUGrad:
		return v.SiLUGrad
	case plan.GELUGrad:
		return v.GELUGrad
	case plan.QuickGELUGrad:
		return v.QuickGELUGrad
	case compute.OpTypePow:
		return each(math.Pow)
	case compute.OpTypeRem:
		return each(math.Mod)
	case compute.OpTypeAtan2:
		return each(math.Atan2)
	}
	return nil
}

// each applies a function of Go's library in float64; nothing that uses it is worth a kernel.
func each(f func(x, y float64) float64) kern.Binary {
	return func(dst, a, b *float32, n int) {
		d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
		for i := range d {
			d[i] = float32(f(float64(x[i]), float64(y[i])))
		}
	}
}

// right returns the kernel of a ∘ s.
func right(v *kern.Vec, op compute.OpType) kern.Scalar {
	switch op {
	case compute.OpTypeAdd:
		return v.AddS
	case compute.OpTypeSub:
		return v.SubS
	case compute.OpTypeMul:
		return v.MulS
	case compute.OpTypeDiv:
		return v.DivS
	case compute.OpTypeMax, compute.OpTypeLogicalOr:
		return v.MaxS
	case compute.OpTypeMin, compute.OpTypeLogicalAnd:
		return v.MinS
	case compute.OpTypeEqual:
		return v.EqualS
	case compute.OpTypeNotEqual, compute.OpTypeLogicalXor:
		return v.NotEqualS
	case compute.OpTypeLessThan:
		return v.LessS
	case compute.OpTypeLessOrEqual:
		return v.LessEqualS
	case compute.OpTypeGreaterThan:
		return v.GreaterS
	case compute.OpTypeGreaterOrEqual:
		return v.GreaterEqualS
	}
	return nil
}

// left returns the kernel of s ∘ a.
func left(v *kern.Vec, op compute.OpType) kern.Scalar {
	switch op {
	case compute.OpTypeSub:
		return v.RSubS
	case compute.OpTypeDiv:
		return v.RDivS
	case compute.OpTypeLessThan:
		return v.GreaterS
	case compute.OpTypeLessOrEqual:
		return v.GreaterEqualS
	case compute.OpTypeGreaterThan:
		return v.LessS
	case compute.OpTypeGreaterOrEqual:
		return v.LessEqualS
	case compute.OpTypeAdd, compute.OpTypeMul, compute.OpTypeMax, compute.OpTypeMin, compute.OpTypeEqual, compute.OpTypeNotEqual,
		compute.OpTypeLogicalAnd, compute.OpTypeLogicalOr, compute.OpTypeLogicalXor:
		return right(v, op)
	}
	return nil
}
