package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func normal(random *rand.Rand, n int) []float32 {
	list := make([]float32, n)
	for i := range list {
		list[i] = float32(random.NormFloat64())
	}
	return list
}

// within fails the test if got is farther from want than 2e-7 of the sum of magnitudes, some roundings of a lane's sum.
func within(t *testing.T, what string, got float32, want, magnitude float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= 2e-7*magnitude) {
		t.Fatalf("%s: got %v, expected %v ± %.1e", what, got, want, 2e-7*magnitude)
	}
}

func TestReductions(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, table := range Tables() {
		v := &table.Vec
		for _, n := range lengths {
			if n == 0 {
				continue
			}
			a, b := normal(random, n+20), normal(random, n+20)
			for i := n; i < len(a); i++ { // values beyond the end must not count
				a[i], b[i] = nan, inf
			}
			var sum, squares, dot, size, product float64
			top, bottom := a[0], a[0]
			for i, x := range a[:n] {
				sum += float64(x)
				size += math.Abs(float64(x))
				squares += float64(x) * float64(x)
				dot += float64(x) * float64(b[i])
				product += math.Abs(float64(x) * float64(b[i]))
				top, bottom = max(top, x), min(bottom, x)
			}
			what := fmt.Sprintf("%s n=%d ", table.Name, n)
			within(t, what+"Sum", v.Sum(&a[0], n), sum, size)
			within(t, what+"SumSquares", v.SumSquares(&a[0], n), squares, squares)
			within(t, what+"Dot", v.Dot(&a[0], &b[0], n), dot, product)
			if got := v.MaxReduce(&a[0], n); got != top {
				t.Fatalf("%sMaxReduce: got %v, expected %v", what, got, top)
			}
			if got := v.MinReduce(&a[0], n); got != bottom {
				t.Fatalf("%sMinReduce: got %v, expected %v", what, got, bottom)
			}
			for _, i := range []int{0, n / 2, n - 1} {
				old := a[i]
				a[i] = nan
				if x, y := v.MaxReduce(&a[0], n), v.MinReduce(&a[0], n); x == x || y == y {
					t.Fatalf("%sMaxReduce and MinReduce with NaN at %d: got %v and %v", what, i, x, y)
				}
				a[i] = inf
				if x, y := v.MaxReduce(&a[0], n), v.MinReduce(&a[0], n); x != inf || n == 1 && y != inf {
					t.Fatalf("%sMaxReduce and MinReduce with Inf at %d: got %v and %v", what, i, x, y)
				}
				a[i] = old
			}
		}
	}
}

func TestExpSum(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, table := range Tables() {
		v := &table.Vec
		for _, n := range lengths {
			a, dst, plain := normal(random, n+20), make([]float32, n+20), make([]float32, n+20)
			if n > 2 {
				a[n/2] = -inf
			}
			v.AddS(&plain[0], &a[0], -1.25, n)
			v.Exp(&plain[0], &plain[0], n)
			got := v.ExpSum(&dst[0], &a[0], 1.25, n)
			var sum float64
			for i := range dst {
				if !same(dst[i], plain[i]) {
					t.Fatalf("%s n=%d: ExpSum has %v at %d, expected %v", table.Name, n, dst[i], i, plain[i])
				}
				sum += float64(dst[i])
			}
			within(t, fmt.Sprintf("%s n=%d ExpSum", table.Name, n), got, sum, sum)
		}
	}
}

// matrix is an operand of the row kernels: a matrix with a gap behind each row, or a vector.
type matrix []float32

func (m matrix) clone() matrix { return append(matrix(nil), m...) }

