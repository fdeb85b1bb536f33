package exec_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

func floatsOf(bits []uint32) []float32 {
	out := make([]float32, len(bits))
	for i, b := range bits {
		out[i] = math.Float32frombits(b)
	}
	return out
}

func bitsOf(x []float32) []uint32 {
	out := make([]uint32, len(x))
	for i, v := range x {
		out[i] = math.Float32bits(v)
	}
	return out
}

func TestKnows(t *testing.T) {
	for name, want := range map[string]bool{"softmax": true, "adamw": true, "soft": false, "": false, "convolution": false} {
		if exec.Knows(name) != want {
			t.Errorf("Knows(%q) is %t", name, !want)
		}
	}
}

// attention computes softmax(q·kᵀ/√D)·v and its gradients in float64. q and dy are [B, S, H, D], k and v [B, T, H, D].
func attention(q, k, v, dy []float32, B, S, T, H, D int) (y, dq, dk, dv []float64) {
	y, dq = make([]float64, B*S*H*D), make([]float64, B*S*H*D)
	dk, dv = make([]float64, B*T*H*D), make([]float64, B*T*H*D)
	p, dp := make([]float64, T), make([]float64, T)
	for b := range B {
		for h := range H {
			row := func(n, i int) int { return ((b*n+i)*H + h) * D }
			for s := range S {
				most, sum := math.Inf(-1), 0.0
				for t := range T {
					p[t] = 0
					for d := range D {
						p[t] += float64(q[row(S, s)+d]) * float64(k[row(T, t)+d]) / math.Sqrt(float64(D))
					}
					most = max(most, p[t])
				}
				for t := range T {
					p[t] = math.Exp(p[t] - most)
					sum += p[t]
				}
				mean := 0.0
				for t := range T {
					p[t] /= sum
					dp[t] = 0
					for d := range D {
						y[row(S, s)+d] += p[t] * float64(v[row(T, t)+d])
						dv[row(T, t)+d] += p[t] * float64(dy[row(S, s)+d])
						dp[t] += float64(dy[row(S, s)+d]) * float64(v[row(T, t)+d])
					}
					mean += p[t] * dp[t]
				}
				for t := range T {
					ds := p[t] * (dp[t] - mean) / math.Sqrt(float64(D))
					for d := range D {
						dq[row(S, s)+d] += ds * float64(k[row(T, t)+d])
						dk[row(T, t)+d] += ds * float64(q[row(S, s)+d])
					}
				}
			}
		}
	}
	return y, dq, dk, dv
}

// Attention of one and several heads, of keys that are queries and of others, and its gradient; of tensors and of views.
func TestAttention(t *testing.T) {
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		for _, c := range []struct{ B, S, T, H, D int }{
			{1, 1, 1, 1, 1}, {2, 5, 5, 1, 8}, {2, 7, 3, 3, 4}, {3, 1, 9, 2, 5}, {2, 49, 49, 4, 16}, {1, 65, 17, 2, 33},
		} {
			what := fmt.Sprintf("%+v", c)
			r := rand.New(rand.NewPCG(uint64(c.S), uint64(c.T)))
			q, dy := normal(r, c.B*c.S*c.H*c.D), normal(r, c.B*c.S*c.H*c.D)
			k, v := normal(r, c.B*c.T*c.H*c.D), normal(r, c.B*c.T*c.H*c.D)
			long, short := []int{c.B, c.S, c.H, c.D}, []int{c.B, c.T, c.H, c.D}
			y, dq, dk, dv := attention(q, k, v, dy, c.B, c.S, c.T, c.H, c.D)
			for _, views := range []bool{false, true} {
				g := &graph{}
				operand := func(flat []float32, dims []int) *plan.Value {
					if !views {
						return g.floats(flat, dims...)
					}
					// The parameter is [B, H, S, D].
					turned := make([]float32, len(flat))
					for i := range flat {
						d, h, s, b := i%dims[3], i/dims[3]%dims[2], i/dims[3]/dims[2]%dims[1], i/dims[3]/dims[2]/dims[1]
						turned[((b*dims[2]+h)*dims[1]+s)*dims[3]+d] = flat[i]
					}
					return g.node(compute.OpTypeTranspose, plan.Axes{0, 2, 1, 3}, tensor(dims...), g.floats(turned, dims[0], dims[2], dims[1], dims[3]))
				}
				Q, K, V, DY := operand(q, long), operand(k, short), operand(v, short), operand(dy, long)
				forward := g.call(plan.Named{Name: "attention"}, []*plan.Value{tensor(long...)}, Q, K, V)
				backward := g.call(plan.Named{Name: "attention_grad"}, []*plan.Value{tensor(long...), tensor(short...), tensor(short...)}, DY, forward[0], Q, K, V)
				out := g.run(t, table, append(forward, backward...)...)
				for i, want := range [][]float64{y, dq, dk, dv} {
					near(t, what+[]string{", y", ", dq", ", dk", ", dv"}[i], out[i].([]float32), want, 1e-5)
				}
			}
		}
	})
}

