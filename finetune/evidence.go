package finetune

import (
	"math"
	"slices"

	"github.com/doob-diffusion/doob/metric"
)

// Evidence certifies log Ẑ alone, as the mean of weights: where samples are selected or resampled, they are of no law of paths that could have a KL.
// So many consecutive weights are of one condition, 0 means all. Weights of particles count by their ancestors.
func Evidence(logW []float64, group int) Certificate {
	if group <= 0 {
		group = len(logW)
	}
	nan := Number(math.NaN())
	c := Certificate{Paths: len(logW), Reward: nan, LSC: nan, LSCSE: nan, KL: nan, KLSE: nan, KLBase: nan}
	var normalised []float64
	var variance, groups float64
	for part := range slices.Chunk(logW, group) {
		z := estimate(part)
		for _, lw := range part {
			if math.IsInf(lw, -1) {
				c.NonFinite++
			}
			normalised = append(normalised, lw-z.value)
		}
		c.ESS, c.LogZ = c.ESS+Number(metric.ESS(part)/float64(len(part))), c.LogZ+Number(z.value)
		variance, groups = variance+z.variance(), groups+1
	}
	c.ESS, c.LogZ, c.LogZSE = c.ESS/Number(groups), c.LogZ/Number(groups), Number(math.Sqrt(variance)/groups)
	c.KHat = Number(metric.ParetoShape(normalised))
	c.judge(group, int(groups))
	return c
}
