package diffusion

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/noise"
)

// TimeLaw is the law of the times that a network is trained at. The zero value is the uniform law.
//
// On images, what is decided between a log signal-to-noise ratio of −4 and 1, the shapes, takes longest to learn, and above and below
// it there is little: a normal law of the ratio spends the steps there (Karras et al. 2022, Esser et al. 2024).
type TimeLaw struct {
	Power   float64 `yaml:"power"`    // t = u^Power, u uniform, as the grid of [Times]; 0 means 1
	SNRMean float64 `yaml:"snr_mean"` // if SNRSD is positive, log α_t²/σ_t² is normal instead, with this mean
	SNRSD   float64 `yaml:"snr_sd"`   // and this standard deviation
}

func (l TimeLaw) power() float64 { return max(1, l.Power) }

// quantiles are those of the normal law at the ends of the times, t = 1 and nearly 0, where it is cut off.
func (l TimeLaw) quantiles(p Process) (lo, hi float64) {
	at := func(t float64) float64 {
		return 0.5 * math.Erfc((l.SNRMean-2*math.Log(p.Alpha(t)/p.Sigma(t)))/(l.SNRSD*math.Sqrt2))
	}
	return at(1), at(1e-4)
}

// Draw fills t with times of the law, in (0, 1], stratified over the batch. Of a process of numbered levels they are those of the nearest level, which is
// all that a model of it knows.
func (l TimeLaw) Draw(t []float32, p Process, key noise.Key) {
	p = orVP(p)
	lo, hi := 1e-3, 1.0 // of u^Power: at t = 0 the losses divide by 0
	if l.SNRSD > 0 {
		lo, hi = l.quantiles(p)
	}
	r := key.Rand()
	for i := range t {
		u := lo + (hi-lo)*(float64(i)+r.Float64())/float64(len(t))
		if l.SNRSD > 0 {
			t[i] = float32(p.Time(l.SNRMean + l.SNRSD*math.Sqrt2*math.Erfinv(2*u-1)))
		} else {
			t[i] = float32(math.Pow(u, l.power()))
		}
		if d, ok := p.(*Discrete); ok {
			t[i] = float32(d.LevelTime(max(0, d.Level(float64(t[i])))))
		}
	}
}

// inverseDensity returns one over the density of the law at times t, elementwise.
func (l TimeLaw) inverseDensity(p Process, t *graph.Node) *graph.Node {
	if l.SNRSD <= 0 {
		power := l.power()
		return graph.MulScalar(graph.Pow(t, graph.Scalar(t.Graph(), t.DType(), 1-1/power)), power)
	}
	// With λ = log α²/σ² and z = (λ − mean)/sd: 1/density = sd·√(2π)·exp(½z²)/|λ'|, and λ' = −g²/σ².
	alpha, sigma := p.AlphaSigmaGraph(t)
	z := graph.DivScalar(graph.AddScalar(graph.MulScalar(graph.Log(graph.Div(alpha, sigma)), 2), -l.SNRMean), l.SNRSD)
	lo, hi := l.quantiles(p)
	return graph.Mul(graph.MulScalar(graph.Exp(graph.MulScalar(graph.Square(z), 0.5)), (hi-lo)*l.SNRSD*math.Sqrt(2*math.Pi)),
		graph.Div(graph.Square(sigma), p.DiffusionGraph(t)))
}
