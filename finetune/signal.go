package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
)

// ErrNoSignal says that the reward is the same for all paths of an iteration, so that there is nothing to learn from it.
var ErrNoSignal = errors.New("no signal: the reward is constant")

// Seen are the lowest and the highest reward of a run so far. The zero value is of none.
type Seen struct {
	Low, High float64
	any       bool
}

// State returns what was seen as numbers, and SeenOf what they say. Of no numbers that is that anything may have been seen, which no constant contradicts.
func (s Seen) State() []float64 { return []float64{s.Low, s.High} }

// SeenOf returns what was seen of a state.
func SeenOf(state []float64) Seen {
	if len(state) != 2 {
		return Seen{math.Inf(-1), math.Inf(-1), true}
	}
	return Seen{state[0], state[1], true}
}

// with returns what was seen with another reward.
func (s Seen) with(v float64) Seen {
	if !s.any {
		return Seen{v, v, true}
	}
	return Seen{min(s.Low, v), max(s.High, v), true}
}

// weigh is [Weigh], and refuses a batch in which the reward does not tell the paths of any condition apart: a scorer that is broken says the same of all.
// Diverged paths count for nothing, and of single ones nothing can be said. There are constants that say something:
//
//   - r = 0, [reward.Zero], is to be one.
//   - The best of a run in which worse was seen: all paths have arrived.
//   - All that was seen in a run that has begun with samples from elsewhere: those are learned from, until paths get to where rewards differ.
func (f *FineTuning) weigh(ctx context.Context, paths diffusion.Paths) (Weighted, error) {
	w, err := Weigh(ctx, paths, f.Reward)
	if err != nil {
		return w, err
	}
	w.Group = f.Group
	var now Seen
	apart, several := false, false
	for _, g := range w.groups() {
		var of Seen
		for i := g[0]; i < g[1]; i++ {
			if w.diverged(i) {
				continue
			}
			several = several || of.any
			of, now = of.with(w.Reward[i]), now.with(w.Reward[i])
		}
		apart = apart || of.Low < of.High
	}
	before := f.Seen
	if now.any {
		f.Seen = before.with(now.Low).with(now.High)
	}
	_, zero := f.Reward.(reward.Zero)
	best := now.High == f.Seen.High
	arrived, waiting := best && before.any && before.Low < now.High, best && len(f.Prefill) > 0
	if apart || !several || zero || arrived || waiting {
		return w, nil
	}
	return w, fmt.Errorf("%w: it is %g for all %d paths; look whether what scores them works. If so, have it grade what it gives the same number, or simulate more paths an iteration",
		ErrNoSignal, now.High, w.N)
}

// diverged reports whether the endpoint of a path is not finite.
func (w Weighted) diverged(i int) bool {
	for _, v := range w.X[i*w.Dim : (i+1)*w.Dim] {
		if v-v != 0 {
			return true
		}
	}
	return false
}
