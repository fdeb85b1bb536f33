package own

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/reward/external"
)

// program is a program or server of the user's own. It begins when it is first asked, and gets samples as pictures have them, within [−1, 1].
type program struct {
	settings external.Settings
	shape    []int
	where    string
	lock     sync.Mutex
	open     *external.Reward
}

var _ reward.Reward = (*program)(nil)

// Rewards implements [reward.Reward].
func (r *program) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	fail := func(err error) ([]float64, error) {
		return nil, fmt.Errorf("%s: %w", r.where, err)
	}
	if r.open == nil {
		open, err := r.settings.Open(context.WithoutCancel(ctx), r.shape) // until Close
		if err != nil {
			return fail(err)
		}
		r.open = open
	}
	within := make([]float32, len(x))
	for i, v := range x {
		within[i] = float32(math.Max(-1, math.Min(1, float64(v))))
	}
	values, err := r.open.Rewards(ctx, within, n)
	if err != nil {
		return fail(err)
	}
	return values, nil
}

// Close ends the program, if it has begun. It may begin again.
func (r *program) Close() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}
