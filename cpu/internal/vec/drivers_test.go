package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

func softmaxReference(x []float64, n int, scale float64) (y, logarithm []float64) {
	y, logarithm = make([]float64, len(x)), make([]float64, len(x)/n)
	for row := range logarithm {
		m, sum := math.Inf(-1), 0.0
		for _, v := range x[row*n : (row+1)*n] {
			m = max(m, scale*v)
		}
		for _, v := range x[row*n : (row+1)*n] {
			sum += math.Exp(scale*v - m)
		}
		for j, v := range x[row*n : (row+1)*n] {
			y[row*n+j] = math.Exp(scale*v-m) / sum
		}
		logarithm[row] = m + math.Log(sum)
	}
	return y, logarithm
}

func softmaxGradReference(dy, y []float64, n int, scale float64) []float64 {
	dx := make([]float64, len(y))
	for row := range len(y) / n {
		var dot float64
		for j := row * n; j < (row+1)*n; j++ {
			dot += dy[j] * y[j]
		}
		for j := row * n; j < (row+1)*n; j++ {
			dx[j] = scale * y[j] * (dy[j] - dot)
		}
	}
	return dx
}

func TestSoftmax(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{1, 1}, {3, 2}, {5, 10}, {2, 16}, {7, 77}, {300, 256}, {2, 2*call + 5}} {
		rows, n := shape[0], shape[1]
		x, dy := normal(random, rows*n, 50, 4), normal(random, rows*n, 0, 1)
		x[0], x[len(x)-1] = -300, 200
		for _, scale := range []float32{1, 0.125} {
			want, logarithm := softmaxReference(widen(x), n, float64(scale))
			grad := softmaxGradReference(widen(dy), want, n, float64(scale))
			s, err := PrepareSoftmax(rows, n)
			if err != nil {
				t.Fatal(err)
			}
			s.Scale = scale
			workersAgree(t, fmt.Sprintf("softmax %v", shape), func(ctx *kern.Context) [][]float32 {
				what := fmt.Sprintf("%s softmax %v, scale %g: ", ctx.Name, shape, scale)
				y, dx, sums := make([]float32, len(x)), make([]float32, len(x)), make([]float32, rows)
				s.Forward(ctx, y, x)
				s.Backward(ctx, dx, dy, y)
				s.LogSumExp(ctx, sums, x)
				for i, v := range y {
					if math.Abs(float64(v)-want[i]) > 4e-6*want[i]+1e-44 {
						t.Fatalf("%sy[%d] is %v, expected %v", what, i, v, want[i])
					}
				}
				near(t, what+"dx", dx, grad, 1e-6)
				near(t, what+"log-sum-exp", sums, logarithm, 1e-6)
				noAllocation(t, func() { s.Forward(ctx, y, x); s.Backward(ctx, dx, dy, y); s.LogSumExp(ctx, sums, x) })
				inPlace := slices.Clone(x)
				s.Forward(ctx, inPlace, inPlace)
				equal(t, what+"y in place of x", inPlace, y)
				inPlace = slices.Clone(dy)
				s.Backward(ctx, inPlace, inPlace, y)
				equal(t, what+"dx in place of dy", inPlace, dx)
				return [][]float32{y, dx, sums}
			})
		}
	}
}

func TestSoftmaxReference(t *testing.T) {
	const n = 5
	random := rand.New(rand.NewPCG(3, 4))
	x, dy := widen(normal(random, 2*n, 0, 1)), widen(normal(random, 2*n, 0, 1))
	y, _ := softmaxReference(x, n, 0.5)
	differences(t, "dx", func() (sum float64) {
		y, _ := softmaxReference(x, n, 0.5)
		for i, v := range y {
			sum += v * dy[i]
		}
		return sum
	}, x, softmaxGradReference(dy, y, n, 0.5))
}

