package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// normReference is the definition in float64: y, and the gradients of Σ dy·y if there is dy.
type normReference struct {
	spec                 GroupNormSpec
	x, scale, bias, dy   []float64
	y, dx, dscale, dbias []float64
}

func (r *normReference) run() {
	s := r.spec
	at := func(b, i, c int) int { return (b*s.Spatial+i)*s.Channels + c }
	r.y, r.dx = make([]float64, len(r.x)), make([]float64, len(r.x))
	r.dscale, r.dbias = make([]float64, len(r.scale)), make([]float64, len(r.bias))
	width := s.Channels / s.Groups
	n := float64(width * s.Spatial)
	for b := range s.Batch {
		for group := range s.Groups {
			each := func(f func(i, c, k int, u float64)) {
				for i := range s.Spatial {
					for c := group * width; c < (group+1)*width; c++ {
						of := c // the coefficients
						if s.Adaptive {
							of += b * s.Channels
						}
						f(i, of, at(b, i, c), r.x[at(b, i, c)])
					}
				}
			}
			var mean, variance, m1, m2 float64
			each(func(_, _, _ int, u float64) { mean += u / n })
			each(func(_, _, _ int, u float64) { variance += (u - mean) * (u - mean) / n })
			rstd := 1 / math.Sqrt(variance+s.Epsilon)
			dz := make([]float64, len(r.x))
			each(func(_, c, k int, u float64) {
				z := (u-mean)*rstd*r.scale[c] + r.bias[c]
				sigma := 1 / (1 + math.Exp(-z))
				r.y[k], dz[k] = z, 1
				if s.SiLU {
					r.y[k], dz[k] = z*sigma, sigma*(1+z*(1-sigma))
				}
				if r.dy == nil {
					return
				}
				dz[k] *= r.dy[k]
				r.dbias[c] += dz[k]
				r.dscale[c] += dz[k] * (u - mean) * rstd
				m1 += dz[k] * r.scale[c] / n
				m2 += dz[k] * r.scale[c] * (u - mean) * rstd / n
			})
			each(func(_, c, k int, u float64) { r.dx[k] = rstd * (dz[k]*r.scale[c] - m1 - (u-mean)*rstd*m2) })
		}
	}
}

func widen(a []float32) []float64 {
	if a == nil {
		return nil
	}
	b := make([]float64, len(a))
	for i, v := range a {
		b[i] = float64(v)
	}
	return b
}

func normal(random *rand.Rand, n int, mean, deviation float64) []float32 {
	a := make([]float32, n)
	for i := range a {
		a[i] = float32(mean + deviation*random.NormFloat64())
	}
	return a
}

// near fails the test if a value is farther from the reference than the tolerance times their size; a value counts as at
// least 1 and at least as the root mean square of the reference.
func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, expected %d", what, len(got), len(want))
	}
	var square float64
	for _, w := range want {
		square += w * w / float64(len(want))
	}
	for i, g := range got {
		if size := max(1, math.Abs(want[i]), math.Sqrt(square)); !(math.Abs(float64(g)-want[i]) <= tolerance*size) {
			t.Fatalf("%s: value %d is %v, expected %v ± %.1e", what, i, g, want[i], tolerance*size)
		}
	}
}

var normSpecs = []GroupNormSpec{
	{Batch: 1, Spatial: 1, Channels: 1, Groups: 1, Epsilon: 0.5},
	{Batch: 2, Spatial: 7, Channels: 6, Groups: 3, Epsilon: 1e-5, SiLU: true, Adaptive: true},
	{Batch: 3, Spatial: 49, Channels: 20, Groups: 2, Epsilon: 1e-5, SiLU: true},
	{Batch: 5, Spatial: 1, Channels: 64, Groups: 8, Epsilon: 1e-5, Adaptive: true},
	{Batch: 17, Spatial: 196, Channels: 32, Groups: 32, Epsilon: 1e-5, SiLU: true, Adaptive: true},
	{Batch: 2, Spatial: 333, Channels: 160, Groups: 32, Epsilon: 1e-6, SiLU: true, Adaptive: true},
	{Batch: 1, Spatial: 1500, Channels: 100, Groups: 5, Epsilon: 1e-5, Adaptive: true},
	{Batch: 1, Spatial: 90, Channels: 1030, Groups: 10, Epsilon: 1e-5, SiLU: true},
}

func (s GroupNormSpec) operands(mean float64) (x, scale, bias, dy []float32) {
	random := rand.New(rand.NewPCG(uint64(s.Spatial), uint64(s.Channels)))
	n, coefficients := s.Batch*s.Spatial*s.Channels, s.Channels
	if s.Adaptive {
		coefficients *= s.Batch
	}
	return normal(random, n, mean, 1), normal(random, coefficients, 1, 0.5), normal(random, coefficients, 0, 1), normal(random, n, 0, 1)
}

