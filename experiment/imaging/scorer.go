package imaging

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/reward/external"
)

// Scorer is a program or server of the user's own, as a reward of pictures. It begins when it is first asked, and gets samples as pictures have them, within
// [−1, 1]. Settings and Shape are required.
type Scorer struct {
	Settings external.Settings
	Shape    []int  // of a picture
	Where    string // place in the configuration, for errors

	lock sync.Mutex
	open *external.Reward
}

// prompted is a scorer of pictures for a text.
type prompted struct {
	*Scorer
	metadata map[string]string
}

var (
	_ reward.Reward = (*Scorer)(nil)
	_ reward.Reward = prompted{}
)

// For returns the scorer of pictures for a text, which stands in the metadata of its requests as prompt. The program is the same, and closed once.
func (r *Scorer) For(text string) reward.Reward {
	return prompted{r, map[string]string{"prompt": text}}
}

// Rewards implements [reward.Reward].
func (r prompted) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	return r.rewards(ctx, x, n, r.metadata)
}

// Rewards implements [reward.Reward].
func (r *Scorer) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	return r.rewards(ctx, x, n, nil)
}

func (r *Scorer) rewards(ctx context.Context, x []float32, n int, metadata map[string]string) ([]float64, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	fail := func(err error) ([]float64, error) {
		return nil, fmt.Errorf("%s: %w", r.Where, err)
	}
	if r.open == nil {
		open, err := r.Settings.Open(context.WithoutCancel(ctx), r.Shape) // until Close
		if err != nil {
			return fail(err)
		}
		r.open = open
	}
	within := make([]float32, len(x))
	for i, v := range x {
		within[i] = float32(math.Max(-1, math.Min(1, float64(v))))
	}
	values, err := r.open.With(metadata).Rewards(ctx, within, n)
	if err != nil {
		return fail(err)
	}
	return values, nil
}

// Close ends the program, if it has begun. It may begin again.
func (r *Scorer) Close() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}
