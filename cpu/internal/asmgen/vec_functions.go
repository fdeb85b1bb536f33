package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The coefficients are minimax fits in powers of the reduced argument, the lowest first (Remez exchange, 40 digits).
var (
	// e^r = 1 + r + r²·P(r) for |r| ≤ ln2/2, relative error 3e-9 in e^r.
	expFit = []float64{0.49999994, 0.1666652, 0.041668393, 0.008368781, 0.0013814463}
	// The same with relative error 1.4e-8 in e^r − 1.
	expm1Fit = []float64{0.5, 0.16666542, 0.04166628, 0.0083666444, 0.0013946549}
	// log(1+f) = f − f²/2 + f³·P(f) for f in [−1/4, 1/2), relative error 5e-9.
	logFit = []float64{0.33333448, -0.25000194, 0.1999109, -0.16643746, 0.14467713, -0.13186868, 0.10582669, -0.04616651}
	// sin r = r + r³·P(r²) and cos r = 1 − r²/2 + r⁴·P(r²) for |r| ≤ π/4, errors 4e-9 and 1e-10.
	sinFit = []float64{-0.16666654, 0.008332083, -0.00019504318}
	cosFit = []float64{0.041666646, -0.0013887243, 2.4423889e-05}
	// erf x = x + x·P(x²) for |x| ≤ 1, relative error 1.2e-9.
	erfFit = []float64{0.12837917, -0.37612626, 0.112835839, -0.026853766, 0.0051882309, -0.00080092630, 7.8505174e-05}
	// erf x = 1 − exp(−P(x)) for 1 ≤ x ≤ erfOne, relative error 1e-8.
	erfcFit = []float64{0.00033942307, 1.1270975, 0.63813162, 0.10311782, -0.021843169, 0.0029488879, -0.00018649986}
)

const (
	erfOne = 3.95 // erf is 1 in float32 from here on

	// ln 2 as the sum of two values; the second is positive, so that log(0) does not become Inf − Inf.
	ln2High = 0.693147122859954833984375
	ln2Low  = math.Ln2 - ln2High

	// exp is Inf above expHigh and 0 below expLow.
	expHigh = 89
	expLow  = -104
)

// The sum of three values is π/2 to 76 bits. The difference x − k·halfPi[0] is exact in an FMA: it is a multiple of the
// last place of x or of halfPi[0] and below 1.
var halfPi = []float64{1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15}

// polynomial returns the polynomial with the given coefficients, the lowest first.
func (l *lanes) polynomial(x reg.VecVirtual, coefficients []float64) reg.VecVirtual {
	last := len(coefficients) - 1
	p := l.copy(l.constant(coefficients[last]))
	for i := last - 1; i >= 0; i-- {
		VFMADD213PS(l.constant(coefficients[i]), x, p)
	}
	return p
}

// atLeast and atMost bound x and keep NaN.
func (l *lanes) atLeast(bound float64, x reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	VMAXPS(x, l.register(l.constant(bound)), v)
	return v
}

func (l *lanes) atMost(bound float64, x reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	VMINPS(x, l.register(l.constant(bound)), v)
	return v
}

// reduce returns k = round(x/ln2) and r = x − k·ln2.
func (l *lanes) reduce(x reg.VecVirtual) (k, r reg.VecVirtual) {
	k = l.vector()
	VMULPS(l.constant(math.Log2E), x, k)
	k = l.round(0, k)
	r = l.copy(x)
	VFNMADD231PS(l.constant(ln2High), k, r)
	VFNMADD231PS(l.constant(ln2Low), k, r)
	return k, r
}

// power returns 2^k for integers k in [−126, 127].
func (l *lanes) power(k reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	if l.wide() {
		VSCALEFPS(k, l.register(l.constant(1)), v)
		return v
	}
	VCVTPS2DQ(k, v)
	return l.integerPower(v)
}

func (l *lanes) integerPower(k reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	VPADDD(l.bits(127), k, v)
	VPSLLD(U8(23), v, v)
	return v
}

var expConstants = append([]float64{math.Log2E, ln2High, ln2Low, 1}, expFit...)

// exp returns e^x for x in [expLow, expHigh].
func (l *lanes) exp(x reg.VecVirtual) reg.VecVirtual {
	k, r := l.reduce(x)
	p := l.polynomial(r, expFit)
	VFMADD213PS(l.constant(1), r, p)
	VFMADD213PS(l.constant(1), r, p)
	if l.wide() {
		VSCALEFPS(k, p, p)
		return p
	}
	// In two steps: 2^k may be out of range when the product is not.
	n, half := l.vector(), l.vector()
	VCVTPS2DQ(k, n)
	VPSRAD(U8(1), n, half)
	VPSUBD(half, n, n)
	VMULPS(l.integerPower(half), p, p)
	VMULPS(l.integerPower(n), p, p)
	return p
}