func TestGroupNorm(t *testing.T) {
	for _, spec := range normSpecs {
		for _, mean := range []float64{0, 100} {
			x, scale, bias, dy := spec.operands(mean)
			r := normReference{spec: spec, x: widen(x), scale: widen(scale), bias: widen(bias), dy: widen(dy)}
			r.run()
			eachTable(t, func(name string, ctx *kern.Context) {
				g, err := PrepareGroupNorm(spec)
				if err != nil {
					t.Fatal(err)
				}
				tolerance := 4e-6
				if mean != 0 {
					tolerance = 1e-4
				}
				y, dx := make([]float32, len(x)), make([]float32, len(x))
				dscale, dbias := normal(rand.New(rand.NewPCG(1, 1)), len(scale), 0, 1), make([]float32, len(bias))
				what := fmt.Sprintf("%s %+v mean %g: ", name, spec, mean)
				g.Forward(ctx, y, x, scale, bias)
				near(t, what+"y", y, r.y, tolerance)
				g.Backward(ctx, dx, dscale, dbias, dy, x, scale, bias)
				near(t, what+"dx", dx, r.dx, tolerance)
				near(t, what+"dscale", dscale, r.dscale, tolerance)
				near(t, what+"dbias", dbias, r.dbias, tolerance)

				inPlace := append([]float32(nil), x...)
				g.Forward(ctx, inPlace, inPlace, scale, bias)
				equal(t, what+"y in place of x", inPlace, y)
				inPlace = append([]float32(nil), dy...)
				g.Backward(ctx, inPlace, dscale, dbias, inPlace, x, scale, bias)
				equal(t, what+"dx in place of dy", inPlace, dx)
			})
		}
	}
}

// The reference gradient is that of the reference.
func TestGroupNormReference(t *testing.T) {
	spec := GroupNormSpec{Batch: 2, Spatial: 3, Channels: 4, Groups: 2, Epsilon: 1e-3, SiLU: true, Adaptive: true}
	x, scale, bias, dy := spec.operands(0.5)
	r := normReference{spec: spec, x: widen(x), scale: widen(scale), bias: widen(bias), dy: widen(dy)}
	loss := func() (sum float64) {
		r.run()
		for i, y := range r.y {
			sum += y * r.dy[i]
		}
		return sum
	}
	loss()
	dx, dscale, dbias := r.dx, r.dscale, r.dbias
	differences(t, "dx", loss, r.x, dx)
	differences(t, "dscale", loss, r.scale, dscale)
	differences(t, "dbias", loss, r.bias, dbias)
}

func TestGroupNormWorkers(t *testing.T) {
	for _, spec := range normSpecs {
		x, scale, bias, dy := spec.operands(1)
		g, err := PrepareGroupNorm(spec)
		if err != nil {
			t.Fatal(err)
		}
		workersAgree(t, fmt.Sprintf("%+v", spec), func(ctx *kern.Context) [][]float32 {
			y, dx := make([]float32, len(x)), make([]float32, len(x))
			dscale, dbias := make([]float32, len(scale)), make([]float32, len(bias))
			g.Forward(ctx, y, x, scale, bias)
			g.Backward(ctx, dx, dscale, dbias, dy, x, scale, bias)
			noAllocation(t, func() {
				g.Forward(ctx, y, x, scale, bias)
				g.Backward(ctx, dx, dscale, dbias, dy, x, scale, bias)
			})
			return [][]float32{y, dx, dscale, dbias}
		})
	}
}

func TestPrepareGroupNormErrors(t *testing.T) {
	for _, spec := range []GroupNormSpec{
		{Batch: 0, Spatial: 1, Channels: 1, Groups: 1},
		{Batch: 1, Spatial: 1, Channels: 6, Groups: 4},
		{Batch: 1, Spatial: 1, Channels: 6, Groups: 0},
		{Batch: 1, Spatial: 1, Channels: 6, Groups: 3, Epsilon: math.NaN()},
	} {
		if _, err := PrepareGroupNorm(spec); err == nil {
			t.Errorf("%+v was accepted", spec)
		}
	}
}

// The rate counts x and y once, as in a comparison with the memory's bandwidth.
func BenchmarkGroupNorm(b *testing.B) {
	for _, spec := range []GroupNormSpec{
		{Batch: 64, Spatial: 784, Channels: 64, Groups: 32, Epsilon: 1e-5, SiLU: true, Adaptive: true},
		{Batch: 64, Spatial: 2400, Channels: 64, Groups: 32, Epsilon: 1e-5, SiLU: true},
		{Batch: 64, Spatial: 2400, Channels: 64, Groups: 32, Epsilon: 1e-5},
		{Batch: 4, Spatial: 4096, Channels: 320, Groups: 32, Epsilon: 1e-5, SiLU: true},
	} {
		g, err := PrepareGroupNorm(spec)
		if err != nil {
			b.Fatal(err)
		}
		x, scale, bias, dy := spec.operands(1)
		y, dscale, dbias := make([]float32, len(x)), make([]float32, len(scale)), make([]float32, len(scale))
		eachTable(b, func(name string, ctx *kern.Context) {
			shape := fmt.Sprintf("%dx%dx%d,silu=%v/%s", spec.Batch, spec.Spatial, spec.Channels, spec.SiLU, name)
			b.Run("forward/"+shape, func(b *testing.B) {
				b.SetBytes(int64(8 * len(x)))
				for b.Loop() {
					g.Forward(ctx, y, x, scale, bias)
				}
			})
			b.Run("backward/"+shape, func(b *testing.B) {
				b.SetBytes(int64(12 * len(x)))
				for b.Loop() {
					g.Backward(ctx, y, dscale, dbias, dy, x, scale, bias)
				}
			})
		})
	}
}
