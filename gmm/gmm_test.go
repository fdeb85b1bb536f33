package gmm

import (
	"errors"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/floats"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// skewed is a mixture with full covariances in two dimensions.
func skewed(t *testing.T) *Mixture {
	t.Helper()
	m, err := New([]float64{1, 3}, [][]float64{{-0.5, 0.2}, {0.7, -0.1}},
		[][][]float64{{{0.3, 0.1}, {0.1, 0.2}}, {{0.1, -0.05}, {-0.05, 0.4}}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func other(t *testing.T) *Mixture {
	t.Helper()
	m, err := New([]float64{2, 1}, [][]float64{{0, 0.5}, {1, -1}},
		[][][]float64{{{0.5, 0.2}, {0.2, 0.3}}, {{0.2, 0}, {0, 0.6}}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// integrate sums f over a fine grid of [-8, 8]²: for these smooth, decaying integrands the trapezoidal rule is exact to
// rounding.
func integrate(f func(x []float64) float64) float64 {
	const n, lo, h = 321, -8.0, 0.05
	var sum float64
	for i := range n {
		for j := range n {
			sum += f([]float64{lo + h*float64(i), lo + h*float64(j)}) * h * h
		}
	}
	return sum
}

func TestDensityIntegratesToOne(t *testing.T) {
	m := skewed(t)
	oracle.Near(t, "∫p", integrate(func(x []float64) float64 { return math.Exp(m.LogDensity(x)) }), 1, 1e-8)
	mean := m.Mean()
	for a := range 2 {
		oracle.Near(t, "mean", integrate(func(x []float64) float64 { return x[a] * math.Exp(m.LogDensity(x)) }), mean[a], 1e-8)
	}
}

func TestProductAgainstNumericalIntegration(t *testing.T) {
	p, q := skewed(t), other(t)
	tilted, logZ, err := p.Times(q)
	if err != nil {
		t.Fatal(err)
	}
	z := integrate(func(x []float64) float64 { return math.Exp(p.LogDensity(x) + q.LogDensity(x)) })
	oracle.Near(t, "log Z", logZ, math.Log(z), 1e-8)
	for _, x := range [][]float64{{0, 0}, {1, -2}, {-0.7, 0.3}, {4, 4}} {
		oracle.Near(t, "log density of the product", tilted.LogDensity(x), p.LogDensity(x)+q.LogDensity(x)-logZ, 1e-9)
	}
}

// In one dimension there is a closed form that fits on a line.
func TestGaussians(t *testing.T) {
	normal := func(g oracle.Gaussian) *Mixture {
		m, err := Isotropic([]float64{1}, [][]float64{{g.Mean}}, g.SD)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	density := oracle.Reward.Density()
	tilted, logZ, err := normal(oracle.Prior).Times(normal(density))
	if err != nil {
		t.Fatal(err)
	}
	oracle.Near(t, "log Z", logZ, oracle.Reward.LogZ(oracle.Prior)+density.LogDensity(density.Mean), 1e-12)
	oracle.Near(t, "mean", tilted.Mean()[0], oracle.Tilted.Mean, 1e-12)
	const gamma, nu = 0.6, 0.8
	got, want := tilted.Diffuse(gamma, nu), oracle.Tilted.Diffuse(gamma, nu)
	for _, x := range []float64{-3, 0.2, 1} {
		oracle.Near(t, "log density", tilted.LogDensity([]float64{x}), oracle.Tilted.LogDensity(x), 1e-12)
		oracle.Near(t, "log p_t", got.LogDensity([]float64{x}), want.LogDensity(x), 1e-12)
		oracle.Near(t, "score", got.Score([]float64{x})[0], want.Score(x), 1e-12)
	}
}

func TestDiffuseAgainstNumericalConvolution(t *testing.T) {
	m := skewed(t)
	const gamma, nu = 0.6, 0.8
	d := m.Diffuse(gamma, nu)
	for _, y := range [][]float64{{0, 0}, {0.9, -1.1}} {
		want := integrate(func(x []float64) float64 {
			r2 := square(y[0]-gamma*x[0]) + square(y[1]-gamma*x[1])
			return math.Exp(m.LogDensity(x)-r2/(2*nu*nu)) / (2 * math.Pi * nu * nu)
		})
		oracle.Near(t, "log p_t", d.LogDensity(y), math.Log(want), 1e-8)
	}
}

func square(x float64) float64 { return x * x }

func TestScoreAgainstFiniteDifferences(t *testing.T) {
	m := skewed(t)
	for _, x := range [][]float64{{0, 0}, {2, -1}, {-3, 3}} {
		for a, got := range m.Score(x) {
			up, down := append([]float64(nil), x...), append([]float64(nil), x...)
			up[a] += 1e-5
			down[a] -= 1e-5
			oracle.Near(t, "score", got, (m.LogDensity(up)-m.LogDensity(down))/2e-5, 1e-6)
		}
	}
}

func TestSampleMoments(t *testing.T) {
	const n = 200_000 // standard errors: 0.0017 of the means (sd 0.76), below 0.003 of the second moments
	m := skewed(t)
	x := m.Sample(n, noise.New(4))
	var mean [2]float64
	var xx, xy float64
	for i := range n {
		a, b := float64(x[2*i]), float64(x[2*i+1])
		mean[0], mean[1], xx, xy = mean[0]+a/n, mean[1]+b/n, xx+a*a/n, xy+a*b/n
	}
	want := m.Mean()
	oracle.Near(t, "sample mean 0", mean[0], want[0], 0.007)
	oracle.Near(t, "sample mean 1", mean[1], want[1], 0.007)
	oracle.Near(t, "E x²", xx, 0.25*(0.3+0.25)+0.75*(0.1+0.49), 0.01)
	oracle.Near(t, "E xy", xy, 0.25*(0.1-0.5*0.2)+0.75*(-0.05-0.07), 0.01)
}

func TestGraphsAgainstHost(t *testing.T) {
	m := skewed(t)
	e := oracle.OpenOn(t, "go")
	x := []float32{0, 0, 0.5, -1.5, -2, 1, 3, 3}
	gammas, nus := []float32{1, 0.9, 0.5, 0.1}, []float32{0, 0.43, 0.86, 0.995}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		density := m.LogDensityGraph(in[0])
		return []*graph.Node{density, m.ScoreGraph(in[0], in[1], in[2]), graph.Gradient(graph.ReduceAllSum(density), in[0])[0]}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(x, 2), engine.Rows(gammas, 1), engine.Rows(nus, 1))
	if err != nil {
		t.Fatal(err)
	}
	density, score, gradient := make([]float32, 4), make([]float32, 8), make([]float32, 8)
	for i, dst := range [][]float32{density, score, gradient} {
		if err := engine.Floats(dst, out[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		point := []float64{float64(x[2*i]), float64(x[2*i+1])}
		oracle.Near(t, "log density", float64(density[i]), m.LogDensity(point), 2e-5*(1+math.Abs(m.LogDensity(point))))
		want := m.Diffuse(float64(gammas[i]), float64(nus[i])).Score(point)
		exact := m.Score(point)
		for a := range 2 {
			oracle.Near(t, "diffused score", float64(score[2*i+a]), want[a], 1e-4*(1+math.Abs(want[a])))
			oracle.Near(t, "gradient of the density", float64(gradient[2*i+a]), exact[a], 1e-4*(1+math.Abs(exact[a])))
		}
	}
}

func TestFarComponentsKeepAPositiveWeight(t *testing.T) {
	p, err := Isotropic([]float64{1, 1}, [][]float64{{0}, {500}}, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Isotropic([]float64{1}, [][]float64{{0}}, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	tilted, _, err := p.Times(q)
	if err != nil {
		t.Fatalf("product with a component out of reach: %v", err)
	}
	oracle.Near(t, "weights sum to", floats.Sum(tilted.Weights()), 1, 1e-12)
}

func TestInvalid(t *testing.T) {
	one := [][][]float64{{{1, 0}, {0, 1}}}
	for name, make := range map[string]func() (*Mixture, error){
		"no component": func() (*Mixture, error) { return New(nil, nil, nil) },
		"zero weight":  func() (*Mixture, error) { return New([]float64{0}, [][]float64{{0, 0}}, one) },
		"NaN mean":     func() (*Mixture, error) { return New([]float64{1}, [][]float64{{0, math.NaN()}}, one) },
		"ragged":       func() (*Mixture, error) { return New([]float64{1}, [][]float64{{0, 0, 0}}, one) },
		"asymmetric": func() (*Mixture, error) {
			return New([]float64{1}, [][]float64{{0, 0}}, [][][]float64{{{1, .5}, {0, 1}}})
		},
		"indefinite": func() (*Mixture, error) {
			return New([]float64{1}, [][]float64{{0, 0}}, [][][]float64{{{1, 2}, {2, 1}}})
		},
		"counts that differ": func() (*Mixture, error) { return New([]float64{1, 1}, [][]float64{{0, 0}}, one) },
	} {
		if _, err := make(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
}