// expm1 returns 2^h·(e^r − 1) + 2^h − 2^(h−k): e^x − 1 scaled by 2^(h−k) for h = k − drop.
func (l *lanes) expm1(x reg.VecVirtual, drop float64) reg.VecVirtual {
	k, r := l.reduce(x)
	p := l.polynomial(r, expm1Fit)
	square := l.vector()
	VMULPS(r, r, square)
	VFMADD213PS(r, square, p)
	if drop != 0 {
		VSUBPS(l.constant(drop), k, k)
	}
	s := l.power(k)
	t := l.vector()
	VSUBPS(l.constant(math.Exp2(-drop)), s, t)
	VFMADD213PS(t, s, p)
	return p
}

// quotient returns a/b. On the processors at hand a reciprocal with Newton's iteration takes longer than the division.
func (l *lanes) quotient(a Op, b reg.VecVirtual) reg.VecVirtual {
	q := l.vector()
	VDIVPS(b, l.register(a), q)
	return q
}

// expNegative returns e^−|x|.
func (l *lanes) expNegative(x reg.VecVirtual) reg.VecVirtual {
	v := l.vector()
	VORPS(l.bits(signBit), x, v)
	return l.exp(l.atLeast(expLow, v))
}

// logistic returns σ(x) = 1/(1+e) for x ≥ 0 and e/(1+e) below, e = e^−|x|.
func (l *lanes) logistic(x reg.VecVirtual) reg.VecVirtual {
	e := l.expNegative(x)
	d := l.vector()
	VADDPS(l.constant(1), e, d)
	return l.quotient(l.pick(l.negative(x), e, l.register(l.constant(1))), d)
}

// silu returns x·σ(x).
func (l *lanes) silu(x reg.VecVirtual) reg.VecVirtual {
	x = l.atLeast(expLow, x) // −Inf·0 would be NaN
	v := l.logistic(x)
	VMULPS(x, v, v)
	return v
}

// siluGrad returns σ(x)·(1 + x·σ(−x)).
func (l *lanes) siluGrad(x reg.VecVirtual) reg.VecVirtual {
	x = l.atMost(-expLow, l.atLeast(expLow, x)) // so that Inf·0 does not occur
	e := l.expNegative(x)
	d := l.vector()
	VADDPS(l.constant(1), e, d)
	large := l.quotient(l.constant(1), d)
	small := l.vector()
	VMULPS(large, e, small)
	negative := l.negative(x)
	sigma, other := l.pick(negative, small, large), l.pick(negative, large, small)
	VFMADD213PS(l.constant(1), x, other)
	VMULPS(other, sigma, sigma)
	return sigma
}

const (
	quick   = 1.702 // of QuickGELU
	geluLow = -20   // Φ and its density are 0 in float32 from here on, and 1 and 0 above 20
)

// normalCDF returns Φ(x) = ½ + ½·erf(x/√2).
func (l *lanes) normalCDF(x reg.VecVirtual) reg.VecVirtual {
	z := l.vector()
	VMULPS(l.constant(math.Sqrt2/2), x, z)
	v := l.erf(z)
	half := l.register(l.constant(0.5))
	VFMADD213PS(half, half, v)
	return v
}

// gelu returns x·Φ(x).
func (l *lanes) gelu(x reg.VecVirtual) reg.VecVirtual {
	x = l.atLeast(geluLow, x) // −Inf·0 would be NaN
	v := l.normalCDF(x)
	VMULPS(x, v, v)
	return v
}

// geluGrad returns Φ(x) + x·exp(−x²/2)/√(2π).
func (l *lanes) geluGrad(x reg.VecVirtual) reg.VecVirtual {
	x = l.atMost(-geluLow, l.atLeast(geluLow, x)) // so that Inf·0 does not occur
	v := l.normalCDF(x)
	square := l.vector()
	VMULPS(l.constant(-0.5), x, square)
	VMULPS(x, square, square)
	density := l.exp(l.atLeast(expLow, square))
	VMULPS(l.constant(1/math.Sqrt(2*math.Pi)), density, density)
	VFMADD231PS(x, density, v)
	return v
}