// adamw runs a step on n values: in memory of its own, or in that of parameter and moments.
func adamw(t *testing.T, table *kern.Table, in [4][]float32, scalars [4]float32, donate bool) [3][]float32 {
	t.Helper()
	g := &graph{}
	n := len(in[0])
	var operands []*plan.Value
	for _, x := range in {
		operands = append(operands, g.floats(slices.Clone(x), n))
	}
	for _, s := range scalars {
		operands = append(operands, g.floats([]float32{s}))
	}
	named := plan.Named{Name: "adamw", Floats: map[string]float64{"p": 0.9, "q": 0.999, "e": 1e-8, "w": 0.01}}
	outs := g.call(named, []*plan.Value{tensor(n), tensor(n), tensor(n)}, operands...)
	donated := []bool{donate, false, donate, donate, false, false, false, false}
	x := g.bind(t, table, 2, donated, nil, outs...)
	if err := x.Run(x.params, x.outs); err != nil {
		t.Fatal(err)
	}
	if inPlace := &x.outs[0].F32[0] == &x.params[0].F32[0]; inPlace != donate {
		t.Fatalf("donated: %t, in place: %t", donate, inPlace)
	}
	return [3][]float32{x.outs[0].F32, x.outs[1].F32, x.outs[2].F32}
}

func TestAdamW(t *testing.T) {
	const n = 40001 // several parts
	r := rand.New(rand.NewPCG(1, 2))
	p, grad, m, v := normal(r, n), normal(r, n), normal(r, n), normal(r, n)
	for i := range v {
		v[i] *= v[i]
	}
	const rate, fix1, fix2, scale = 0.01, 2, 3, 0.25
	var want [3][]float64
	for i := range p {
		g := scale * float64(grad[i])
		m1, v1 := 0.9*float64(m[i])+0.1*g, 0.999*float64(v[i])+0.001*g*g
		step := m1*fix1/(math.Sqrt(v1*fix2)+1e-8) + 0.01*float64(p[i])
		want[0], want[1], want[2] = append(want[0], float64(p[i])-rate*step), append(want[1], m1), append(want[2], v1)
	}
	bad := slices.Clone(grad)
	for i := range bad {
		bad[i] = float32([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}[i%3])
	}
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		for _, donate := range []bool{false, true} {
			got := adamw(t, table, [4][]float32{p, grad, m, v}, [4]float32{rate, fix1, fix2, scale}, donate)
			for k := range got {
				near(t, fmt.Sprintf("result %d", k), got[k], want[k], 1e-6)
			}
			// A void step leaves everything as it was, whatever the gradient is.
			for _, scale := range []float32{float32(math.NaN()), 0, -1, float32(math.Inf(-1))} {
				got := adamw(t, table, [4][]float32{p, bad, m, v}, [4]float32{rate, fix1, fix2, scale}, donate)
				for k, before := range [][]float32{p, m, v} {
					if !slices.Equal(got[k], before) {
						t.Errorf("scale %g, donated %t: result %d changed", scale, donate, k)
					}
				}
			}
		}
	})
}

func TestEMA(t *testing.T) {
	const n = 40001
	r := rand.New(rand.NewPCG(1, 3))
	average, v := normal(r, n), normal(r, n)
	want := make([]float64, n)
	for i := range want {
		want[i] = 0.75*float64(average[i]) + 0.25*float64(v[i])
	}
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		g := &graph{}
		out := g.call(plan.Named{Name: "ema"}, []*plan.Value{tensor(n)}, g.floats(slices.Clone(average), n), g.floats(v, n), g.floats([]float32{0.75}))
		x := g.bind(t, table, 2, []bool{true, false, false}, nil, out...)
		if err := x.Run(x.params, x.outs); err != nil {
			t.Fatal(err)
		}
		near(t, "average", x.outs[0].F32, want, 1e-6)
	})
}

// The sum of squares of several tensors, of which some are one, or empty, or long.
func TestSumSquares(t *testing.T) {
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		r := rand.New(rand.NewPCG(1, 4))
		g := &graph{}
		var in []*plan.Value
		want := 0.0
		for _, n := range []int{1, 0, 1000, 100003, 17} {
			flat := normal(r, n)
			for _, x := range flat {
				want += float64(x) * float64(x)
			}
			in = append(in, g.floats(flat, n))
		}
		got := g.run(t, table, g.call(plan.Named{Name: "sum_squares"}, []*plan.Value{tensor()}, in...)...)[0].([]float32)
		near(t, "sum of squares", got, []float64{want}, 1e-6)
	})
}

// After the first run nothing is allocated, whatever the kernels.
func TestRunAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	g := &graph{}
	x := g.floats(normal(r, 64*512), 64, 512)
	w := g.floats(normal(r, 512*512), 512, 512)
	y := g.node(compute.OpTypeDotGeneral, plan.Dot{Contract: [2][]int{{1}, {0}}}, tensor(64, 512), x, w)
	y = g.node(compute.OpTypeTanh, nil, tensor(64, 512), y)
	y = g.node(compute.OpTypeTranspose, plan.Axes{1, 0}, tensor(512, 64), y)
	y = g.node(compute.OpTypeReverse, plan.Axes{0}, tensor(512, 64), y)
	y = g.node(compute.OpTypeExp, nil, tensor(512, 64), y)
	q := g.node(compute.OpTypeReshape, nil, tensor(2, 64, 4, 64), y)
	y = g.call(plan.Named{Name: "attention"}, []*plan.Value{tensor(2, 64, 4, 64)}, q, q, q)[0]
	y = g.call(plan.Named{Name: "softmax"}, []*plan.Value{tensor(2, 64, 4, 64)}, y)[0]
	y = g.node(compute.OpTypeReduceSum, plan.Axes{1}, tensor(2, 4, 64), y)
	onEveryTable(t, func(t *testing.T, table *kern.Table) {
		i := g.bind(t, table, 2, nil, nil, y)
		run := func() {
			if err := i.Run(i.params, i.outs); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if n := testing.AllocsPerRun(5, run); n != 0 {
			t.Errorf("%v allocations per run", n)
		}
	})
}
