package finetune

import (
	"fmt"
	"math"
	"slices"
)

// Selector decides which endpoints of an iteration to learn from.
type Selector interface {
	// Accept returns the probability α [N] with which to keep each path, and log c where the selector has one (NaN
	// where not). Progress is the share of the iterations done, in [0, 1]; 1 in those after a restart.
	Accept(progress float64, logW, reward []float64) (alpha []float64, logC float64, err error)
}

var (
	_ Selector = Relaxed{}
	_ Selector = RewardOnly{}
	_ Selector = Elite{}
	_ Selector = Threshold{}
	_ Selector = BestOf{}
)

// Rate is an acceptance rate ρ that may change over a run: the stages are of equal length. An empty rate is 0.5.
type Rate []float64

// At returns the rate at a progress in [0, 1], at 1 the last.
func (r Rate) At(progress float64) float64 {
	if len(r) == 0 {
		return 0.5
	}
	return r[min(int(progress*float64(len(r))+1e-9), len(r)-1)]
}

// Relaxed is relaxed rejection (14), α = min(1, w/c), with c chosen per batch so that the mean of α is the rate. The
// law of what it keeps is nearer to the tilted law than P^h (Theorem 5).
type Relaxed struct{ Rate Rate }

// Accept implements [Selector].
func (s Relaxed) Accept(progress float64, logW, _ []float64) ([]float64, float64, error) {
	return relax(logW, s.Rate.At(progress))
}

// RewardOnly is relaxed rejection without the path weight, α = min(1, exp(r)/c). After k rounds it targets
// p_data·exp(k·r), and so collapses to the highest mode.
type RewardOnly struct{ Rate Rate }

// Accept implements [Selector].
func (s RewardOnly) Accept(progress float64, _, reward []float64) ([]float64, float64, error) {
	return relax(reward, s.Rate.At(progress))
}

// relax returns min(1, exp(logW − log c)) with mean rate. Of the weights in falling order, the first k are accepted for sure and the rest in
// proportion, with k + Σ_{i>k} w_i/c = rate·N: so log c is exact. Where no more than rate·N weights are positive, all of those are accepted.
func relax(logW []float64, rate float64) ([]float64, float64, error) {
	if err := checkRate(rate); err != nil {
		return nil, 0, err
	}
	var rising []float64
	for _, lw := range logW {
		if !math.IsInf(lw, -1) && !math.IsNaN(lw) {
			rising = append(rising, lw)
		}
	}
	if len(rising) == 0 {
		return nil, 0, fmt.Errorf("%w: none of %d paths can be accepted", ErrNoWeight, len(logW))
	}
	slices.Sort(rising)
	logC, rest := rising[0], math.Inf(-1) // rest is the log of the sum of the weights up to i
	if wanted := rate * float64(len(logW)); wanted < float64(len(rising)) {
		for i, lw := range rising {
			rest = logAdd(rest, lw)
			sure := float64(len(rising) - i - 1)
			if sure >= wanted {
				continue
			}
			// The weights that follow are accepted for sure only if c is not above them; the first such c is above all before.
			if logC = rest - math.Log(wanted-sure); i == len(rising)-1 || logC <= rising[i+1] {
				break
			}
		}
	}
	alpha := make([]float64, len(logW))
	for i, lw := range logW {
		if !math.IsNaN(lw) {
			alpha[i] = math.Exp(min(0, lw-logC))
		}
	}
	return alpha, logC, nil
}

// logAdd returns log(exp(a) + exp(b)).
func logAdd(a, b float64) float64 {
	high, low := max(a, b), min(a, b)
	if math.IsInf(high, -1) {
		return high
	}
	return high + math.Log1p(math.Exp(low-high))
}

// Elite keeps the share Rate of highest reward: the cross-entropy method (De Boer et al. 2005).
type Elite struct{ Rate Rate }

// Accept implements [Selector].
func (s Elite) Accept(progress float64, _, reward []float64) ([]float64, float64, error) {
	rate := s.Rate.At(progress)
	if err := checkRate(rate); err != nil {
		return nil, 0, err
	}
	return hard(reward, byReward(reward)[:share(rate, len(reward))]), math.NaN(), nil
}

// Threshold keeps what lies above a quantile of the reward that rises over the run from Low to High: the hard filter of
// ReST (Gulcehre et al. 2023). The zero value rises from 0 to 0.
type Threshold struct{ Low, High float64 }

// Accept implements [Selector].
func (s Threshold) Accept(progress float64, _, reward []float64) ([]float64, float64, error) {
	quantile := s.Low + progress*(s.High-s.Low)
	if !(quantile >= 0 && quantile <= 1) {
		return nil, 0, fmt.Errorf("reward quantile is %g, want a number in [0, 1]", quantile)
	}
	return hard(reward, byReward(reward)[:max(1, share(1-quantile, len(reward)))]), math.NaN(), nil
}

// BestOf keeps the path of highest reward among every K consecutive ones: RAFT (Dong et al. 2023). K below 1 means 1.
type BestOf struct{ K int }

// Accept implements [Selector].
func (s BestOf) Accept(_ float64, _, reward []float64) ([]float64, float64, error) {
	var best []int
	for group := range slices.Chunk(byIndex(len(reward)), max(1, s.K)) {
		best = append(best, slices.MaxFunc(group, func(a, b int) int { return compare(reward, b, a) }))
	}
	return hard(reward, best), math.NaN(), nil
}

func checkRate(rate float64) error {
	if !(rate > 0 && rate <= 1) {
		return fmt.Errorf("acceptance rate is %g, want a number in (0, 1]", rate)
	}
	return nil
}

// share returns ⌈rate·n⌉, of the rate as written in decimals: 0.07·100 is 7, though not in binary.
func share(rate float64, n int) int { return int(math.Ceil(rate*float64(n) - 1e-9)) }

func hard(reward []float64, kept []int) []float64 {
	alpha := make([]float64, len(reward))
	for _, i := range kept {
		if !math.IsInf(reward[i], -1) && !math.IsNaN(reward[i]) {
			alpha[i] = 1
		}
	}
	return alpha
}

func byIndex(n int) []int {
	index := make([]int, n)
	for i := range index {
		index[i] = i
	}
	return index
}

// byReward returns the indices in order of falling reward; NaN last.
func byReward(reward []float64) []int {
	index := byIndex(len(reward))
	slices.SortStableFunc(index, func(a, b int) int { return compare(reward, a, b) })
	return index
}

// compare orders a before b if its reward is higher.
func compare(reward []float64, a, b int) int {
	switch x, y := reward[a], reward[b]; {
	case x > y || math.IsNaN(y) && !math.IsNaN(x):
		return -1
	case x < y || math.IsNaN(x) && !math.IsNaN(y):
		return 1
	}
	return 0
}