func TestAdamWAndEMA(t *testing.T) {
	for _, size := range []int{1, 37, grain, 5*grain + 3} {
		random := rand.New(rand.NewPCG(5, uint64(size)))
		p, grad, m, v := normal(random, size, 0, 1), normal(random, size, 0, 1), normal(random, size, 0, 1), normal(random, size, 2, 0.1)
		spec := AdamWSpec{Size: size, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Decay: 0.01}
		a, err := PrepareAdamW(spec)
		if err != nil {
			t.Fatal(err)
		}
		average, err := PrepareEMA(size)
		if err != nil {
			t.Fatal(err)
		}
		const rate, fix1, fix2, scale, decay = 0.5, 2, 100, 0.25, 0.99
		p1, m1, v1, e1 := make([]float64, size), make([]float64, size), make([]float64, size), make([]float64, size)
		for i := range p1 {
			g := scale * float64(grad[i])
			m1[i] = spec.Beta1*float64(m[i]) + (1-spec.Beta1)*g
			v1[i] = spec.Beta2*float64(v[i]) + (1-spec.Beta2)*g*g
			p1[i] = float64(p[i]) - rate*(m1[i]*fix1/(math.Sqrt(v1[i]*fix2)+spec.Epsilon)+spec.Decay*float64(p[i]))
			e1[i] = float64(p[i]) + decay*(float64(m[i])-float64(p[i]))
		}
		workersAgree(t, "AdamW", func(ctx *kern.Context) [][]float32 {
			p, m, v, e := slices.Clone(p), slices.Clone(m), slices.Clone(v), make([]float32, size)
			average.Step(ctx, e, m, p, decay)
			near(t, ctx.Name+" average", e, e1, 1e-6)
			a.Step(ctx, p, m, v, p, grad, m, v, rate, fix1, fix2, scale)
			near(t, ctx.Name+" p", p, p1, 1e-6)
			near(t, ctx.Name+" m", m, m1, 1e-6)
			near(t, ctx.Name+" v", v, v1, 1e-6)
			results := [][]float32{slices.Clone(p), slices.Clone(m), slices.Clone(v), e}
			noAllocation(t, func() {
				a.Step(ctx, p, m, v, p, grad, m, v, rate, fix1, fix2, scale)
				average.Step(ctx, e, e, p, decay)
			})
			return results
		})
	}
}

func TestSumSquares(t *testing.T) {
	sizes := []int{0, 3, 3*grain + 7, 1, 500}
	random := rand.New(rand.NewPCG(6, 7))
	var tensors [][]float32
	var want float64
	for _, size := range sizes {
		x := normal(random, size, 0.1, 1)
		for _, v := range x {
			want += float64(v) * float64(v)
		}
		tensors = append(tensors, x)
	}
	s, err := PrepareSumSquares(sizes...)
	if err != nil {
		t.Fatal(err)
	}
	workersAgree(t, "sum of squares", func(ctx *kern.Context) [][]float32 {
		got := s.Run(ctx, tensors)
		if math.Abs(got-want) > 1e-6*want {
			t.Fatalf("%s: the sum of squares is %v, expected %v", ctx.Name, got, want)
		}
		noAllocation(t, func() { s.Run(ctx, tensors) })
		return [][]float32{{float32(got), float32(got - float64(float32(got)))}}
	})
}

func TestUpsample(t *testing.T) {
	for _, s := range []UpsampleSpec{{1, 1, 1, 1, 2}, {2, 3, 5, 7, 2}, {2, 4, 3, 16, 1}, {1, 3, 2, 33, 3}, {3, 14, 14, 64, 2}, {1, 2, 700, 8, 2}} {
		f := s.Factor
		random := rand.New(rand.NewPCG(8, uint64(s.Channels)))
		x, dy := normal(random, s.Batch*s.Height*s.Width*s.Channels, 0, 1), normal(random, s.Batch*s.Height*s.Width*s.Channels*f*f, 0, 1)
		want, grad := make([]float32, len(dy)), make([]float64, len(x))
		for i := range dy {
			c, j, row, b := i%s.Channels, i/s.Channels%(f*s.Width), i/(s.Channels*f*s.Width)%(f*s.Height), i/(s.Channels*f*s.Width*f*s.Height)
			k := ((b*s.Height+row/f)*s.Width+j/f)*s.Channels + c
			want[i] = x[k]
			grad[k] += float64(dy[i])
		}
		u, err := PrepareUpsample(s)
		if err != nil {
			t.Fatal(err)
		}
		workersAgree(t, fmt.Sprintf("upsampling %+v", s), func(ctx *kern.Context) [][]float32 {
			y, dx := make([]float32, len(dy)), make([]float32, len(x))
			u.Forward(ctx, y, x)
			equal(t, fmt.Sprintf("%s %+v y", ctx.Name, s), y, want)
			u.Backward(ctx, dx, dy)
			near(t, fmt.Sprintf("%s %+v dx", ctx.Name, s), dx, grad, 1e-6)
			noAllocation(t, func() { u.Forward(ctx, y, x); u.Backward(ctx, dx, dy) })
			return [][]float32{y, dx}
		})
	}
}

