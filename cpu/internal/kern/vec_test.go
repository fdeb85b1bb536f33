package kern

import (
	"math"
	"math/rand/v2"
	"testing"
)

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

// specials are the values at which a formula changes or breaks.
var specials = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3, 1e-3, -1e-3, 0x1p-25, -0x1p-26,
	math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, -0x1p-126, 0x1p-127, -0x1.8p-130,
	math.MaxFloat32, -math.MaxFloat32, inf, -inf, nan, 8388607.5, -8388609, 0x1p31, -0x1p31, 1e10, -1e10,
	88.72283, 88.722845, -87.33655, -103.9, -104.1, 89, -17, 17, 10, -10, 9.01, -20, 0.75, 1.4999999, 0.70710677,
	3.95, -4, 0.99999994, 1.0000001, 1e5, -1.001e5, 3.1415927, 1.5707964, -1.278,
}

// ulps is the distance of got from the exact value in units in the last place of the latter as a float32.
func ulps(got float32, want float64) float64 {
	switch w := float32(want); {
	case want != want || got != got:
		if want != want && got != got {
			return 0
		}
		return math.Inf(1)
	case math.IsInf(float64(w), 0) || math.IsInf(float64(got), 0):
		if w == got {
			return 0
		}
		return math.Inf(1)
	case got == 0 && want == 0:
		if math.Signbit(float64(got)) != math.Signbit(want) {
			return math.Inf(1)
		}
		return 0
	}
	_, exponent := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(exponent-24, -149))
}

// beyond reports an error above the bound of the kernel, which has an absolute part where products of denormals occur.
func (k *elementwise) beyond(got float32, want float64) bool {
	e := ulps(got, want)
	return e > k.bound && (math.IsInf(e, 1) || math.Abs(float64(got)-want) > k.floor)
}

// elementwise is one kernel: how to call it, its exact value and the error that is allowed, in ulp, with 0.5 for a result
// that is correctly rounded.
type elementwise struct {
	name  string
	run   func(v *Vec, dst, a, b, c *float32, s float32, n int)
	exact func(a, b, c, s float64) float64
	bound float64
	floor float64
}

func ofUnary(name string, f func(v *Vec) Unary, exact func(float64) float64, bound float64) elementwise {
	return elementwise{name, func(v *Vec, dst, a, _, _ *float32, _ float32, n int) { f(v)(dst, a, n) },
		func(a, _, _, _ float64) float64 { return exact(a) }, bound, 0}
}

func ofBinary(name string, f func(v *Vec) Binary, exact func(a, b float64) float64, bound float64) elementwise {
	return elementwise{name, func(v *Vec, dst, a, b, _ *float32, _ float32, n int) { f(v)(dst, a, b, n) },
		func(a, b, _, _ float64) float64 { return exact(a, b) }, bound, 0}
}

func ofScalar(name string, f func(v *Vec) Scalar, exact func(a, s float64) float64, bound float64) elementwise {
	return elementwise{name, func(v *Vec, dst, a, _, _ *float32, s float32, n int) { f(v)(dst, a, s, n) },
		func(a, _, _, s float64) float64 { return exact(a, s) }, bound, 0}
}

func truth(b bool) float64 { return float64(mask(b)) }

func exactSign(a float64) float64 {
	if a == 0 || a != a {
		return a
	}
	return math.Copysign(1, a)
}

func largest(a, b float64) float64  { return max(a, b) }
func smallest(a, b float64) float64 { return min(a, b) }

