package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS: O is false and U true for NaN; none of them signals.
const (
	equal        = U8(0x00) // EQ_OQ
	unordered    = U8(0x03) // UNORD_Q
	notEqual     = U8(0x04) // NEQ_UQ
	less         = U8(0x11) // LT_OQ
	lessEqual    = U8(0x12) // LE_OQ
	greaterEqual = U8(0x1d) // GE_OQ
	greater      = U8(0x1e) // GT_OQ
)

const signBit = 1 << 31

// compare returns the mask of the lanes with a predicate b.
func (l *lanes) compare(predicate U8, a reg.Register, b Op) reg.Register {
	if l.wide() {
		mask := K()
		VCMPPS(predicate, b, a, mask)
		return mask
	}
	mask := l.vector()
	VCMPPS(predicate, b, a, mask)
	return mask
}

// pick returns yes in the lanes of the mask and no in the others.
func (l *lanes) pick(mask reg.Register, yes Op, no reg.Register) reg.VecVirtual {
	v := l.vector()
	if l.wide() {
		VBLENDMPS(yes, no, mask, v)
	} else {
		VBLENDVPS(mask, yes, no, v)
	}
	return v
}

// negative is the mask of the lanes whose sign bit is set.
func (l *lanes) negative(x reg.VecVirtual) reg.Register {
	if !l.wide() {
		return x // a blend looks at the sign bit only
	}
	mask := K()
	VPMOVD2M(x, mask)
	return mask
}

// truth is 1 in the lanes of the mask and 0 in the others.
func (l *lanes) truth(mask reg.Register) reg.VecVirtual {
	v := l.vector()
	if l.wide() {
		VMOVAPS_Z(l.register(l.constant(1)), mask, v)
	} else {
		VANDPS(l.constant(1), mask, v)
	}
	return v
}

// extreme is the maximum or minimum as IEEE 754-2019 defines it: NaN wins, and -0 < +0.
func (l *lanes) extreme(a, b reg.VecVirtual, largest bool) reg.VecVirtual {
	v := l.vector()
	nan := l.compare(unordered, a, b)
	if l.wide() {
		if largest {
			VRANGEPS(U8(5), b, a, v)
		} else {
			VRANGEPS(U8(4), b, a, v)
		}
		VADDPS(b, a, nan, v)
		return v
	}
	// VMAXPS and VMINPS return the second operand for zeros: the two orders differ in the sign.
	w := l.vector()
	if largest {
		VMAXPS(a, b, v)
		VMAXPS(b, a, w)
		VANDPS(v, w, v)
	} else {
		VMINPS(a, b, v)
		VMINPS(b, a, w)
		VORPS(v, w, v)
	}
	VADDPS(a, b, w)
	return l.pick(nan, w, v)
}

// magnitude clears the sign bits, opposite flips them.
func (l *lanes) magnitude(x reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	VANDPS(l.bits(signBit-1), x, v)
	return v
}

func (l *lanes) opposite(x reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	VXORPS(l.bits(signBit), x, v)
	return v
}

// round rounds to integers; the mode is that of VROUNDPS: 0 nearest, 1 down, 2 up.
func (l *lanes) round(mode int, x reg.VecVirtual) reg.VecVirtual {
	const quiet = 8
	v := l.vector()
	if l.wide() {
		VRNDSCALEPS(U8(mode|quiet), x, v)
	} else {
		VROUNDPS(U8(mode|quiet), x, v)
	}
	return v
}

