package metric_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
)

// quantiles are n log weights at the midpoints u of equal probabilities.
func quantiles(n int, logW func(u, i float64) float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = logW((float64(i)+0.5)/float64(n), float64(i))
	}
	return out
}

// The numbers are those of ArviZ 0.21.0, psislw, which implements the source.
func TestParetoShapeAgainstArviZ(t *testing.T) {
	for _, c := range []struct {
		name string
		logW func(u, i float64) float64
		want map[int]float64
	}{
		{"Pareto law of shape 0.8", func(u, _ float64) float64 { return -0.8 * math.Log(1-u) }, map[int]float64{50: 0.5796800388090353, 192: 0.7106968063990089, 1000: 0.7574598327160174, 10000: 0.7854615080146653}},
		{"Pareto law of shape 0.3", func(u, _ float64) float64 { return -0.3 * math.Log(1-u) }, map[int]float64{50: 0.3845554292397693, 192: 0.3483140350696395, 1000: 0.3235606438260692, 10000: 0.3080028986576031}},
		{"exponential law", func(u, _ float64) float64 { return math.Log(-math.Log(1 - u)) }, map[int]float64{50: 0.2656632419513222, 192: 0.12969556517258612, 1000: 0.06303007987265688, 10000: 0.02145804077282622}},
		{"uniform law", func(u, _ float64) float64 { return math.Log(u) }, map[int]float64{50: -0.14362888725869521, 192: -0.6292434436592391, 1000: -0.8192112494404742, 10000: -0.9235340185477373}},
		{"a bounded one", func(_, i float64) float64 { return 3 * math.Sin(i*i*0.7) }, map[int]float64{50: -0.5045688933055761, 192: -1.426356027505745, 1000: -1.5935865606699007}},
		{"a heavy one, uneven", func(u, i float64) float64 { return -0.5*math.Log(1-u) + 0.2*math.Sin(i) }, map[int]float64{50: 0.3863161249270047, 192: 0.515228500606067, 1000: 0.4584536302647588, 10000: 0.5016410056964327}},
	} {
		for n, want := range c.want {
			oracle.Near(t, c.name, metric.ParetoShape(quantiles(n, c.logW)), want, 1e-9)
		}
	}
}

// The shape is that of the weights up to a factor, in whatever order, and dead paths among them only make the sample larger.
func TestParetoShapeIsOfTheLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logW := rapid.SliceOfN(rapid.Float64Range(-4, 4), 60, 300).Draw(t, "weights")
		shift := rapid.Float64Range(-1000, 1000).Draw(t, "factor")
		moved := make([]float64, len(logW))
		for i, l := range logW {
			moved[len(logW)-1-i] = l + shift
		}
		if a, b := metric.ParetoShape(logW), metric.ParetoShape(moved); !(math.Abs(a-b) < 1e-6) {
			t.Errorf("k̂ = %g, and %g of the same weights times a factor", a, b)
		}
	})
}

func TestParetoShapeAtTheEdges(t *testing.T) {
	inf := math.Inf(-1)
	few, equal := make([]float64, 20), make([]float64, 100)
	giant, dead := make([]float64, 100), quantiles(400, func(u, i float64) float64 { return -0.4 * math.Log(1-u) })
	for i := range giant {
		giant[i] = float64(i) * 100 // each weight is e¹⁰⁰ of the one before
	}
	for i := range dead[:200] {
		dead[i] = inf
	}
	for _, c := range []struct {
		name string
		logW []float64
		want func(k float64) bool
	}{
		{"no weight", nil, math.IsNaN},
		{"20 weights", few, math.IsNaN},
		{"21 equal ones", append(few, 0), func(k float64) bool { return k == 0 }},
		{"equal weights", equal, func(k float64) bool { return k == 0 }},
		{"equal weights, some dead", append([]float64{inf, inf, inf}, equal...), func(k float64) bool { return k == 0 }},
		{"all dead", []float64{inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf, inf}, func(k float64) bool { return k == 0 }},
		{"one path has all the weight", append([]float64{800}, equal...), math.IsNaN},
		{"every weight dwarfs the one before", giant, func(k float64) bool { return k > 1 }},
		{"NaN", append([]float64{math.NaN()}, equal...), math.IsNaN},
		{"half of them dead", dead, func(k float64) bool { return math.Abs(k-0.4) < 0.05 }},
	} {
		if k := metric.ParetoShape(c.logW); !c.want(k) {
			t.Errorf("%s: k̂ = %g", c.name, k)
		}
	}
}

// The limit and the number of paths that it asks for are one rule.
func TestParetoLimit(t *testing.T) {
	oracle.Near(t, "limit of 100 weights", metric.ParetoLimit(100), 0.5, 1e-12)
	oracle.Near(t, "limit of many", metric.ParetoLimit(1e6), 0.7, 1e-12)
	for _, k := range []float64{0, 0.3, 0.5, 0.65} {
		oracle.Near(t, "limit of the paths for k̂", metric.ParetoLimit(int(math.Ceil(metric.ParetoPaths(k)))), k, 0.02)
	}
	oracle.Near(t, "paths of a bounded law", metric.ParetoPaths(-3), 10, 1e-12)
}
