package diffusion

import (
	"fmt"
	"math"
	"sort"
)

// Betas says how much variance each of the steps of noising adds that a model was trained with: β_k, k = 0 … Steps−1.
type Betas struct {
	First, Last float64 // 0.00085 and 0.012 of Stable Diffusion
	Linear      bool    // β is linear in k, and not √β, which is "scaled linear"
	Cosine      bool    // ᾱ falls like a squared cosine (Nichol & Dhariwal 2021), whatever First and Last are
	Steps       int     // 1000
}

// Discrete is the variance-preserving process of models that know numbered noise levels, k = 0 … N−1 of ᾱ_k = Π(1−β). Level k is at time (k+1)/N, and the
// data at time 0. Between levels log ᾱ is linear, that is, β(t) is constant: so this is a process like any other, whose [DDIM] and [DDPM] steps
// from level to level are those of the discrete formulas.
type Discrete struct {
	log []float64 // log ᾱ at time i/N, [N+1]
	bar []float64 // ᾱ there: 1, and float32 numbers
}

var _ Process = (*Discrete)(nil)

// NewDiscrete returns the process of a schedule. The ᾱ are those of diffusers to the last bit: β and 1−β in float32, their product in float64, rounded
// to float32.
func NewDiscrete(b Betas) (*Discrete, error) {
	if !(b.Cosine || b.First > 0 && b.First <= b.Last && b.Last < 1) || b.Steps < 1 {
		return nil, fmt.Errorf("diffusion: got %d steps of β from %g to %g, expected at least 1, and 0 < first ≤ last < 1", b.Steps, b.First, b.Last)
	}
	p := &Discrete{log: make([]float64, b.Steps+1), bar: make([]float64, b.Steps+1)}
	p.bar[0] = 1
	product := 1.0
	for k, beta := range b.values() {
		product *= float64(1 - beta)
		p.bar[k+1] = float64(float32(product))
		p.log[k+1] = math.Log(p.bar[k+1])
		if !(p.bar[k+1] > 0) {
			return nil, fmt.Errorf("diffusion: no signal is left at step %d of β from %g to %g: no noise can be predicted there", k, b.First, b.Last)
		}
	}
	return p, nil
}

// cosine returns the β of ᾱ(t) = cos²(½π(t+s)/(1+s)), s = 0.008, none of them above 0.999.
func (b Betas) cosine() []float32 {
	bar := func(k int) float64 {
		c := math.Cos((float64(k)/float64(b.Steps) + 0.008) / 1.008 * math.Pi / 2)
		return c * c
	}
	out := make([]float32, b.Steps)
	for k := range out {
		out[k] = float32(min(0.999, 1-bar(k+1)/bar(k)))
	}
	return out
}

// values returns the β, evenly spaced from both ends to the middle as torch.linspace does, which rounds each sum of a product once.
func (b Betas) values() []float32 {
	if b.Cosine {
		return b.cosine()
	}
	first, last := float32(b.First), float32(b.Last)
	if !b.Linear {
		first, last = float32(math.Sqrt(b.First)), float32(math.Sqrt(b.Last))
	}
	out := make([]float32, b.Steps)
	step := (last - first) / float32(max(1, b.Steps-1))
	for k := range out {
		if k < b.Steps/2 {
			out[k] = float32(float64(first) + float64(step)*float64(k))
		} else {
			out[k] = float32(float64(last) - float64(step)*float64(b.Steps-1-k))
		}
		if !b.Linear {
			out[k] *= out[k]
		}
	}
	if b.Steps == 1 {
		out[0] = float32(b.First)
	}
	return out
}

// Levels returns N.
func (p *Discrete) Levels() int { return len(p.log) - 1 }

// Bar returns ᾱ_k, 1 for k = −1.
func (p *Discrete) Bar(k int) float64 { return p.bar[k+1] }

// LevelTime returns the time of level k, 0 for k = −1.
func (p *Discrete) LevelTime(k int) float64 { return float64(k+1) / float64(p.Levels()) }

// Level returns the level at a time, the nearest one: what the network of such a model takes.
func (p *Discrete) Level(t float64) int { return int(math.Round(t*float64(p.Levels()))) - 1 }

// at returns log ᾱ at a time, and its slope.
func (p *Discrete) at(t float64) (log, slope float64) {
	n := float64(p.Levels())
	i := max(0, min(p.Levels()-1, int(t*n)))
	if nearest := math.Round(t * n); t*n != nearest && math.Abs(t*n-nearest) < 1e-9 { // a level, but for the rounding of its time
		t = nearest / n
	}
	slope = (p.log[i+1] - p.log[i]) * n
	return p.log[i] + slope*(t-float64(i)/n), slope
}

// Alpha returns √ᾱ.
func (p *Discrete) Alpha(t float64) float64 {
	log, _ := p.at(t)
	return math.Exp(log / 2)
}

// Sigma returns √(1−ᾱ).
func (p *Discrete) Sigma(t float64) float64 {
	log, _ := p.at(t)
	return math.Sqrt(-math.Expm1(log))
}

// Transition implements [Process], with variance = 1 − ᾱ_t/ᾱ_s.
func (p *Discrete) Transition(s, t float64) (scale, variance float64) {
	before, _ := p.at(s)
	after, _ := p.at(t)
	return math.Exp((after - before) / 2), -math.Expm1(after - before)
}

// Drift returns −½β(t).
func (p *Discrete) Drift(t float64) float64 { return -p.Diffusion(t) / 2 }

// Diffusion returns β(t), which is constant from one level to the next.
func (p *Discrete) Diffusion(t float64) float64 {
	_, slope := p.at(t)
	return -slope
}

// Time implements [Process]. Beyond the last level, ᾱ falls on as it does before it.
func (p *Discrete) Time(logSNR float64) float64 {
	return p.timeOf(-math.Log1p(math.Exp(-logSNR)))
}

// timeOf returns the time of log ᾱ.
func (p *Discrete) timeOf(log float64) float64 {
	i := sort.Search(p.Levels(), func(i int) bool { return p.log[i+1] <= log })
	i = min(i, p.Levels()-1)
	return (float64(i) + (log-p.log[i])/(p.log[i+1]-p.log[i])) / float64(p.Levels())
}
