package experiment

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/method"
)

// doubted follows a number that must not be trusted.
const doubted = "?"

// doubts reports whether a verdict says so of a metric.
func doubts(v finetune.Verdict, metric string) bool {
	switch metric {
	case "log_z", "ess_fraction", "k_hat":
		return !v.Reliable
	case "kl":
		return !v.KLReliable
	}
	return false
}

// commonMetrics are metrics that every problem has, in JSON at least: of the certificate, and what methods have tuned.
var commonMetrics = []Metric{
	{Name: "ess_fraction", Title: "ESS", Format: "%.3f"}, {Name: "log_z", Title: "log Ẑ", Format: "%.3f"}, {Name: "log_z_se", Title: "s.e. of log Ẑ", Format: "%.3f"},
	{Name: "l_sc", Title: "L_SC", Format: "%.3f"}, {Name: "l_sc_se", Title: "s.e. of L_SC", Format: "%.3f"},
	{Name: "kl", Title: "KL", Format: "%.3f"}, {Name: "kl_se", Title: "s.e. of KL", Format: "%.3f"},
	{Name: "k_hat", Title: "k̂", Format: "%.2f"}, {Name: "certified_paths", Title: "paths"},
	{Name: "scale", Title: "scale", Format: "%g"},
	{Name: "scale_1", Title: "scale of early steps", Format: "%g", Rare: true}, {Name: "scale_2", Title: "of middle ones", Format: "%g", Rare: true}, {Name: "scale_3", Title: "of late ones", Format: "%g", Rare: true},
}

// metrics are those of a problem, and common ones that it does not show itself.
func metrics(p Problem) []Metric {
	all := p.Metrics()
	for _, m := range commonMetrics {
		if !slices.ContainsFunc(all, func(own Metric) bool { return own.Name == m.Name }) {
			m.Overall, m.Hidden = true, true
			all = append(all, m)
		}
	}
	return all
}

// certified are the numbers of a certificate as results.
func certified(c finetune.Certificate) Result {
	out := Result{}
	add := func(name string, value, se finetune.Number) {
		if finite(float64(value)) {
			out[name] = Estimate{float64(value), float64(se)}
		}
	}
	nan := finetune.Number(math.NaN())
	add("ess_fraction", c.ESS, nan)
	add("log_z", c.LogZ, c.LogZSE)
	add("log_z_se", c.LogZSE, nan)
	add("l_sc", c.LSC, c.LSCSE)
	add("l_sc_se", c.LSCSE, nan)
	add("kl", c.KL, c.KLSE)
	add("kl_se", c.KLSE, nan)
	add("k_hat", c.KHat, nan)
	add("certified_paths", finetune.Number(c.Paths), nan)
	return out
}

// settle judges the certificates of all methods by each other: what is estimated is one log Z, of a task and a factor of its reward, and of a prior, so
// that of every seed that has its own. Since every log Ẑ is low rather than high, the highest bound that one of them gives is one for all; and those that can be trusted
// make together the log Z that all KL take. Methods that are [method.Apart] stand for themselves.
//
// Then the mean over the seeds judges once more, see settleSeeds.
func (b *book) settle() {
	own := slices.ContainsFunc(b.problem.Networks(), func(n Network) bool { return n.EachSeed })
	type law struct {
		seed   uint64
		task   string
		factor float64 // of the reward, which variants may set
	}
	laws := map[law][]stage{}
	for at := range b.certificates {
		if m := b.problem.common().Method(at.name); m != nil && method.Apart(m) {
			continue
		}
		_, factor := b.problem.common().Factored(at.name)
		of := law{0, at.task, factor}
		if own {
			of.seed = at.seed
		}
		laws[of] = append(laws[of], at)
	}
	all := map[stage]finetune.Certificate{} // what is known of the log Z of each
	for _, stages := range laws {
		slices.SortFunc(stages, func(a, b stage) int {
			return strings.Compare(fmt.Sprintf("%020d %s", a.seed, a.name), fmt.Sprintf("%020d %s", b.seed, b.name))
		})
		bound := stages[0]
		for _, at := range stages {
			if b.certificates[at].Bound(len(stages)) > b.certificates[bound].Bound(len(stages)) {
				bound = at
			}
		}
		var together []finetune.Certificate
		for _, at := range stages {
			c := b.certificates[at].Against(b.certificates[bound], b.problem.common().title(bound.name), len(stages))
			b.certificates[at], together = c, append(together, c)
		}
		best := known(together)
		for _, at := range stages {
			c := b.certificates[at].Against(best, "all methods together", len(stages))
			all[at] = best
			if b.certificates[at] = c; b.results[at] != nil { // of a run that is evaluated only certificates are known
				maps.Copy(b.results[at], certified(c))
			}
		}
	}
	b.settleSeeds(all, own)
}

// known is what certificates say together of log Z: the mean of those that can be trusted, weighted by their precision. Without any, it is the highest.
func known(all []finetune.Certificate) finetune.Certificate {
	var sum, precision float64
	highest := all[0]
	for _, c := range all {
		if c.LogZ > highest.LogZ {
			highest = c
		}
		if c.Reliable {
			p := 1 / max(1e-12, float64(c.LogZSE*c.LogZSE))
			sum, precision = sum+p*float64(c.LogZ), precision+p
		}
	}
	if precision == 0 {
		return highest
	}
	return finetune.Certificate{LogZ: finetune.Number(sum / precision), LogZSE: finetune.Number(1 / math.Sqrt(precision)),
		Verdict: finetune.Verdict{Reliable: true, KLReliable: true, Reason: finetune.Reaches}}
}

// verdict sums up the certificates of a method over tasks and seeds: all must be reliable. Nil if there is none.
func (b *book) verdict(name string, tasks []string, seeds int) *finetune.Verdict {
	var all []finetune.Verdict
	var first string
	doubtful := 0
	for _, task := range tasks {
		for i := range seeds {
			at := stage{b.problem.common().Seed + uint64(i), task, name}
			c, ok := b.certificates[at]
			if !ok {
				continue
			}
			all = append(all, c.Verdict)
			if c.Reliable {
				continue
			}
			if doubtful++; doubtful == 1 {
				first = c.Reason
				if len(tasks) > 1 {
					first = task + ": " + first
				}
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	v := finetune.Verdict{Reliable: doubtful == 0, Reason: finetune.Reaches, KLReliable: !slices.ContainsFunc(all, func(v finetune.Verdict) bool { return !v.KLReliable })}
	if doubtful > 0 {
		v.Reason = first
		if doubtful > 1 {
			v.Reason += fmt.Sprintf(" (and %d of %d more)", doubtful-1, len(all)-1)
		}
	}
	return &v
}
