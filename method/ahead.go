package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
)

// ahead has workers simulate the paths of so many iterations after the current one while h learns, each with the h of when it was started. So neither workers
// nor the trainer wait for the other as long as they keep up. It is a [finetune.FineTuning.Simulate], for objectives that do not watch paths. What flies when a
// run is stopped is started anew, with the newer h, when it goes on.
func ahead(f *finetune.FineTuning, start Start, staleness int) func(ctx context.Context, k int) (diffusion.Paths, error) {
	flying, next := map[int]func(context.Context) (diffusion.Paths, error){}, 0
	return func(ctx context.Context, k int) (diffusion.Paths, error) {
		_, end := f.Segment(k) // over which none flies, see [finetune.Flight]
		for next = max(next, k); next < min(k+staleness+1, end); next++ {
			wait, err := start(ctx, f.Key.Sub("simulate").At(next), 0, f.Paths, nil)
			if err != nil {
				return diffusion.Paths{}, err
			}
			flying[next] = wait
		}
		wait := flying[k]
		delete(flying, k)
		return wait(ctx)
	}
}