// The row kernels agree with the portable ones, which are compared with float64 arithmetic by the tests of their users,
// and leave the gaps between the rows alone.
func TestRowKernels(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	kernels := []struct {
		name   string
		output int // operands 0 to output−1 are results
		run    func(v *Vec, m []matrix, n, rows, stride int)
		shape  string // of the operands: m for a matrix, v for a vector
	}{
		{"AccumulateRows", 1, func(v *Vec, m []matrix, n, rows, stride int) {
			v.AccumulateRows(&m[0][0], &m[1][0], n, rows, stride)
		}, "vm"},
		{"Moments", 2, func(v *Vec, m []matrix, n, rows, stride int) {
			v.Moments(&m[0][0], &m[1][0], &m[2][0], &m[3][0], n, rows, stride)
		}, "vvmv"},
		{"AffineRows", 1, func(v *Vec, m []matrix, n, rows, stride int) {
			v.AffineRows(&m[0][0], &m[1][0], &m[2][0], &m[3][0], n, rows, stride)
		}, "mmvv"},
		{"AffineSiLURows", 1, func(v *Vec, m []matrix, n, rows, stride int) {
			v.AffineSiLURows(&m[0][0], &m[1][0], &m[2][0], &m[3][0], n, rows, stride)
		}, "mmvv"},
		{"GradMoments", 2, func(v *Vec, m []matrix, n, rows, stride int) {
			v.GradMoments(&m[0][0], &m[1][0], &m[2][0], &m[3][0], &m[4][0], n, rows, stride)
		}, "vvmmv"},
		{"SiLUGradMoments", 3, func(v *Vec, m []matrix, n, rows, stride int) {
			v.SiLUGradMoments(&m[0][0], &m[1][0], &m[2][0], &m[3][0], &m[4][0], &m[5][0], &m[6][0], &m[7][0], n, rows, stride)
		}, "mvvmmvvv"},
		{"AffineSumRows", 1, func(v *Vec, m []matrix, n, rows, stride int) {
			v.AffineSumRows(&m[0][0], &m[1][0], &m[2][0], &m[3][0], &m[4][0], &m[5][0], n, rows, stride)
		}, "mmmvvv"},
	}
	for _, table := range Tables() {
		for _, k := range kernels {
			for _, n := range []int{1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 100, 128, 200} {
				for _, rows := range []int{0, 1, 2, 3, 6} {
					stride := n + n%3
					var want, got []matrix
					for _, shape := range k.shape {
						size := n
						if shape == 'm' {
							size = max(1, rows) * stride
						}
						m := matrix(normal(random, size+20))
						want, got = append(want, m.clone()), append(got, m)
					}
					k.run(&genericVec, want, n, rows, stride)
					k.run(&table.Vec, got, n, rows, stride)
					for i := range got {
						for j, x := range got[i] {
							y := float64(want[i][j])
							tolerance := 4e-6 * (1 + math.Abs(y))
							if i >= k.output || j >= n && (k.shape[i] == 'v' || j%stride >= n || j/stride >= rows) {
								tolerance = 0
							}
							if !(math.Abs(float64(x)-y) <= tolerance) {
								t.Fatalf("%s %s n=%d rows=%d stride=%d: operand %d has %v at %d, expected %v", table.Name, k.name, n, rows, stride, i, x, j, y)
							}
						}
					}
				}
			}
		}
	}
}

func TestAdamWKernel(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	c := AdamW{Rate: 0.01, GradScale: 0.5, Fix1: 2.5, Fix2: 30, Epsilon: 1e-8, Decay: 0.02,
		Beta1: 0.9, OneMinusBeta1: 0.1, Beta2: 0.999, OneMinusBeta2: 0.001}
	for _, table := range Tables() {
		for _, n := range lengths {
			p, grad, m, v := normal(random, n+20), normal(random, n+20), normal(random, n+20), normal(random, n+20)
			table.Vec.Square(&v[0], &v[0], len(v))
			p0, m0, v0 := matrix(p).clone(), matrix(m).clone(), matrix(v).clone()
			table.Vec.AdamW(&p[0], &m[0], &v[0], &p[0], &grad[0], &m[0], &v[0], &c, n)
			for i := range p {
				m1, v1, p1 := float64(m0[i]), float64(v0[i]), float64(p0[i])
				if i < n {
					g := float64(c.GradScale) * float64(grad[i])
					m1 = float64(c.Beta1)*m1 + float64(c.OneMinusBeta1)*g
					v1 = float64(c.Beta2)*v1 + float64(c.OneMinusBeta2)*g*g
					p1 -= float64(c.Rate) * (m1*float64(c.Fix1)/(math.Sqrt(v1*float64(c.Fix2))+float64(c.Epsilon)) + float64(c.Decay)*p1)
				}
				what := fmt.Sprintf("%s n=%d i=%d ", table.Name, n, i)
				within(t, what+"m", m[i], m1, math.Abs(float64(m0[i]))+math.Abs(float64(grad[i])))
				within(t, what+"v", v[i], v1, v1)
				// The step itself is off by a few rounding errors, each relative to it.
				within(t, what+"p", p[i], p1, 1+math.Abs(float64(p0[i]))+3*math.Abs(p1-float64(p0[i])))
			}
		}
	}
}
