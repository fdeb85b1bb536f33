package op_test

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/op"
)

// Five steps against the textbook formulas in float64.
func TestAdamW(t *testing.T) {
	const rate, beta1, beta2, epsilon = 0.1, 0.9, 0.999, 1e-8
	const scale = 0.25
	grads := [][]float32{{1, -2, 1e-4}, {0.5, -2, 0}, {-3, 1, 1e-4}, {0, 0, 5}, {0.1, 0.2, 0.3}}
	for _, decay := range []float64{0, 0.05} {
		p, m, v := []float32{1, -1, 0.5}, make([]float32, 3), make([]float32, 3)
		wantP, wantM, wantV := []float64{1, -1, 0.5}, make([]float64, 3), make([]float64, 3)
		for k, grad := range grads {
			fix1, fix2 := 1/(1-math.Pow(beta1, float64(k+1))), 1/(1-math.Pow(beta2, float64(k+1)))
			out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
				p1, m1, v1 := op.AdamW(in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7], beta1, beta2, epsilon, decay)
				return []*graph.Node{p1, m1, v1}
			}, p, grad, m, v, float32(rate), float32(fix1), float32(fix2), float32(scale))
			p, m, v = out[0], out[1], out[2]
			for i := range wantP {
				g := scale * float64(grad[i])
				wantM[i] = beta1*wantM[i] + (1-beta1)*g
				wantV[i] = beta2*wantV[i] + (1-beta2)*g*g
				wantP[i] -= rate * (wantM[i]*fix1/(math.Sqrt(wantV[i]*fix2)+epsilon) + decay*wantP[i])
				oracle.Near(t, "p", p[i], wantP[i], 1e-5)
				oracle.Near(t, "m", m[i], wantM[i], 1e-6)
				oracle.Near(t, "v", v[i], wantV[i], 1e-6*(wantV[i]+1e-3))
			}
		}
	}
}

// A step on an infinite gradient, which clipping scales by limit/∞ = 0, and one on a NaN change nothing.
func TestAdamWVoidStep(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, scale := range []float32{0, nan, -1} {
		p, m, v := []float32{1, -1, 0.5}, []float32{0.1, 0.2, 0.3}, []float32{1, 2, 3}
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			p1, m1, v1 := op.AdamW(in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7], 0.9, 0.999, 1e-8, 0.1)
			return []*graph.Node{p1, m1, v1}
		}, p, []float32{inf, nan, 1}, m, v, float32(0.1), float32(2), float32(3), scale)
		for i, want := range [][]float32{p, m, v} {
			if !slices.Equal(out[i], want) {
				t.Errorf("scale %g: output %d is %v, want %v as before", scale, i, out[i], want)
			}
		}
	}
}

func TestGlobalNorm(t *testing.T) {
	norm := func(in []*graph.Node) []*graph.Node { return []*graph.Node{op.GlobalNorm(in)} }
	oracle.Near(t, "norm", oracle.Run(t, "", norm, []float32{3, -4}, [][]float32{{12}}, float32(84))[0][0], 85, 1e-5)
	oracle.Near(t, "norm of zero", oracle.Run(t, "", norm, []float32{0, 0})[0][0], 0, 0)
}

func TestEMA(t *testing.T) {
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node { return []*graph.Node{op.EMA(in[0], in[1], in[2])} },
		[]float32{1, -2}, []float32{5, 2}, float32(0.75))
	oracle.Near(t, "average", out[0][0], 2, 1e-6)
	oracle.Near(t, "average", out[0][1], -1, 1e-6)
}

func TestSinusoids(t *testing.T) {
	times := []float32{0, 0.001, 0.37, 1}
	for _, dim := range []int{2, 4, 32} {
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node { return []*graph.Node{op.Sinusoids(in[0], dim)} }, times)
		if len(out[0]) != dim*len(times) {
			t.Fatalf("dim %d: %d numbers for %d times", dim, len(out[0]), len(times))
		}
		half := dim / 2
		for i, at := range times {
			for j := range half {
				frequency := math.Pow(1e-4, float64(j)/float64(max(half-1, 1)))
				phase := 1000 * float64(at) * frequency
				oracle.Near(t, "sine", out[0][i*dim+j], math.Sin(phase), 2e-4) // a phase of 1000 in float32 is good to 6e-5
				oracle.Near(t, "cosine", out[0][i*dim+half+j], math.Cos(phase), 2e-4)
			}
		}
	}
}
