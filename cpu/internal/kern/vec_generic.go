package kern

import (
	"math"
	"unsafe"
)

var genericVec = Vec{
	Add: addGeneric, Sub: subGeneric, Mul: mulGeneric, Div: divGeneric,
	Max:       binary(func(a, b float32) float32 { return max(a, b) }),
	Min:       binary(func(a, b float32) float32 { return min(a, b) }),
	Less:      binary(func(a, b float32) float32 { return mask(a < b) }),
	LessEqual: binary(func(a, b float32) float32 { return mask(a <= b) }),
	Equal:     binary(func(a, b float32) float32 { return mask(a == b) }),
	NotEqual:  binary(func(a, b float32) float32 { return mask(a != b) }),

	AddS:  addScalarGeneric,
	SubS:  func(dst, a *float32, s float32, n int) { addScalarGeneric(dst, a, -s, n) },
	MulS:  mulScalarGeneric,
	DivS:  scalar(func(a, s float32) float32 { return a / s }),
	RSubS: scalar(func(a, s float32) float32 { return s - a }),
	RDivS: scalar(func(a, s float32) float32 { return s / a }),
	MaxS:  scalar(func(a, s float32) float32 { return max(a, s) }),
	MinS:  scalar(func(a, s float32) float32 { return min(a, s) }),

	LessS:         scalar(func(a, s float32) float32 { return mask(a < s) }),
	LessEqualS:    scalar(func(a, s float32) float32 { return mask(a <= s) }),
	EqualS:        scalar(func(a, s float32) float32 { return mask(a == s) }),
	NotEqualS:     scalar(func(a, s float32) float32 { return mask(a != s) }),
	GreaterS:      scalar(func(a, s float32) float32 { return mask(a > s) }),
	GreaterEqualS: scalar(func(a, s float32) float32 { return mask(a >= s) }),

	MulAdd: mulAddGeneric, Axpy: axpyGeneric, Lerp: lerpGeneric, Select: selectGeneric, Fill: fillGeneric,

	Neg:    unary(func(a float32) float32 { return -a }),
	Abs:    unary(abs),
	Square: unary(func(a float32) float32 { return a * a }),
	Recip:  unary(func(a float32) float32 { return 1 / a }),
	Sqrt:   unary(sqrt),
	Rsqrt:  wide(func(a float64) float64 { return 1 / math.Sqrt(a) }),
	Floor:  wide(math.Floor), Ceil: wide(math.Ceil), Round: wide(math.RoundToEven),
	Sign: unary(sign),

	Exp: wide(math.Exp), Expm1: wide(math.Expm1), Log: wide(math.Log), Log1p: log1pGeneric, Tanh: wide(math.Tanh),
	Sin: wide(math.Sin), Cos: wide(math.Cos), Erf: wide(math.Erf),
	Logistic: wide(logistic), SiLU: wide(silu), SiLUGrad: slope(siluGrad),
	GELU: wide(gelu), GELUGrad: slope(geluGrad),
	QuickGELU: wide(quickGELU), QuickGELUGrad: slope(func(a float64) float64 { return siluGrad(quick * a) }),

	Sum: sumGeneric, SumSquares: sumSquaresGeneric, Dot: dotGeneric,
	MaxReduce: maxReduceGeneric, MinReduce: minReduceGeneric,
	ExpSum: expSumGeneric, SoftmaxGrad: softmaxGradGeneric,

	AccumulateRows: accumulateRowsGeneric, Moments: momentsGeneric,
	AffineRows: affineRowsGeneric, AffineSiLURows: affineSiLURowsGeneric,
	GradMoments: gradMomentsGeneric, SiLUGradMoments: siluGradMomentsGeneric, AffineSumRows: affineSumRowsGeneric,

	AdamW: adamWGeneric,
}

// log1pGeneric serves every instruction set: no model calls log(1+x) often enough for a version of its own.
var log1pGeneric = wide(math.Log1p)