var kernels = []elementwise{
	ofBinary("Add", func(v *Vec) Binary { return v.Add }, func(a, b float64) float64 { return a + b }, 0.5),
	ofBinary("Sub", func(v *Vec) Binary { return v.Sub }, func(a, b float64) float64 { return a - b }, 0.5),
	ofBinary("Mul", func(v *Vec) Binary { return v.Mul }, func(a, b float64) float64 { return a * b }, 0.5),
	ofBinary("Div", func(v *Vec) Binary { return v.Div }, func(a, b float64) float64 { return a / b }, 0.5),
	ofBinary("Max", func(v *Vec) Binary { return v.Max }, largest, 0),
	ofBinary("Min", func(v *Vec) Binary { return v.Min }, smallest, 0),
	ofBinary("Less", func(v *Vec) Binary { return v.Less }, func(a, b float64) float64 { return truth(a < b) }, 0),
	ofBinary("LessEqual", func(v *Vec) Binary { return v.LessEqual }, func(a, b float64) float64 { return truth(a <= b) }, 0),
	ofBinary("Equal", func(v *Vec) Binary { return v.Equal }, func(a, b float64) float64 { return truth(a == b) }, 0),
	ofBinary("NotEqual", func(v *Vec) Binary { return v.NotEqual }, func(a, b float64) float64 { return truth(a != b) }, 0),
	ofScalar("AddS", func(v *Vec) Scalar { return v.AddS }, func(a, s float64) float64 { return a + s }, 0.5),
	ofScalar("SubS", func(v *Vec) Scalar { return v.SubS }, func(a, s float64) float64 { return a - s }, 0.5),
	ofScalar("MulS", func(v *Vec) Scalar { return v.MulS }, func(a, s float64) float64 { return a * s }, 0.5),
	ofScalar("DivS", func(v *Vec) Scalar { return v.DivS }, func(a, s float64) float64 { return a / s }, 0.5),
	ofScalar("RSubS", func(v *Vec) Scalar { return v.RSubS }, func(a, s float64) float64 { return s - a }, 0.5),
	ofScalar("RDivS", func(v *Vec) Scalar { return v.RDivS }, func(a, s float64) float64 { return s / a }, 0.5),
	ofScalar("MaxS", func(v *Vec) Scalar { return v.MaxS }, largest, 0),
	ofScalar("MinS", func(v *Vec) Scalar { return v.MinS }, smallest, 0),
	ofScalar("LessS", func(v *Vec) Scalar { return v.LessS }, func(a, s float64) float64 { return truth(a < s) }, 0),
	ofScalar("LessEqualS", func(v *Vec) Scalar { return v.LessEqualS }, func(a, s float64) float64 { return truth(a <= s) }, 0),
	ofScalar("EqualS", func(v *Vec) Scalar { return v.EqualS }, func(a, s float64) float64 { return truth(a == s) }, 0),
	ofScalar("NotEqualS", func(v *Vec) Scalar { return v.NotEqualS }, func(a, s float64) float64 { return truth(a != s) }, 0),
	ofScalar("GreaterS", func(v *Vec) Scalar { return v.GreaterS }, func(a, s float64) float64 { return truth(a > s) }, 0),
	ofScalar("GreaterEqualS", func(v *Vec) Scalar { return v.GreaterEqualS }, func(a, s float64) float64 { return truth(a >= s) }, 0),
	{"Select", func(v *Vec, dst, a, b, c *float32, _ float32, n int) { v.Select(dst, c, a, b, n) },
		func(a, b, c, _ float64) float64 {
			if c != 0 {
				return a
			}
			return b
		}, 0, 0},
	{"Fill", func(v *Vec, dst, _, _, _ *float32, s float32, n int) { v.Fill(dst, s, n) },
		func(_, _, _, s float64) float64 { return s }, 0, 0},
	ofUnary("Neg", func(v *Vec) Unary { return v.Neg }, func(a float64) float64 { return -a }, 0),
	ofUnary("Abs", func(v *Vec) Unary { return v.Abs }, math.Abs, 0),
	ofUnary("Square", func(v *Vec) Unary { return v.Square }, func(a float64) float64 { return a * a }, 0.5),
	ofUnary("Recip", func(v *Vec) Unary { return v.Recip }, func(a float64) float64 { return 1 / a }, 0.5),
	ofUnary("Sqrt", func(v *Vec) Unary { return v.Sqrt }, math.Sqrt, 0.5),
	ofUnary("Rsqrt", func(v *Vec) Unary { return v.Rsqrt }, func(a float64) float64 { return 1 / math.Sqrt(a) }, 1.5),
	ofUnary("Floor", func(v *Vec) Unary { return v.Floor }, math.Floor, 0),
	ofUnary("Ceil", func(v *Vec) Unary { return v.Ceil }, math.Ceil, 0),
	ofUnary("Round", func(v *Vec) Unary { return v.Round }, math.RoundToEven, 0),
	ofUnary("Sign", func(v *Vec) Unary { return v.Sign }, exactSign, 0),
	ofUnary("Exp", func(v *Vec) Unary { return v.Exp }, math.Exp, 1),
	ofUnary("Expm1", func(v *Vec) Unary { return v.Expm1 }, math.Expm1, 2),
	ofUnary("Log", func(v *Vec) Unary { return v.Log }, math.Log, 1),
	ofUnary("Log1p", func(v *Vec) Unary { return v.Log1p }, math.Log1p, 1),
	ofUnary("Tanh", func(v *Vec) Unary { return v.Tanh }, math.Tanh, 2.5),
	ofUnary("Sin", func(v *Vec) Unary { return v.Sin }, math.Sin, 2),
	ofUnary("Cos", func(v *Vec) Unary { return v.Cos }, math.Cos, 2),
	ofUnary("Erf", func(v *Vec) Unary { return v.Erf }, math.Erf, 1.5),
	ofUnary("Logistic", func(v *Vec) Unary { return v.Logistic }, logistic, 2.5),
	{"SiLU", func(v *Vec, dst, a, _, _ *float32, _ float32, n int) { v.SiLU(dst, a, n) },
		func(a, _, _, _ float64) float64 { return silu(a) }, 3, 1e-43},
}