var siluConstants = append([]float64{expLow, -expLow}, expConstants...)

// preloadSiLU loads what silu and siluGrad need.
func (l *lanes) preloadSiLU() {
	l.preload(siluConstants...)
	if l.wide() {
		l.preloadBits(signBit)
	}
}

// log returns the natural logarithm.
func (l *lanes) log(x reg.VecVirtual) reg.VecVirtual {
	k, f := l.split(x)
	VSUBPS(l.constant(1), f, f)
	p := l.polynomial(f, logFit)
	square := l.vector()
	VMULPS(f, f, square)
	VMULPS(f, p, p)
	VMULPS(square, p, p)
	VFMADD231PS(l.constant(ln2Low), k, p)
	VFMADD231PS(l.constant(-0.5), square, p)
	VADDPS(f, p, p)
	VFMADD231PS(l.constant(ln2High), k, p)
	if l.wide() {
		return p
	}
	infinity := math.Inf(1)
	p = l.pick(l.compare(equal, x, l.constant(0)), l.constant(-infinity), p)
	p = l.pick(l.compare(less, x, l.constant(0)), l.constant(math.NaN()), p)
	finite := l.compare(less, x, l.constant(infinity)) // false for NaN
	return l.pick(finite, p, x)
}

// split returns k and m in [3/4, 3/2) with x = m·2^k for finite x > 0. With AVX-512 zero and Inf have an infinite k, and a
// negative x has the mantissa NaN.
func (l *lanes) split(x reg.VecVirtual) (k, m reg.VecVirtual) {
	k, m = l.vector(), l.vector()
	if l.wide() {
		e := l.vector()
		VGETMANTPS(U8(0b1011), x, m)
		VGETEXPPS(x, k)
		VGETEXPPS(m, e)
		VSUBPS(e, k, k)
		return k, m
	}
	denormal := l.compare(less, x, l.bits(0x00800000))
	scaled := l.vector()
	VMULPS(l.constant(1<<23), x, scaled)
	scaled = l.pick(denormal, scaled, x)
	n := l.vector()
	VPSUBD(l.bits(math.Float32bits(0.75)), scaled, n)
	VPSRAD(U8(23), n, n)
	VCVTDQ2PS(n, k)
	VPSLLD(U8(23), n, n)
	VPSUBD(n, scaled, m)
	VANDPS(l.constant(23), denormal, n)
	VSUBPS(n, k, k)
	return k, m
}

// tanh is y/(y+2) for y = e^2|x| − 1, with the sign of x.
func (l *lanes) tanh(x reg.VecVirtual) reg.VecVirtual {
	const one = 10 // tanh is 1 in float32 from here on
	a := l.atMost(one, l.magnitude(x))
	VADDPS(a, a, a)
	y := l.expm1(a, 0)
	d := l.vector()
	VADDPS(l.constant(2), y, d)
	q := l.quotient(y, d)
	sign := l.vector()
	VANDPS(l.bits(signBit), x, sign)
	VORPS(sign, q, q)
	return q
}

// erf returns the error function.
func (l *lanes) erf(x reg.VecVirtual) reg.VecVirtual {
	a := l.atMost(erfOne, l.magnitude(x))
	large := l.polynomial(a, erfcFit)
	large = l.exp(l.opposite(large))
	one := l.copy(l.constant(1))
	VSUBPS(large, one, large)
	square := l.vector()
	VMULPS(a, a, square)
	small := l.polynomial(square, erfFit)
	VFMADD213PS(a, a, small)
	v := l.pick(l.compare(less, a, l.constant(1)), small, large)
	sign := l.vector()
	VANDPS(l.bits(signBit), x, sign)
	VORPS(sign, v, v)
	return v
}

