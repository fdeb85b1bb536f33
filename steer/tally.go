package steer

import (
	"math"
	"slices"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/metric"
)

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

// reach is the least ESS of the weights e^ℓ, as a share of the paths, at which a KL is believed.
const reach = 0.3

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
