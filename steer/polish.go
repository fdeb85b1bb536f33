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
// and simulates anew, with the same noise. The best of the c that were simulated is taken, which may be 1.
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
		for i, r := range rewards {
			t.logW = append(t.logW, r+paths.LogRatio[i])
		}
		t.centre(p.Group)
		if kl := t.off - mean(t.logW); kl < least || math.IsInf(least, 1) {
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
	logW   []float64 // [path], less the mean of its group
	off    float64   // −mean log w of all groups
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

// centre takes from every log weight the mean of its group: groups differ by their log Z, which no c can change.
func (t *tally) centre(group int) {
	if group <= 0 {
		group = len(t.logW)
	}
	for g := range slices.Chunk(t.logW, group) {
		centre := mean(g)
		t.off -= centre * float64(len(g)) / float64(len(t.logW))
		for i := range g {
			g[i] -= centre
		}
	}
}

// mean is over what is finite.
func mean(v []float64) (out float64) {
	n := 0.0
	for _, x := range v {
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			out, n = out+x, n+1
		}
	}
	return out / max(1, n)
}

// kl estimates KL(P^{ch}‖P_tilted), but for a constant, and the ESS of the weights that it is estimated with.
func (t *tally) kl(c []float64) (kl, ess float64) {
	var logs []float64
	var sum float64
	for i, lw := range t.logW {
		if math.IsInf(lw, 0) || math.IsNaN(lw) {
			continue
		}
		var l float64
		for k, f := range c {
			l += (f-1)*t.m[i*t.stages+k] - (f-1)*(f-1)/2*t.a[i*t.stages+k]
		}
		logs = append(logs, l)
		kl += math.Exp(l) * (l - lw)
		sum += math.Exp(l)
	}
	return kl / sum, metric.ESS(logs) / float64(len(logs))
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