// blended are the kernels whose error is relative to their largest term and not to the result.
var blended = []struct {
	elementwise
	scale func(a, b, c, s float64) float64
}{
	{elementwise{"MulAdd", func(v *Vec, dst, a, b, c *float32, _ float32, n int) { v.MulAdd(dst, a, b, c, n) },
		func(a, b, c, _ float64) float64 { return a*b + c }, 1, 0},
		func(a, b, c, _ float64) float64 { return math.Abs(a*b) + math.Abs(c) }},
	{elementwise{"Axpy", func(v *Vec, dst, a, b, _ *float32, s float32, n int) { v.Axpy(dst, a, b, s, n) },
		func(a, b, _, s float64) float64 { return s*a + b }, 1, 0},
		func(a, b, _, s float64) float64 { return math.Abs(s*a) + math.Abs(b) }},
	{elementwise{"Lerp", func(v *Vec, dst, a, b, _ *float32, s float32, n int) { v.Lerp(dst, a, b, s, n) },
		func(a, b, _, s float64) float64 { return b + s*(a-b) }, 2, 0},
		func(a, b, _, s float64) float64 { return math.Abs(s)*(math.Abs(a)+math.Abs(b)) + math.Abs(b) }},
	{elementwise{"SoftmaxGrad", func(v *Vec, dst, a, b, _ *float32, s float32, n int) { v.SoftmaxGrad(dst, a, b, s, n) },
		func(a, b, _, s float64) float64 { return b * (a - s) }, 2, 0},
		func(a, b, _, s float64) float64 { return math.Abs(b) * (math.Abs(a) + math.Abs(s)) }},
	{elementwise{"SiLUGrad", func(v *Vec, dst, a, b, _ *float32, _ float32, n int) { v.SiLUGrad(dst, a, b, n) },
		func(a, b, _, _ float64) float64 { return a * siluGrad(b) }, 3, 1e-43},
		func(a, b, _, _ float64) float64 {
			b = max(-200, min(200, b))
			return math.Abs(a) * (logistic(b) + math.Abs(b)*logistic(b)*logistic(-b))
		}},
	{elementwise{"GELU", func(v *Vec, dst, a, _, _ *float32, _ float32, n int) { v.GELU(dst, a, n) },
		func(a, _, _, _ float64) float64 { return gelu(a) }, 1.5, 0},
		func(a, _, _, _ float64) float64 { return math.Abs(a) }},
	{elementwise{"GELUGrad", func(v *Vec, dst, a, b, _ *float32, _ float32, n int) { v.GELUGrad(dst, a, b, n) },
		func(a, b, _, _ float64) float64 { return a * geluGrad(b) }, 2.5, 0},
		func(a, _, _, _ float64) float64 { return math.Abs(a) }},
	{elementwise{"QuickGELU", func(v *Vec, dst, a, _, _ *float32, _ float32, n int) { v.QuickGELU(dst, a, n) },
		func(a, _, _, _ float64) float64 { return quickGELU(a) }, 3, 1e-44},
		func(a, _, _, _ float64) float64 { return math.Abs(quickGELU(a)) * (1 + min(math.Abs(a), 200)) }},
	{elementwise{"QuickGELUGrad", func(v *Vec, dst, a, b, _ *float32, _ float32, n int) { v.QuickGELUGrad(dst, a, b, n) },
		func(a, b, _, _ float64) float64 { return a * siluGrad(quick*b) }, 4, 0},
		func(a, _, _, _ float64) float64 { return math.Abs(a) }},
}

// values are random numbers of many magnitudes, with the special ones among them.
func values(random *rand.Rand, n int) []float32 {
	list := make([]float32, n)
	for i := range list {
		switch random.IntN(4) {
		case 0:
			list[i] = float32(random.NormFloat64())
		case 1:
			list[i] = float32(random.NormFloat64() * math.Exp(8*random.NormFloat64()))
		case 2:
			list[i] = float32(20 * random.NormFloat64())
		case 3:
			list[i] = specials[random.IntN(len(specials))]
		}
	}
	return list
}

