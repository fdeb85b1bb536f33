package experiment

import (
	"fmt"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/finetune"
)

// settleSeeds judges every method on a task by the mean of its log Ẑ over the seeds, where each could be trusted: a bias of some errors of one seed is more of the
// mean's. Known is what all methods know together of each one's log Z, of each seed alone if it has a prior of its own.
func (b *book) settleSeeds(known map[stage]finetune.Certificate, own bool) {
	type repeated struct{ task, name string }
	seeds := map[repeated][]stage{}
	for at := range known {
		of := repeated{at.task, at.name}
		seeds[of] = append(seeds[of], at)
	}
	for _, stages := range seeds {
		var each, others []finetune.Certificate
		for _, at := range stages {
			each, others = append(each, b.certificates[at]), append(others, known[at])
		}
		if len(stages) < 2 || slices.ContainsFunc(slices.Concat(each, others), func(c finetune.Certificate) bool { return !c.Reliable }) {
			continue
		}
		other := mean(others)
		if !own {
			other = others[0] // one for all
		}
		judged := mean(each).Against(other, fmt.Sprintf("all methods together, above its mean over %d seeds", len(stages)), len(known))
		if judged.Reliable {
			continue
		}
		for _, at := range stages {
			c := b.certificates[at]
			c.Verdict = judged.Verdict
			b.certificates[at] = c
		}
	}
}

// mean is the mean of independent log Ẑ that can be trusted, with its error.
func mean(all []finetune.Certificate) finetune.Certificate {
	out, n := all[0], float64(len(all))
	sum, variance := 0.0, 0.0
	for _, c := range all {
		sum, variance = sum+float64(c.LogZ), variance+float64(c.LogZSE*c.LogZSE)
	}
	out.LogZ, out.LogZSE = finetune.Number(sum/n), finetune.Number(math.Sqrt(variance)/n)
	return out
}
