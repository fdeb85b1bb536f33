package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// layerNormReference returns the results of Forward and Backward in float64.
func layerNormReference(x, scale, bias, dy []float64, epsilon float64) (y, dx, dscale, dbias []float64) {
	n := len(scale)
	y, dx, dscale, dbias = make([]float64, len(x)), make([]float64, len(x)), make([]float64, n), make([]float64, n)
	for at := 0; at < len(x); at += n {
		var mean, variance, slope, product float64
		for _, v := range x[at : at+n] {
			mean += v / float64(n)
		}
		for _, v := range x[at : at+n] {
			variance += (v - mean) * (v - mean) / float64(n)
		}
		root := math.Sqrt(variance + epsilon)
		for j := range n {
			u := (x[at+j] - mean) / root
			y[at+j] = u*scale[j] + bias[j]
			dscale[j] += dy[at+j] * u
			dbias[j] += dy[at+j]
			slope += dy[at+j] * scale[j] / float64(n)
			product += dy[at+j] * scale[j] * u / float64(n)
		}
		for j := range n {
			dx[at+j] = (dy[at+j]*scale[j] - slope - (x[at+j]-mean)/root*product) / root
		}
	}
	return y, dx, dscale, dbias
}

func TestLayerNorm(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {3, 2}, {7, 5}, {77, 64}, {63, 321}, {2, 1280}, {300, 33}, {130, 320}} {
		rows, n := shape[0], shape[1]
		random := rand.New(rand.NewPCG(10, uint64(n)))
		x, dy, scale, bias := normal(random, rows*n, 3, 2), normal(random, rows*n, 0, 1), normal(random, n, 1, 0.5), normal(random, n, 0, 1)
		const epsilon = 1e-3
		wantY, wantDX, wantScale, wantBias := layerNormReference(widen(x), widen(scale), widen(bias), widen(dy), epsilon)
		l, err := PrepareLayerNorm(rows, n, epsilon)
		if err != nil {
			t.Fatal(err)
		}
		workersAgree(t, fmt.Sprintf("layer norm %v", shape), func(ctx *kern.Context) [][]float32 {
			what := fmt.Sprintf("%s layer norm %v: ", ctx.Name, shape)
			y, dx, dscale, dbias := make([]float32, len(x)), make([]float32, len(x)), make([]float32, n), make([]float32, n)
			l.Forward(ctx, y, x, scale, bias)
			l.Backward(ctx, dx, dscale, dbias, dy, x, scale)
			near(t, what+"y", y, wantY, 2e-6)
			near(t, what+"dx", dx, wantDX, 4e-6)
			near(t, what+"dscale", dscale, wantScale, 4e-6)
			near(t, what+"dbias", dbias, wantBias, 4e-6)
			noAllocation(t, func() { l.Forward(ctx, y, x, scale, bias); l.Backward(ctx, dx, dscale, dbias, dy, x, scale) })
			return [][]float32{y, dx, dscale, dbias}
		})
	}
}

// The gradients of the reference are those of its result.
func TestLayerNormReference(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 1))
	x, dy := widen(normal(random, 12, 0, 1)), widen(normal(random, 12, 0, 1))
	scale, bias := widen(normal(random, 4, 1, 0.5)), widen(normal(random, 4, 0, 1))
	_, dx, dscale, dbias := layerNormReference(x, scale, bias, dy, 0.1)
	loss := func() (sum float64) {
		y, _, _, _ := layerNormReference(x, scale, bias, dy, 0.1)
		for i, v := range y {
			sum += v * dy[i]
		}
		return sum
	}
	differences(t, "dx", loss, x, dx)
	differences(t, "dscale", loss, scale, dscale)
	differences(t, "dbias", loss, bias, dbias)
}

// A mean that is large beside the deviations costs the digits that x has lost already, and no more.
func TestLayerNormLargeMean(t *testing.T) {
	eachTable(t, func(name string, ctx *kern.Context) {
		const n = 320
		x, y, ones, zeros := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i], ones[i] = 4096+float32(i%2), 1
		}
		l, err := PrepareLayerNorm(1, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		l.Forward(ctx, y, x, ones, zeros)
		for i, v := range y {
			if want := float64(i%2*2 - 1); math.Abs(float64(v)-want) > 2e-3 { // a mean of 4096.5 in float32 is good to 2.4e-4
				t.Fatalf("%s: y[%d] is %g, want %g", name, i, v, want)
			}
		}
	})
}

func TestGEGLU(t *testing.T) {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	for _, shape := range [][2]int{{1, 1}, {3, 5}, {77, 64}, {5, 1280}, {63, 33}, {2, 1025}} {
		rows, n := shape[0], shape[1]
		random := rand.New(rand.NewPCG(12, uint64(n)))
		x, dy := normal(random, 2*rows*n, 0, 2), normal(random, rows*n, 0, 1)
		wantY, wantDX := make([]float64, rows*n), make([]float64, 2*rows*n)
		for i := range wantY {
			at := i/n*2*n + i%n
			value, gate, g := float64(x[at]), float64(x[at+n]), float64(dy[i])
			wantY[i] = value * gate * phi(gate)
			wantDX[at] = g * gate * phi(gate)
			wantDX[at+n] = g * value * (phi(gate) + gate*math.Exp(-gate*gate/2)/math.Sqrt(2*math.Pi))
		}
		f, err := PrepareGEGLU(rows, n)
		if err != nil {
			t.Fatal(err)
		}
		workersAgree(t, fmt.Sprintf("GEGLU %v", shape), func(ctx *kern.Context) [][]float32 {
			y, dx := make([]float32, len(dy)), make([]float32, len(x))
			f.Forward(ctx, y, x)
			f.Backward(ctx, dx, dy, x)
			near(t, fmt.Sprintf("%s GEGLU %v: y", ctx.Name, shape), y, wantY, 1e-6)
			near(t, fmt.Sprintf("%s GEGLU %v: dx", ctx.Name, shape), dx, wantDX, 1e-6)
			noAllocation(t, func() { f.Forward(ctx, y, x); f.Backward(ctx, dx, dy, x) })
			return [][]float32{y, dx}
		})
	}
}

func TestRowsErrors(t *testing.T) {
	if _, err := PrepareLayerNorm(3, 0, 1e-5); err == nil {
		t.Error("layer norm of no columns was accepted")
	}
	if _, err := PrepareLayerNorm(3, 4, math.NaN()); err == nil {
		t.Error("layer norm with ε = NaN was accepted")
	}
	if _, err := PrepareGEGLU(-1, 4); err == nil {
		t.Error("GEGLU of -1 rows was accepted")
	}
}
