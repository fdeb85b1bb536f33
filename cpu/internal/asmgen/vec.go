package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	sets["vec"] = func() {
		for _, l := range []*lanes{{name: "AVX512", width: 16}, {name: "AVX2", width: 8}} {
			l.arithmetic()
			l.functions()
			l.reductions()
			l.rows()
			l.adamW()
		}
	}
}

// lanes writes the elementwise kernels of one instruction set; width is the number of values in a vector.
//
// A constant is an operand in memory unless it was preloaded: 32 registers hold the constants of a kernel, 16 do not.
type lanes struct {
	name      string
	width     int
	preloaded map[uint32]reg.VecVirtual
	labels    int
}

var constants = map[uint32]Mem{} // vectors of one repeated value, in read-only data

// wide reports whether the instruction set is AVX-512.
func (l *lanes) wide() bool { return l.width == 16 }

func (l *lanes) bytes() int { return 4 * l.width }

func (l *lanes) vector() reg.VecVirtual {
	if l.wide() {
		return ZMM()
	}
	return YMM()
}

// function begins a kernel.
func (l *lanes) function(name, signature string) {
	TEXT(name+l.name, NOSPLIT, signature)
	l.preloaded = map[uint32]reg.VecVirtual{}
	l.labels = 0
}

// finish ends a kernel.
func finish() {
	VZEROUPPER()
	RET()
}

// finishWith ends a kernel that returns one value.
func finishWith(result reg.Register) {
	Store(result, ReturnIndex(0))
	finish()
}

func (l *lanes) label(name string) string {
	l.labels++
	return fmt.Sprintf("%s%d", name, l.labels)
}

// bits is a vector of one repeated 32-bit pattern, as an operand.
func (l *lanes) bits(pattern uint32) Op {
	if v, ok := l.preloaded[pattern]; ok {
		return v
	}
	m, ok := constants[pattern]
	if !ok {
		m = GLOBL(fmt.Sprintf("vec%08x", pattern), attr.RODATA|attr.NOPTR)
		for offset := 0; offset < 64; offset += 8 {
			DATA(offset, U64(uint64(pattern)<<32|uint64(pattern)))
		}
		constants[pattern] = m
	}
	return m
}

// constant is a vector of one repeated value, as an operand.
func (l *lanes) constant(value float64) Op { return l.bits(math.Float32bits(float32(value))) }

// preload puts constants into registers where there are enough of them.
func (l *lanes) preload(values ...float64) {
	for _, value := range values {
		if l.wide() {
			l.preloadBits(math.Float32bits(float32(value)))
		}
	}
}

func (l *lanes) preloadBits(pattern uint32) {
	if _, ok := l.preloaded[pattern]; ok {
		return
	}
	v := l.vector()
	VMOVUPS(l.bits(pattern), v)
	l.preloaded[pattern] = v
}

// register is the operand in a register of its own or where it is already.
func (l *lanes) register(op Op) reg.VecVirtual {
	if v, ok := op.(reg.VecVirtual); ok {
		return v
	}
	return l.copy(op)
}

func (l *lanes) copy(op Op) reg.VecVirtual {
	v := l.vector()
	VMOVUPS(op, v)
	return v
}

func (l *lanes) zero() reg.VecVirtual {
	v := l.vector()
	VXORPS(v, v, v)
	return v
}

// argument loads a parameter of pointer or integer type.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

func arguments(names ...string) []reg.GPVirtual {
	var list []reg.GPVirtual
	for _, name := range names {
		list = append(list, argument(name))
	}
	return list
}

// broadcast fills a vector with a parameter of type float32.
func (l *lanes) broadcast(name string) reg.VecVirtual {
	param, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := l.vector()
	VBROADCASTSS(param.Addr, v)
	return v
}

// place is a vector of values relative to a pointer; those with an index past the end are masked if mask is not nil.
type place struct {
	index reg.GPVirtual
	disp  int
	mask  reg.Register
}

func (p place) of(base reg.Register) Mem {
	return Mem{Base: base, Index: p.index, Scale: 4, Disp: p.disp}
}