// sinCos writes sin, or cos as sin of a quarter turn later. The kernel returns how many values it has done: it stops before
// a vector with a magnitude above limit, where k·π/2 has too few digits.
func (l *lanes) sinCos(name string, cosine bool) {
	const limit = 1e5
	l.function(name, "func(dst, a *float32, n int) int")
	dst, a, n := argument("dst"), argument("a"), argument("n")
	done := GP64()
	XORQ(done, done)
	l.preload(2/math.Pi, halfPi[0], halfPi[1], halfPi[2], 1, -0.5, limit)
	l.preload(sinFit...)
	l.preload(cosFit...)
	l.sweep(n, 1, func(p place, _ int) {
		MOVQ(p.index, done)
		x := l.load(a, p)
		far := l.compare(greater, l.magnitude(x), l.constant(limit))
		flags := GP32()
		if l.wide() {
			KMOVW(far, flags)
		} else {
			VMOVMSKPS(far, flags)
		}
		TESTL(flags, flags)
		JNE(LabelRef("far"))

		k, r := l.vector(), l.copy(x)
		VMULPS(l.constant(2/math.Pi), x, k)
		k = l.round(0, k)
		for _, part := range halfPi {
			VFNMADD231PS(l.constant(part), k, r)
		}
		quarter := l.vector()
		VCVTPS2DQ(k, quarter)
		if cosine {
			VPADDD(l.bits(1), quarter, quarter)
		}
		square := l.vector()
		VMULPS(r, r, square)
		sine := l.polynomial(square, sinFit)
		VMULPS(square, sine, sine)
		VFMADD213PS(r, r, sine)
		cos := l.polynomial(square, cosFit)
		VFMADD213PS(l.constant(-0.5), square, cos)
		VFMADD213PS(l.constant(1), square, cos)

		odd, sign := l.vector(), l.vector()
		VPSLLD(U8(31), quarter, odd)
		VPSLLD(U8(30), quarter, sign)
		v := l.pick(l.negative(odd), cos, sine)
		VANDPS(l.bits(signBit), sign, sign)
		VXORPS(sign, v, v)
		if !cosine { // the sign of −0 is lost
			v = l.pick(l.compare(equal, x, l.constant(0)), x, v)
		}
		l.store(v, dst, p)
	})
	MOVQ(n, done)
	Label("far")
	finishWith(done)
}

// functions writes the transcendental functions.
func (l *lanes) functions() {
	type vec = reg.VecVirtual
	const unroll = 2
	unary := func(name string, of func(x vec) vec, preload ...float64) {
		l.elementwise(name, unroll, []string{"a"}, nil, func(in, _ []vec) vec { return of(in[0]) }, preload...)
	}
	unary("exp", func(x vec) vec { return l.exp(l.atMost(expHigh, l.atLeast(expLow, x))) }, append(expConstants, expLow, expHigh)...)
	expm1Constants := append([]float64{math.Log2E, ln2High, ln2Low}, expm1Fit...)
	unary("expm1", func(x vec) vec {
		const minusOne = -20 // expm1 is −1 in float32 from here on
		// 2^k may overflow when 2^k·(1 + q) does not, so half of it is formed. This loses the last bit of a denormal and
		// the sign of −0, but there expm1(x) = x.
		v := l.expm1(l.atMost(expHigh, l.atLeast(minusOne, x)), 1)
		VADDPS(v, v, v)
		small := l.compare(less, l.magnitude(x), l.constant(0x1p-25))
		return l.pick(small, x, v)
	}, append(expm1Constants, 1, 0.5)...)
	unary("log", l.log, append(logFit, 1, -0.5, ln2High, ln2Low)...)
	unary("tanh", l.tanh, append(expm1Constants, 1, 2, 10)...)
	unary("erf", l.erf, append(append(expConstants, erfFit...), erfcFit...)...)
	unary("logistic", l.logistic, append(expConstants, expLow)...)
	unary("silu", l.silu, siluConstants...)
	l.elementwise("siluGrad", unroll, []string{"dy", "a"}, nil, func(in, _ []vec) vec {
		v := l.siluGrad(in[1])
		VMULPS(in[0], v, v)
		return v
	}, siluConstants...)
	unary("gelu", l.gelu, append(append([]float64{0.5}, expConstants...), erfcFit...)...)
	unary("quickGELU", func(x vec) vec {
		x = l.atLeast(expLow, x) // −Inf·0 would be NaN
		z := l.vector()
		VMULPS(l.constant(quick), x, z)
		v := l.logistic(z)
		VMULPS(x, v, v)
		return v
	}, append(siluConstants, quick)...)
	slope := func(name string, of func(x vec) vec, preload ...float64) {
		l.elementwise(name, 1, []string{"dy", "a"}, nil, func(in, _ []vec) vec {
			v := of(in[1])
			VMULPS(in[0], v, v)
			return v
		}, preload...)
	}
	slope("geluGrad", l.geluGrad, append(append([]float64{0.5}, expConstants...), erfcFit...)...)
	slope("quickGELUGrad", func(x vec) vec {
		z := l.vector()
		VMULPS(l.constant(quick), x, z)
		return l.siluGrad(z)
	}, append(siluConstants, quick)...)
	l.sinCos("sin", false)
	l.sinCos("cos", true)
}
