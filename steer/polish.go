package steer

import (
	"context"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Polish finds the numbers of [Staged] with which KL(P^h‖P_tilted) is least: it is −E log w up to the constant log Z. No data are needed.
//
// On paths of P^h the law of c·h is known for all c. With A_k = Σ‖D‖²/s² and M_k = Σ⟨D,z⟩/s over the steps of stage k,
//
//	ℓ(c) = log dP^{ch}/dP^h = Σ_k (c_k−1)·M_k − ½(c_k−1)²·A_k,   log w_c = log w − ℓ(c)
//
// So one set of paths gives the KL at all c by weights e^ℓ, as far as these are even. Every round moves c to the least KL within that reach
// and simulates anew, with the same noise. The best of the c that were simulated is taken, which may be 1. What the KL falls by counts less its
// standard error: a few paths shall not be followed into their own noise.
type Polish struct {
	Sampler func(h diffusion.Control) *diffusion.Sampler
	Reward  reward.Reward
	Stages  int
	Paths   int // simulated in a round
	Group   int // consecutive paths that share a condition, and so log Z; 0 means all
	Rounds  int // the last one only judges
}

// reach is the least ESS of the weights e^ℓ, as a share of the paths, at which a KL is believed.
const reach = 0.5

// Run polishes h. Every round has the noise of the key.
func (p Polish) Run(ctx context.Context, key noise.Key, h diffusion.Control) (Staged, error) {
	current := Staged{Control: h, Scales: slices.Repeat([]float64{1}, p.Stages)}
	best, least := current, math.Inf(1)
	var first *tally
	for range p.Rounds {
		s := p.Sampler(nil)
		current.Until = Stages(s.Steps, p.Stages)
		if err := s.Guide(current); err != nil {
			return Staged{}, err
		}
		t := &tally{stages: p.Stages, until: current.Until}
		paths, err := s.Run(ctx, key, 0, p.Paths, t.visit)
		if err != nil {
			return Staged{}, err
		}
		rewards, err := reward.Evaluate(ctx, p.Reward, paths.X, paths.Given, paths.N)
		if err != nil {
			return Staged{}, err
		}
		t.weigh(rewards, paths.LogRatio, p.Group)
		if first == nil {
			first = t
		}
		if kl := t.above(first); kl < least {
			best, least = current, kl
		}
		factors := t.search()
		current.Scales = slices.Clone(current.Scales)
		for k, f := range factors {
			current.Scales[k] *= f
		}
	}
	return best, nil
}

// tally holds what the paths of a round say of all c.
type tally struct {
	stages int
	until  []float64
	a, m   []float64 // [path, stage]
	logW   []float64 // [path]
	centre []float64 // [path]: mean log w of the group, which differ by their log Z, and no c can change
}

// visit adds a step to A and M.
func (t *tally) visit(p *diffusion.Population) error {
	if t.a == nil {
		t.a, t.m = make([]float64, p.N*t.stages), make([]float64, p.N*t.stages)
	}
	if p.Step.Uncontrolled {
		return nil
	}
	stage := 0
	for stage < len(t.until) && p.Step.T < t.until[stage] {
		stage++
	}
	z := make([]float32, p.Dim)
	for i := range p.N {
		p.Noise(i, z)
		at := i*t.stages + stage
		for j, e := range p.EpsH[i*p.Dim : (i+1)*p.Dim] {
			d := p.Step.K * float64(e) / p.Step.S
			t.a[at] += d * d
			t.m[at] += d * float64(z[j])
		}
	}
	return nil
}

// weigh takes the log weights. Paths that diverged, whose weight is zero, get that of their group: they tell nothing.
func (t *tally) weigh(rewards, logRatio []float64, group int) {
	if group <= 0 {
		group = len(rewards)
	}
	for lo := 0; lo < len(rewards); lo += group {
		hi := min(lo+group, len(rewards))
		var sum, n float64
		for i := lo; i < hi; i++ {
			lw := rewards[i] + logRatio[i]
			if t.logW = append(t.logW, lw); finite(lw) {
				sum, n = sum+lw, n+1
			}
		}
		for i := lo; i < hi; i++ {
			t.centre = append(t.centre, sum/max(1, n))
			if !finite(t.logW[i]) {
				t.logW[i], t.m[i*t.stages] = t.centre[i], math.NaN()
			}
		}
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// above returns by how much the KL lies above that of the first round, on the same noise, with a standard error added.
func (t *tally) above(first *tally) float64 {
	var differences []float64
	for i, lw := range t.logW {
		differences = append(differences, first.logW[i]-lw)
	}
	fall, se := metric.MeanSE(differences)
	return fall + se
}

// kl estimates by how much KL(P^{ch}‖P_tilted) lies above that at c = 1, adds a standard error, and returns with it the ESS of the weights that
// it is estimated with, as a share of the paths.
func (t *tally) kl(c []float64) (above, ess float64) {
	n := len(t.logW)
	logs, weights := make([]float64, n), make([]float64, n)
	var total, kl float64
	for i := range n {
		for k, f := range c {
			if d := f - 1; d != 0 && finite(t.m[i*t.stages]) {
				logs[i] += d*t.m[i*t.stages+k] - d*d/2*t.a[i*t.stages+k]
			}
		}
		weights[i] = math.Exp(logs[i])
		total += weights[i]
	}
	excess := func(i int) float64 { return t.centre[i] - t.logW[i] } // log w less the mean, with the sign of the KL
	for i, w := range weights {
		weights[i] = w * float64(n) / total
		kl += w / total * (logs[i] + excess(i))
	}
	influence := make([]float64, n) // of every path on the difference, by the delta method: its mean is kl
	for i, w := range weights {
		influence[i] = kl + w*(logs[i]+excess(i)-kl) - excess(i)
	}
	_, se := metric.MeanSE(influence)
	return kl + se, metric.ESS(logs) / float64(n)
}

// search returns the c of least KL within reach, by steps in the coordinates that become smaller.
func (t *tally) search() []float64 {
	c := slices.Repeat([]float64{1}, t.stages)
	least, _ := t.kl(c)
	for step := 0.25; step > 0.005; {
		moved := false
		for k := range c {
			for _, d := range []float64{-step, step} {
				tried := slices.Clone(c)
				tried[k] = max(0, tried[k]+d)
				if kl, ess := t.kl(tried); kl < least && ess >= reach {
					c, least, moved = tried, kl, true
				}
			}
		}
		if !moved {
			step /= 2
		}
	}
	return c
}
