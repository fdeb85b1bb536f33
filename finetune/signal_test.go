package finetune

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// A constant reward is an error, unless it says something. Every iteration sees what those before it have seen, also across a resumed run.
func TestSignal(t *testing.T) {
	nan := float32(math.NaN())
	constant, other := table{2, 2, 2, 2}, table{2, 2, 2, 3}
	for _, c := range []struct {
		name    string
		batches []table // of the iterations
		x       []float32
		group   int
		prefill []float32
		refused bool // the last one
	}{
		{"constant at once", []table{constant}, nil, 0, nil, true},
		{"two values", []table{other}, nil, 0, nil, false},
		{"forbidden or not", []table{{0, 0, -inf, 0}}, nil, 0, nil, false},
		{"all have arrived", []table{{2, 2, 1, 2}, constant}, nil, 0, nil, false},
		{"all have arrived where none was before", []table{{0, 1, 1, 1}, constant}, nil, 0, nil, false},
		{"all have arrived, and again", []table{{2, 2, -inf, 2}, constant, constant}, nil, 0, nil, false},
		{"the scorer broke", []table{other, constant}, nil, 0, nil, true},
		{"the scorer broke after all had arrived", []table{{2, 2, 1, 2}, constant, {0, 0, 0, 0}}, nil, 0, nil, true},
		{"samples from elsewhere", []table{constant, constant}, nil, 0, []float32{1}, false},
		{"samples from elsewhere, and the scorer broke", []table{other, constant}, nil, 0, []float32{1}, true},
		{"constant but for what diverged", []table{{2, 2, 9, 2}}, []float32{0, 0, nan, 0}, 0, nil, true},
		{"one that did not diverge", []table{{2, 2, 9, 2}}, []float32{0, nan, nan, nan}, 0, nil, false},
		{"constant for every condition", []table{{1, 1, 2, 2}}, nil, 2, nil, true},
		{"two values of a condition", []table{{1, 1, 2, 3}}, nil, 2, nil, false},
		{"single paths", []table{constant}, nil, 1, nil, false},
	} {
		if c.x == nil {
			c.x = []float32{0, 1, 2, 3}
		}
		for _, resumed := range []bool{false, true} {
			f := &FineTuning{Group: c.group, Prefill: c.prefill}
			for i, b := range c.batches {
				if resumed && i > 0 {
					f = &FineTuning{Group: c.group, Prefill: c.prefill, Seen: SeenOf(f.Seen.State())}
				}
				f.Reward = b
				w, err := f.weigh(context.Background(), pathsOf(c.x, 0, 0, 0, 0))
				if refused := c.refused && i == len(c.batches)-1; refused != errors.Is(err, ErrNoSignal) || !refused && (err != nil || w.Group != c.group) {
					t.Errorf("%s, resumed: %v: iteration %d: error %v", c.name, resumed, i+1, err)
				} else if refused {
					oracle.WantError(t, err, "for all 4 paths", "constant")
				}
			}
		}
	}
	for _, f := range []*FineTuning{{Reward: reward.Zero{}}, {Reward: constant, Seen: SeenOf(nil)}} { // nothing to learn, and a state of before
		if _, err := f.weigh(context.Background(), pathsOf([]float32{0, 1, 2, 3}, 0, 0, 0, 0)); err != nil {
			t.Errorf("%T: %v", f.Reward, err)
		}
	}
}
