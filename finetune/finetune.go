package finetune

import (
	"context"
	"fmt"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// FineTuning is Algorithm 1. All fields but Prefill and Observe are required.
type FineTuning struct {
	Sampler    *diffusion.Sampler // simulates with the current h, its Control
	Reward     reward.Reward
	Selector   Selector
	Objective  Objective
	Buffer     *Buffer
	Iterations int // K
	Paths      int // N per iteration
	Key        noise.Key
	Prefill    []float32   // endpoints that the buffer starts with, such as samples of the base model
	Observe    func(Event) // called once per iteration
}

// Run fine-tunes h in place. It stops with the context's error between two steps; h is then that of the last update.
func (f *FineTuning) Run(ctx context.Context) error {
	f.Buffer.Append(f.Prefill)
	for k := range f.Iterations {
		start, calls := time.Now(), f.Sampler.Engine.NetworkCalls()

		// 1. Simulate N paths of (5) with the current h, accumulating log dP/dP^h (Lemma 4).
		paths, err := f.Sampler.Run(ctx, f.Key.Sub("simulate").At(k), f.Paths, f.Objective.Visitor(f.Key.Sub("visit").At(k)))
		if err != nil {
			return err
		}
		// 2. Weigh by log w = r + log dP/dP^h (12), choose c for the acceptance rate, keep with probability α (14).
		batch, err := Weigh(ctx, paths, f.Reward)
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}
		alpha, logC, err := f.Selector.Accept(float64(k)/float64(f.Iterations), batch.LogW, batch.Reward)
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}
		kept := batch.keep(alpha, f.Key.Sub("accept").At(k))
		f.Buffer.Append(kept)
		// 3. M gradient steps on the objective, for (15) over batches from the buffer.
		loss, err := f.Objective.Fit(ctx, f.Key.Sub("fit").At(k), batch, f.Buffer)
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}

		if f.Observe != nil {
			f.Observe(Event{Iteration: k + 1, Iterations: f.Iterations, Diagnostics: batch.Diagnostics(),
				Acceptance: float64(len(kept)) / float64(len(batch.X)), LogC: Number(logC), Loss: loss,
				NetworkCalls: f.Sampler.Engine.NetworkCalls() - calls, Seconds: time.Since(start).Seconds()})
		}
	}
	return nil
}

// Event is what one iteration has to tell. It is the only report of a fine-tuning run: terminal, log and figures read it.
type Event struct {
	Iteration  int `json:"iteration"` // from 1
	Iterations int `json:"iterations"`
	Diagnostics
	Acceptance   float64 `json:"acceptance"` // share of the paths that was kept
	LogC         Number  `json:"log_c"`      // of (14); absent for hard selectors
	Loss         float64 `json:"loss"`       // mean over the iteration's gradient steps
	NetworkCalls int64   `json:"network_calls"`
	Seconds      float64 `json:"seconds"`
}
