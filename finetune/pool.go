package finetune

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/metric"
)

// Pool is what batches of paths say together of the one log Z of a chain, whatever h drove them:
//
//	Ẑ = Σ c_j Ẑ_j / Σ c_j
//
// c_j is the size of batch j times the ESS, as a share, of the batch before it; of the first, of the batch after it. So it does not look at
// batch j: one that missed mass has the most equal weights, and would be favoured. The zero value is empty.
type Pool struct {
	Batches int
	Weight  float64 // Σ c_j
	LogSum  float64 // log Σ c_jẐ_j
	Spread  float64 // log Σ (c_jẐ_j)²·v_j, with the variance v_j of Ẑ_j/Z
	Share   float64 // ESS of the last batch, as a share
	Bound   float64 // the highest log Ẑ_j − 3 standard errors of a reliable batch, −∞ for none

	part float64 // of the last batch in Ẑ
}

// logZ is one estimate of log Z: of strata of weights that are drawn from one law each, Ẑ is the mean of all.
type logZ struct {
	value float64
	parts []float64 // what every stratum adds to the variance of Ẑ/Z
	paths int
}

func estimate(strata ...[]float64) logZ {
	all := slices.Concat(strata...)
	z := logZ{value: metric.LogMeanExp(all), paths: len(all)}
	for _, logW := range strata {
		w := make([]float64, len(logW))
		for i, lw := range logW {
			w[i] = math.Exp(lw - z.value)
		}
		share := float64(len(w)) / float64(len(all))
		z.parts = append(z.parts, share*share*stat.Variance(w, nil)/float64(len(w)))
	}
	return z
}

// variance is that of Ẑ/Z, and so nearly that of log Ẑ.
func (z logZ) variance() (v float64) {
	for _, p := range z.parts {
		v += p
	}
	return v
}

// add returns the pool with another batch, of which the ESS is a share.
func (p Pool) add(z logZ, share float64) Pool {
	c := float64(z.paths)
	switch p.Batches {
	case 0:
		p.LogSum, p.Spread, p.Bound = math.Inf(-1), math.Inf(-1), math.Inf(-1)
	case 1:
		p.Weight, p.LogSum, p.Spread = p.Weight*share, p.LogSum+math.Log(share), p.Spread+2*math.Log(share)
		fallthrough
	default:
		c *= p.Share
	}
	term := math.Log(c) + z.value
	p.Batches++
	p.Weight += c
	p.LogSum = logAdd(p.LogSum, term)
	p.Spread = logAdd(p.Spread, 2*term+math.Log(z.variance()))
	p.part = math.Exp(term - p.LogSum)
	return p
}

// estimate returns log Ẑ and its variance.
func (p Pool) estimate() (value, variance float64) {
	return p.LogSum - math.Log(p.Weight), math.Exp(p.Spread - 2*p.LogSum)
}

// learn notes what the last batch, certified, says of the next.
func (p *Pool) learn(c Certificate, z logZ) {
	p.Share = float64(c.ESS)
	if c.Reliable {
		p.Bound = max(p.Bound, z.value-3*math.Sqrt(z.variance()))
	}
}

// State returns the pool as numbers, and PoolOf the pool of them.
func (p Pool) State() []float64 {
	return []float64{float64(p.Batches), p.Weight, p.LogSum, p.Spread, p.Share, p.Bound}
}

// PoolOf returns the pool of a state, which has six numbers.
func PoolOf(state []float64) Pool {
	return Pool{Batches: int(state[0]), Weight: state[1], LogSum: state[2], Spread: state[3], Share: state[4], Bound: state[5]}
}
