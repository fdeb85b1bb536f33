package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// across combines the lanes of a vector pairwise; the result is the first lane.
func (l *lanes) across(v reg.VecVirtual, combine func(other, v reg.Register)) reg.Register {
	if l.wide() {
		upper := YMM()
		VEXTRACTF64X4(U8(1), v, upper)
		combine(upper, v.AsY())
	}
	upper := XMM()
	VEXTRACTF128(U8(1), v.AsY(), upper)
	combine(upper, v.AsX())
	VPERMILPD(U8(1), v.AsX(), upper)
	combine(upper, v.AsX())
	VPERMILPS(U8(1), v.AsX(), upper)
	combine(upper, v.AsX())
	return v.AsX()
}

func plus(other, v reg.Register) { VADDPS(other, v, v) }

// total adds the accumulators pairwise, then their lanes.
func (l *lanes) total(accumulators []reg.VecVirtual) reg.Register {
	for n := len(accumulators); n > 1; n /= 2 {
		for i := range n / 2 {
			VADDPS(accumulators[i+n/2], accumulators[i], accumulators[i])
		}
	}
	return l.across(accumulators[0], plus)
}

func (l *lanes) zeros(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = l.zero()
	}
	return v
}

// reductions writes the loops whose result is one value. Each of the unrolled vectors has an accumulator of its own.
func (l *lanes) reductions() {
	const unroll = 4

	l.function("sum", "func(a *float32, n int) float32")
	a, n := argument("a"), argument("n")
	acc := l.zeros(unroll)
	l.sweep(n, unroll, func(p place, u int) { VADDPS(l.load(a, p), acc[u], acc[u]) })
	finishWith(l.total(acc))

	l.function("sumSquares", "func(a *float32, n int) float32")
	a, n = argument("a"), argument("n")
	acc = l.zeros(unroll)
	l.sweep(n, unroll, func(p place, u int) {
		x := l.load(a, p)
		VFMADD231PS(x, x, acc[u])
	})
	finishWith(l.total(acc))

	l.function("dot", "func(a, b *float32, n int) float32")
	a, b, n := argument("a"), argument("b"), argument("n")
	acc = l.zeros(unroll)
	l.sweep(n, unroll, func(p place, u int) {
		x, y := l.load(a, p), l.load(b, p)
		VFMADD231PS(x, y, acc[u])
	})
	finishWith(l.total(acc))

	l.extremeReduce("maxReduce", math.Inf(-1), func(x, acc reg.Register) { VMAXPS(acc, x, acc) })
	l.extremeReduce("minReduce", math.Inf(1), func(x, acc reg.Register) { VMINPS(acc, x, acc) })

	l.function("expSum", "func(dst, a *float32, s float32, n int) float32")
	dst, a, s, n := argument("dst"), argument("a"), l.broadcast("s"), argument("n")
	acc = l.zeros(2)
	l.preload(expConstants...)
	l.preload(expLow, expHigh)
	l.sweep(n, 2, func(p place, u int) {
		x := l.load(a, p)
		VSUBPS(s, x, x)
		e := l.exp(l.atMost(expHigh, l.atLeast(expLow, x)))
		l.store(e, dst, p)
		l.clear(e, p)
		VADDPS(e, acc[u], acc[u])
	})
	finishWith(l.total(acc))

	l.elementwise("softmaxGrad", unroll, []string{"dy", "y"}, []string{"s"}, func(in, s []reg.VecVirtual) reg.VecVirtual {
		VSUBPS(s[0], in[0], in[0])
		VMULPS(in[0], in[1], in[1])
		return in[1]
	})
}

// extremeReduce writes a maximum or minimum. The operation drops NaN values of x; they are noted aside.
func (l *lanes) extremeReduce(name string, identity float64, combine func(x, acc reg.Register)) {
	const unroll = 4
	l.function(name, "func(a *float32, n int) float32")
	a, n := argument("a"), argument("n")
	acc := make([]reg.VecVirtual, unroll)
	for i := range acc {
		acc[i] = l.copy(l.constant(identity))
	}
	var nan reg.Register
	if l.wide() {
		nan = K()
		KXORW(nan, nan, nan)
	} else {
		nan = l.zero()
	}
	l.sweep(n, unroll, func(p place, u int) {
		x := l.load(a, p)
		if p.mask != nil {
			x = l.pick(p.mask, x, l.register(l.constant(identity)))
		}
		unknown := l.compare(unordered, x, x)
		if l.wide() {
			KORW(unknown, nan, nan)
		} else {
			VORPS(unknown, nan, nan)
		}
		combine(x, acc[u])
	})
	for _, i := range [][2]int{{0, 2}, {1, 3}, {0, 1}} {
		combine(acc[i[1]], acc[i[0]])
	}
	result := l.across(acc[0], combine)
	flags := GP32()
	if l.wide() {
		KMOVW(nan, flags)
	} else {
		VMOVMSKPS(nan, flags)
	}
	TESTL(flags, flags)
	JEQ(LabelRef("number"))
	VMOVSS(l.bits(math.Float32bits(float32(math.NaN()))), result)
	Label("number")
	finishWith(result)
}