func mask(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

func abs(a float32) float32  { return math.Float32frombits(math.Float32bits(a) &^ (1 << 31)) }
func sqrt(a float32) float32 { return float32(math.Sqrt(float64(a))) }

func sign(a float32) float32 {
	switch {
	case a > 0:
		return 1
	case a < 0:
		return -1
	}
	return a
}

func logistic(a float64) float64 { return 1 / (1 + math.Exp(-a)) }

func silu(a float64) float64 {
	if a < -math.MaxFloat32 {
		return math.Copysign(0, -1)
	}
	return a / (1 + math.Exp(-a))
}

// siluGrad is the derivative of SiLU. Beyond ±200 it is 0 or 1 in float32; the bounds keep Inf·0 out.
func siluGrad(a float64) float64 {
	a = max(-200, min(200, a))
	return logistic(a) * (1 + a*logistic(-a))
}

func gelu(a float64) float64 {
	if a < -40 { // Φ is 0 in float64
		return math.Copysign(0, -1)
	}
	return a * math.Erfc(-a/math.Sqrt2) / 2
}

// geluGrad is the derivative of GELU. Beyond ±40 it is 0 or 1; the bounds keep Inf·0 out.
func geluGrad(a float64) float64 {
	a = max(-40, min(40, a))
	return math.Erfc(-a/math.Sqrt2)/2 + a*math.Exp(-a*a/2)/math.Sqrt(2*math.Pi)
}

// quick is the factor of QuickGELU, which makes σ like the distribution function of the normal law.
const quick = 1.702

func quickGELU(a float64) float64 { return silu(quick*a) / quick }

// slope makes dst = dy·f(a) of a derivative.
func slope(f func(a float64) float64) func(dst, dy, a *float32, n int) {
	return func(dst, dy, a *float32, n int) {
		d, g, x := unsafe.Slice(dst, n), unsafe.Slice(dy, n), unsafe.Slice(a, n)
		for i := range d {
			d[i] = g[i] * float32(f(float64(x[i])))
		}
	}
}

// unary, binary and scalar make a loop of a function; wide makes one of a function in double precision.

func unary(f func(a float32) float32) Unary {
	return func(dst, a *float32, n int) {
		d, x := unsafe.Slice(dst, n), unsafe.Slice(a, n)
		for i := range d {
			d[i] = f(x[i])
		}
	}
}

func wide(f func(a float64) float64) Unary {
	return func(dst, a *float32, n int) {
		d, x := unsafe.Slice(dst, n), unsafe.Slice(a, n)
		for i := range d {
			d[i] = float32(f(float64(x[i])))
		}
	}
}

func binary(f func(a, b float32) float32) Binary {
	return func(dst, a, b *float32, n int) {
		d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
		for i := range d {
			d[i] = f(x[i], y[i])
		}
	}
}

func scalar(f func(a, s float32) float32) Scalar {
	return func(dst, a *float32, s float32, n int) {
		d, x := unsafe.Slice(dst, n), unsafe.Slice(a, n)
		for i := range d {
			d[i] = f(x[i], s)
		}
	}
}

// The most frequent loops are written out: an indirect call for each value would cost three times the loop.

func addGeneric(dst, a, b *float32, n int) {
	d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		d[i] = x[i] + y[i]
	}
}

func subGeneric(dst, a, b *float32, n int) {
	d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		d[i] = x[i] - y[i]
	}
}

func mulGeneric(dst, a, b *float32, n int) {
	d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		d[i] = x[i] * y[i]
	}
}

func divGeneric(dst, a, b *float32, n int) {
	d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		d[i] = x[i] / y[i]
	}
}

func addScalarGeneric(dst, a *float32, s float32, n int) {
	d, x := unsafe.Slice(dst, n), unsafe.Slice(a, n)
	for i := range d {
		d[i] = x[i] + s
	}
}

func mulScalarGeneric(dst, a *float32, s float32, n int) {
	d, x := unsafe.Slice(dst, n), unsafe.Slice(a, n)
	for i := range d {
		d[i] = x[i] * s
	}
}

func mulAddGeneric(dst, a, b, c *float32, n int) {
	d, x, y, z := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n), unsafe.Slice(c, n)
	for i := range d {
		d[i] = x[i]*y[i] + z[i]
	}
}

func axpyGeneric(dst, a, b *float32, s float32, n int) {
	d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		d[i] = s*x[i] + y[i]
	}
}

func lerpGeneric(dst, a, b *float32, s float32, n int) {
	d, x, y := unsafe.Slice(dst, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		d[i] = y[i] + s*(x[i]-y[i])
	}
}

func selectGeneric(dst, mask, a, b *float32, n int) {
	d, m, x, y := unsafe.Slice(dst, n), unsafe.Slice(mask, n), unsafe.Slice(a, n), unsafe.Slice(b, n)
	for i := range d {
		if m[i] != 0 {
			d[i] = x[i]
		} else {
			d[i] = y[i]
		}
	}
}

func fillGeneric(dst *float32, s float32, n int) {
	for i := range unsafe.Slice(dst, n) {
		unsafe.Slice(dst, n)[i] = s
	}
}

func adamWGeneric(p1, m1, v1, p, grad, m, v *float32, c *AdamW, n int) {
	pOut, mOut, vOut := unsafe.Slice(p1, n), unsafe.Slice(m1, n), unsafe.Slice(v1, n)
	pIn, mIn, vIn, gIn := unsafe.Slice(p, n), unsafe.Slice(m, n), unsafe.Slice(v, n), unsafe.Slice(grad, n)
	for i := range pOut {
		g := c.GradScale * gIn[i]
		mean := c.Beta1*mIn[i] + c.OneMinusBeta1*g
		square := c.Beta2*vIn[i] + c.OneMinusBeta2*(g*g)
		mOut[i], vOut[i] = mean, square
		update := mean*c.Fix1/(sqrt(square*c.Fix2)+c.Epsilon) + c.Decay*pIn[i]
		pOut[i] = pIn[i] - c.Rate*update
	}
}