var lengths = func() []int {
	list := []int{1023, 1024}
	for n := range 68 {
		list = append(list, n)
	}
	return list
}()

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Every elementwise kernel gives the same values for every length, in place or not, and writes nothing beyond the end.
func TestElementwiseLengths(t *testing.T) {
	const size, guard = 1024 + 64, 12345
	all := append([]elementwise{}, kernels...)
	for _, k := range blended {
		all = append(all, k.elementwise)
	}
	for _, table := range Tables() {
		v := &table.Vec
		for _, k := range all {
			random := rand.New(rand.NewPCG(1, 2))
			a, b, c := values(random, size), values(random, size), values(random, size)
			full, dst := make([]float32, size), make([]float32, size)
			k.run(v, &full[0], &a[0], &b[0], &c[0], 0.75, size)
			for _, n := range lengths {
				for place := range 3 {
					for i := range dst {
						dst[i] = guard
					}
					x, y := &a[0], &b[0]
					switch place {
					case 1:
						copy(dst, a[:n])
						x = &dst[0]
					case 2:
						copy(dst, b[:n])
						y = &dst[0]
					}
					k.run(v, &dst[0], x, y, &c[0], 0.75, n)
					for i, got := range dst {
						if i < n && !same(got, full[i]) || i >= n && got != guard {
							t.Fatalf("%s %s: n=%d, operand %d in place: value %d is %g, expected %g", table.Name, k.name, n, place, i, got, full[i])
						}
					}
				}
			}
		}
	}
}

// Every elementwise kernel is within its bound on pairs of special values and on random ones.
func TestElementwiseValues(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var a, b, c []float32
	for _, x := range specials {
		for _, y := range specials {
			a, b, c = append(a, x), append(b, y), append(c, specials[random.IntN(len(specials))])
		}
	}
	a, b, c = append(a, values(random, 20000)...), append(b, values(random, 20000)...), append(c, values(random, 20000)...)
	dst := make([]float32, len(a))
	for _, table := range Tables() {
		for _, k := range kernels {
			for _, s := range []float32{0.75, -3, float32(math.Copysign(0, -1)), inf, nan} {
				k.run(&table.Vec, &dst[0], &a[0], &b[0], &c[0], s, len(dst))
				for i, got := range dst {
					want := k.exact(float64(a[i]), float64(b[i]), float64(c[i]), float64(s))
					if k.bound == 0.5 && same(got, float32(want)) {
						continue
					}
					if k.beyond(got, want) {
						t.Fatalf("%s %s(%g, %g, %g; %g) = %g, expected %g: %.3g ulp, allowed %g", table.Name, k.name, a[i], b[i], c[i], s, got, want, ulps(got, want), k.bound)
					}
				}
			}
		}
		for _, k := range blended {
			const s = 0.75
			k.run(&table.Vec, &dst[0], &a[0], &b[0], &c[0], s, len(dst))
			for i, got := range dst {
				x, y, z := float64(a[i]), float64(b[i]), float64(c[i])
				want := k.exact(x, y, z, s)
				scale := k.scale(x, y, z, s)
				if scale > math.MaxFloat32/2 || math.IsInf(want, 0) || want != want {
					if want != want != (got != got) && scale <= math.MaxFloat32/2 {
						t.Fatalf("%s %s(%g, %g, %g) = %g, expected %g", table.Name, k.name, x, y, z, got, want)
					}
					continue
				}
				if e := (math.Abs(float64(got)-want) - k.floor*math.Abs(x)) / max(scale*0x1p-23, 0x1p-149); !(e <= k.bound) {
					t.Fatalf("%s %s(%g, %g, %g) = %g, expected %g: %.3g units, allowed %g", table.Name, k.name, x, y, z, got, want, e, k.bound)
				}
			}
		}
	}
}

// The functions are within their bounds on a dense sample of all float32 values.
func TestFunctionAccuracy(t *testing.T) {
	const block, step = 1024, 8191 // step is prime, so that the low bits vary
	total := 1 << 32 / step
	if testing.Short() {
		total /= 8
	}
	a, dst := make([]float32, block), make([]float32, block)
	for _, k := range kernels {
		switch k.name {
		case "Exp", "Expm1", "Log", "Tanh", "Sin", "Cos", "Erf", "Logistic", "SiLU", "Rsqrt":
		default:
			continue
		}
		for _, table := range Tables() {
			if table.Name == "generic" {
				continue
			}
			worst, where := 0.0, float32(0)
			for start := 0; start < total; start += block {
				for i := range a {
					a[i] = math.Float32frombits(uint32(start+i) * step)
					if i%2 == 1 { // half of the sample where most arguments are
						a[i] = float32(math.Remainder(float64(start+i)*0.618034, 200))
					}
				}
				k.run(&table.Vec, &dst[0], &a[0], nil, nil, 0, block)
				for i, got := range dst {
					want := k.exact(float64(a[i]), 0, 0, 0)
					if k.beyond(got, want) {
						t.Fatalf("%s %s(%g) = %g, expected %g: %.2f ulp, allowed %g", table.Name, k.name, a[i], got, want, ulps(got, want), k.bound)
					}
					if e := ulps(got, want); e > worst && e <= k.bound {
						worst, where = e, a[i]
					}
				}
			}
			t.Logf("%-6s %-8s %.2f ulp at %g", table.Name, k.name, worst, where)
		}
	}
}