// arithmetic writes the kernels of a few instructions for each vector.
func (l *lanes) arithmetic() {
	type vec = reg.VecVirtual
	const unroll = 4
	operations := []struct {
		name string
		of   func(a, b vec) vec
	}{
		{"add", func(a, b vec) vec { VADDPS(b, a, a); return a }},
		{"sub", func(a, b vec) vec { VSUBPS(b, a, a); return a }},
		{"mul", func(a, b vec) vec { VMULPS(b, a, a); return a }},
		{"div", func(a, b vec) vec { VDIVPS(b, a, a); return a }},
		{"max", func(a, b vec) vec { return l.extreme(a, b, true) }},
		{"min", func(a, b vec) vec { return l.extreme(a, b, false) }},
		{"less", func(a, b vec) vec { return l.truth(l.compare(less, a, b)) }},
		{"lessEqual", func(a, b vec) vec { return l.truth(l.compare(lessEqual, a, b)) }},
		{"equal", func(a, b vec) vec { return l.truth(l.compare(equal, a, b)) }},
		{"notEqual", func(a, b vec) vec { return l.truth(l.compare(notEqual, a, b)) }},
		{"greater", func(a, b vec) vec { return l.truth(l.compare(greater, a, b)) }},
		{"greaterEqual", func(a, b vec) vec { return l.truth(l.compare(greaterEqual, a, b)) }},
	}
	for _, operation := range operations {
		if operation.name != "greater" && operation.name != "greaterEqual" { // those are less with swapped operands
			l.elementwise(operation.name, unroll, []string{"a", "b"}, nil, func(in, _ []vec) vec {
				return operation.of(in[0], in[1])
			}, 1)
		}
		l.elementwise(operation.name+"Scalar", unroll, []string{"a"}, []string{"s"}, func(in, s []vec) vec {
			return operation.of(in[0], s[0])
		}, 1)
	}
	l.elementwise("subFrom", unroll, []string{"a"}, []string{"s"}, func(in, s []vec) vec {
		VSUBPS(in[0], s[0], in[0])
		return in[0]
	})
	l.elementwise("divInto", unroll, []string{"a"}, []string{"s"}, func(in, s []vec) vec {
		VDIVPS(in[0], s[0], in[0])
		return in[0]
	})
	l.elementwise("mulAdd", unroll, []string{"a", "b", "c"}, nil, func(in, _ []vec) vec {
		VFMADD213PS(in[2], in[1], in[0])
		return in[0]
	})
	l.elementwise("axpy", unroll, []string{"a", "b"}, []string{"s"}, func(in, s []vec) vec {
		VFMADD213PS(in[1], s[0], in[0])
		return in[0]
	})
	l.elementwise("lerp", unroll, []string{"a", "b"}, []string{"s"}, func(in, s []vec) vec {
		VSUBPS(in[1], in[0], in[0])
		VFMADD213PS(in[1], s[0], in[0])
		return in[0]
	})
	l.elementwise("choose", unroll, []string{"mask", "a", "b"}, nil, func(in, _ []vec) vec {
		return l.pick(l.compare(notEqual, in[0], l.constant(0)), in[1], in[2])
	}, 0)
	l.elementwise("fill", unroll, nil, []string{"s"}, func(_, s []vec) vec { return s[0] })

	l.elementwise("neg", unroll, []string{"a"}, nil, func(in, _ []vec) vec { return l.opposite(in[0]) })
	l.elementwise("abs", unroll, []string{"a"}, nil, func(in, _ []vec) vec { return l.magnitude(in[0]) })
	l.elementwise("square", unroll, []string{"a"}, nil, func(in, _ []vec) vec { VMULPS(in[0], in[0], in[0]); return in[0] })
	l.elementwise("recip", unroll, []string{"a"}, nil, func(in, _ []vec) vec {
		v := l.vector()
		VDIVPS(in[0], l.register(l.constant(1)), v)
		return v
	}, 1)
	l.elementwise("sqrt", unroll, []string{"a"}, nil, func(in, _ []vec) vec { VSQRTPS(in[0], in[0]); return in[0] })
	l.elementwise("rsqrt", unroll, []string{"a"}, nil, func(in, _ []vec) vec {
		VSQRTPS(in[0], in[0])
		VDIVPS(in[0], l.register(l.constant(1)), in[0])
		return in[0]
	}, 1)
	l.elementwise("round", unroll, []string{"a"}, nil, func(in, _ []vec) vec { return l.round(0, in[0]) })
	l.elementwise("floor", unroll, []string{"a"}, nil, func(in, _ []vec) vec { return l.round(1, in[0]) })
	l.elementwise("ceil", unroll, []string{"a"}, nil, func(in, _ []vec) vec { return l.round(2, in[0]) })
	l.elementwise("sign", unroll, []string{"a"}, nil, func(in, _ []vec) vec {
		zero := l.register(l.constant(0))
		positive := l.pick(l.compare(greater, in[0], zero), l.constant(1), in[0])
		return l.pick(l.compare(less, in[0], zero), l.constant(-1), positive)
	}, 0, 1, -1)
}