func TestReduce(t *testing.T) {
	for _, shape := range [][3]int{{1, 1, 1}, {2, 3, 4}, {7, 5, 1}, {3, 100, 1}, {1, 700000, 1}, {3, 40000, 5}, {1, 3000, 64}, {2, 9, 3000}, {1000, 4, 64}, {4, 0, 3}, {0, 3, 2}} {
		outer, n, inner := shape[0], shape[1], shape[2]
		x := normal(rand.New(rand.NewPCG(9, uint64(n))), outer*n*inner, 0.3, 1)
		for kind, name := range []string{"sum", "mean", "max", "min"} {
			want := make([]float64, outer*inner)
			for i := range want {
				var sum float64
				low, high := math.Inf(1), math.Inf(-1)
				for k := range n {
					v := float64(x[(i/inner*n+k)*inner+i%inner])
					sum, low, high = sum+v, min(low, v), max(high, v)
				}
				want[i] = [...]float64{sum, sum / float64(n), high, low}[kind]
			}
			r, err := PrepareReduce(ReduceSpec{ReduceKind(kind), outer, n, inner})
			if err != nil {
				t.Fatal(err)
			}
			workersAgree(t, fmt.Sprintf("%s of %v", name, shape), func(ctx *kern.Context) [][]float32 {
				got := normal(rand.New(rand.NewPCG(1, 1)), outer*inner, 0, 1)
				r.Run(ctx, got, x)
				for i, v := range got {
					if w := want[i]; w != w != (v != v) || w == w && math.Abs(float64(v)-w) > 1e-6*max(1, math.Abs(w)) && float32(w) != v {
						t.Fatalf("%s %s of %v: value %d is %v, expected %v", ctx.Name, name, shape, i, v, w)
					}
				}
				noAllocation(t, func() { r.Run(ctx, got, x) })
				return [][]float32{got}
			})
		}
	}
}

func TestReduceNaN(t *testing.T) {
	eachTable(t, func(name string, ctx *kern.Context) {
		for _, inner := range []int{1, 3} {
			x := make([]float32, 50000*inner)
			x[40000*inner+inner-1] = float32(math.NaN())
			for _, kind := range []ReduceKind{Sum, Mean, Max, Min} {
				r, err := PrepareReduce(ReduceSpec{kind, 1, 50000, inner})
				if err != nil {
					t.Fatal(err)
				}
				dst := make([]float32, inner)
				r.Run(ctx, dst, x)
				for i, v := range dst {
					if (v != v) != (i == inner-1) {
						t.Fatalf("%s: reduction %d of a NaN: result %d is %v", name, kind, i, v)
					}
				}
			}
		}
	})
}

func TestPermute(t *testing.T) {
	for _, c := range [][2][]int{
		{{}, {}}, {{5}, {0}}, {{3, 4}, {1, 0}}, {{1, 7}, {1, 0}}, {{70, 300}, {1, 0}}, {{64, 256}, {1, 0}}, {{2, 33, 17}, {0, 2, 1}},
		{{2, 3, 4, 5}, {0, 2, 1, 3}}, {{2, 3, 4, 5}, {3, 1, 2, 0}}, {{2, 28, 29, 3}, {0, 3, 1, 2}}, {{2, 3, 28, 29}, {0, 2, 3, 1}},
		{{3, 3, 16, 40}, {0, 1, 3, 2}}, {{2, 3, 4, 5, 6}, {4, 2, 0, 3, 1}}, {{2, 0, 3}, {2, 1, 0}}, {{4, 1, 6}, {2, 1, 0}}, {{2, 3, grain + 5}, {1, 0, 2}}, {{3*grain + 1}, {0}}, {{300, 5, 7, 16}, {0, 2, 1, 3}},
	} {
		dims, perm := c[0], c[1]
		size := 1
		for _, d := range dims {
			size *= d
		}
		x := normal(rand.New(rand.NewPCG(1, 1)), size, 0, 1)
		want := make([]float32, size)
		index := make([]int, len(dims)) // of the result
		for i := range want {
			for k, rest := len(perm)-1, i; k >= 0; k-- {
				index[k] = rest % dims[perm[k]]
				rest /= dims[perm[k]]
			}
			at := 0
			for axis, d := range dims {
				at = at*d + index[slices.Index(perm, axis)]
			}
			want[i] = x[at]
		}
		p, err := PreparePermute(dims, perm)
		if err != nil {
			t.Fatal(err)
		}
		workersAgree(t, fmt.Sprint(dims, perm), func(ctx *kern.Context) [][]float32 {
			got := make([]float32, size)
			p.Run(ctx, got, x)
			equal(t, fmt.Sprintf("%s permutation %v of %v", ctx.Name, perm, dims), got, want)
			noAllocation(t, func() { p.Run(ctx, got, x) })
			return [][]float32{got}
		})
	}
	for _, c := range [][2][]int{{{2, 3}, {0}}, {{2, 3}, {0, 0}}, {{2, 3}, {0, 2}}, {{-1}, {0}}} {
		if _, err := PreparePermute(c[0], c[1]); err == nil {
			t.Errorf("permutation %v of %v was accepted", c[1], c[0])
		}
	}
}
