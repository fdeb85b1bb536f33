package op_test

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/op"
)

// run evaluates a graph function and returns its outputs as flat float32 slices.
func run(t *testing.T, fn func(in []*graph.Node) []*graph.Node, inputs ...any) [][]float32 {
	t.Helper()
	e, err := engine.Open("")
	if err != nil {
		t.Fatal(err)
	}
	program, err := e.Compile(fn)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := program.Run(inputs...)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, len(tensors))
	for i, tensor := range tensors {
		out[i] = make([]float32, tensor.Shape().Size())
		if err := engine.Floats(out[i], tensor); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func near(t *testing.T, name string, got float32, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= tolerance) {
		t.Errorf("%s = %.8g, want %.8g ± %.2g", name, got, want, tolerance)
	}
}

func TestSiLU(t *testing.T) {
	x := []float32{-100, -3, -1, -1e-4, 0, 0.02, 1, 3, 100}
	out := run(t, func(in []*graph.Node) []*graph.Node {
		y := op.SiLU(in[0])
		return []*graph.Node{y, graph.Gradient(graph.ReduceAllSum(y), in[0])[0]}
	}, x)
	for i, v := range x {
		v := float64(v)
		σ := 1 / (1 + math.Exp(-v))
		near(t, "SiLU", out[0][i], v*σ, 1e-6*(1+math.Abs(v)))
		near(t, "its gradient", out[1][i], σ+v*σ*(1-σ), 1e-6)
	}
}

// Five steps against the textbook formulas in float64.
func TestAdamW(t *testing.T) {
	const rate, beta1, beta2, epsilon = 0.1, 0.9, 0.999, 1e-8
	grads := [][]float32{{1, -2, 1e-4}, {0.5, -2, 0}, {-3, 1, 1e-4}, {0, 0, 5}, {0.1, 0.2, 0.3}}
	for _, decay := range []float64{0, 0.05} {
		p, m, v := []float32{1, -1, 0.5}, make([]float32, 3), make([]float32, 3)
		wantP, wantM, wantV := []float64{1, -1, 0.5}, make([]float64, 3), make([]float64, 3)
		for k, grad := range grads {
			fix1, fix2 := 1/(1-math.Pow(beta1, float64(k+1))), 1/(1-math.Pow(beta2, float64(k+1)))
			out := run(t, func(in []*graph.Node) []*graph.Node {
				p1, m1, v1 := op.AdamW(in[0], in[1], in[2], in[3], in[4], in[5], in[6], beta1, beta2, epsilon, decay)
				return []*graph.Node{p1, m1, v1}
			}, p, grad, m, v, float32(rate), float32(fix1), float32(fix2))
			p, m, v = out[0], out[1], out[2]
			for i := range wantP {
				g := float64(grad[i])
				wantM[i] = beta1*wantM[i] + (1-beta1)*g
				wantV[i] = beta2*wantV[i] + (1-beta2)*g*g
				wantP[i] -= rate * (wantM[i]*fix1/(math.Sqrt(wantV[i]*fix2)+epsilon) + decay*wantP[i])
				near(t, "p", p[i], wantP[i], 1e-5)
				near(t, "m", m[i], wantM[i], 1e-6)
				near(t, "v", v[i], wantV[i], 1e-6*(wantV[i]+1e-3))
			}
		}
	}
}

func TestClipByGlobalNorm(t *testing.T) {
	for _, c := range []struct{ limit, scale float64 }{{1, 1. / 13}, {6.5, 0.5}, {13.1, 1}, {1000, 1}} {
		out := run(t, func(in []*graph.Node) []*graph.Node {
			clipped, norm := op.ClipByGlobalNorm(in, c.limit)
			return append(clipped, norm)
		}, []float32{3, -4}, [][]float32{{12}}) // joint norm 13
		for i, want := range []float64{3, -4} {
			near(t, "first", out[0][i], want*c.scale, 1e-5)
		}
		near(t, "second", out[1][0], 12*c.scale, 1e-5)
		near(t, "norm before", out[2][0], 13, 1e-5)
	}
	out := run(t, func(in []*graph.Node) []*graph.Node {
		clipped, _ := op.ClipByGlobalNorm(in, 1)
		return clipped
	}, []float32{0, 0})
	near(t, "zero gradient", out[0][0], 0, 0)
}

func TestEMA(t *testing.T) {
	out := run(t, func(in []*graph.Node) []*graph.Node { return []*graph.Node{op.EMA(in[0], in[1], in[2])} },
		[]float32{1, -2}, []float32{5, 2}, float32(0.75))
	near(t, "average", out[0][0], 2, 1e-6)
	near(t, "average", out[0][1], -1, 1e-6)
}

func TestSinusoids(t *testing.T) {
	times := []float32{0, 0.001, 0.37, 1}
	for _, dim := range []int{2, 4, 32} {
		out := run(t, func(in []*graph.Node) []*graph.Node { return []*graph.Node{op.Sinusoids(in[0], dim)} }, times)
		if len(out[0]) != dim*len(times) {
			t.Fatalf("dim %d: %d numbers for %d times", dim, len(out[0]), len(times))
		}
		half := dim / 2
		for i, at := range times {
			for j := range half {
				frequency := math.Pow(1e-4, float64(j)/float64(max(half-1, 1)))
				phase := 1000 * float64(at) * frequency
				near(t, "sine", out[0][i*dim+j], math.Sin(phase), 2e-4) // a phase of 1000 in float32 is good to 6e-5
				near(t, "cosine", out[0][i*dim+half+j], math.Cos(phase), 2e-4)
			}
		}
	}
}