// load returns the values at the place; masked ones are 0.
func (l *lanes) load(base reg.Register, p place) reg.VecVirtual {
	v := l.vector()
	switch {
	case p.mask == nil:
		VMOVUPS(p.of(base), v)
	case l.wide():
		VMOVUPS_Z(p.of(base), p.mask, v)
	default:
		VMASKMOVPS(p.of(base), p.mask, v)
	}
	return v
}

func (l *lanes) store(v, base reg.Register, p place) {
	switch {
	case p.mask == nil:
		VMOVUPS(v, p.of(base))
	case l.wide():
		VMOVUPS(v, p.mask, p.of(base))
	default:
		VMASKMOVPS(v, p.mask, p.of(base))
	}
}

// clear sets the masked values to 0, for results that are summed.
func (l *lanes) clear(v reg.Register, p place) {
	switch {
	case p.mask == nil:
	case l.wide():
		VMOVAPS_Z(v, p.mask, v)
	default:
		VANDPS(p.mask, v, v)
	}
}

var tails = map[int]Mem{} // tables of masks by width

// tail returns the mask of the first count lanes, 0 ≤ count ≤ width.
func (l *lanes) tail(count reg.Register) reg.Register {
	table, ok := tails[l.width]
	if !ok {
		table = GLOBL(fmt.Sprintf("vecTail%d", l.width), attr.RODATA|attr.NOPTR)
		if l.wide() {
			for i := range l.width + 1 {
				DATA(2*i, U16(1<<i-1))
			}
		} else {
			for i := range l.width {
				DATA(4*i, U32(math.MaxUint32))
			}
			for i := range l.width {
				DATA(4*(l.width+i), U32(0))
			}
		}
		tails[l.width] = table
	}
	base := GP64()
	LEAQ(table, base)
	if l.wide() {
		mask := K()
		KMOVW(Mem{Base: base, Index: count, Scale: 2}, mask)
		return mask
	}
	back := GP64()
	XORQ(back, back)
	SUBQ(count, back)
	mask := l.vector()
	VMOVUPS(Mem{Base: base, Index: back, Scale: 4, Disp: l.bytes()}, mask)
	return mask
}

// sweep runs the body over n values: unroll vectors at a time, then single vectors, then what is left under a mask.
// The body is told which of the unrolled vectors it is.
func (l *lanes) sweep(n reg.Register, unroll int, body func(p place, u int)) {
	index, rest := GP64(), GP64()
	XORQ(index, index)
	MOVQ(n, rest)
	last := 0 // rest is what is left beyond the last values
	for _, vectors := range []int{unroll, 1} {
		if vectors == 1 && last == 1 {
			break
		}
		loop, done := l.label("loop"), l.label("done")
		ADDQ(I32(int32((last-vectors)*l.width)), rest)
		last = vectors
		JL(LabelRef(done))
		Label(loop)
		for u := range vectors {
			body(place{index: index, disp: u * l.bytes()}, u)
		}
		ADDQ(I32(int32(vectors*l.width)), index)
		SUBQ(I32(int32(vectors*l.width)), rest)
		JGE(LabelRef(loop))
		Label(done)
	}
	end := l.label("end")
	ADDQ(I32(int32(l.width)), rest)
	JLE(LabelRef(end))
	body(place{index: index, mask: l.tail(rest)}, 0)
	Label(end)
}

// elementwise writes a kernel of the signature func(dst, inputs... *float32, scalars... float32, n int).
func (l *lanes) elementwise(name string, unroll int, inputs, scalars []string, body func(in, s []reg.VecVirtual) reg.VecVirtual, preload ...float64) {
	signature := "func(dst"
	for _, input := range inputs {
		signature += ", " + input
	}
	signature += " *float32"
	for _, s := range scalars {
		signature += ", " + s + " float32"
	}
	l.function(name, signature+", n int)")
	dst, from, n := argument("dst"), arguments(inputs...), argument("n")
	var s []reg.VecVirtual
	for _, name := range scalars {
		s = append(s, l.broadcast(name))
	}
	l.preload(preload...)
	l.sweep(n, unroll, func(p place, _ int) {
		var in []reg.VecVirtual
		for _, f := range from {
			in = append(in, l.load(f, p))
		}
		l.store(body(in, s), dst, p)
	})
	finish()
}
