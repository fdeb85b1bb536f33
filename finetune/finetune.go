package finetune

import (
	"context"
	"fmt"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// FineTuning is Algorithm 1. All fields from Group on may be zero, the others are required.
type FineTuning struct {
	Sampler    *diffusion.Sampler // simulates with the current h, its Control, set by the Objective
	Reward     reward.Reward
	Selector   Selector
	Objective  Objective
	Buffer     *Buffer
	Iterations int // K
	Paths      int // N per iteration
	Key        noise.Key
	Group      int              // consecutive paths that share a condition and are selected among themselves; 0 means all
	Start      int              // iterations done already, of a run that is resumed: see Run
	Restarts   []int            // iterations after which the learning rate starts anew: see Run
	Pool       Pool             // what is known of log Z, kept up to date; that of a run that is resumed must be restored
	Seen       Seen             // the range of rewards, kept up to date; that of a run that is resumed must be restored
	Prefill    []float32        // endpoints that the buffer of a new run starts with, such as samples of the base model
	First      *diffusion.Paths // in place of the simulation of iteration 1: base paths, for h⁰ = 0
	Staleness  int              // iterations by which the h that drives a batch is older than that which learns from it, see [Flight]
	Flight     Flight           // the batches that are simulated already; those of a run that is resumed must be restored
	MinESS     float64          // the ESS, as a share of its paths, below which a batch is neither learned from nor pooled; see [Event]
	// Simulate, if set, is in place of the sampler: paths of iteration k, from 0, with the log ratio of the h that drove them, whichever it was.
	Simulate func(ctx context.Context, k int) (diffusion.Paths, error)
	Observe  func(Event)     // called once per iteration
	Keep     func(int) error // called with the iterations done, after Observe; its error ends the run
}

// Run fine-tunes h in place. It stops with the context's error between two steps; h is then that of the last update.
//
// To resume a run exactly, restore what Keep has stored after Start iterations: the parameters of h, with their moments and
// averages (see [nn.Trainer]), the Buffer, Pool, Seen and Flight. All else follows from Key and the number of the iteration.
//
// The learning rate falls to zero over the iterations, and over those between two of Restarts: warm restarts (SGDR, Loshchilov
// & Hutter 2017). So a finished run of K iterations is continued, with another restart at K.
func (f *FineTuning) Run(ctx context.Context) error {
	if f.Start == 0 {
		f.Buffer.Append(f.Prefill)
	}
	for k := f.Start; k < f.Iterations; k++ {
		start, calls := time.Now(), f.Sampler.Engine.NetworkCalls()
		from, to := f.Segment(k)
		f.Objective.Schedule(k, from, to)

		// 1. Simulate N paths of (5) with the current h, or have them of an older one, and log dP/dP^h of the h that drove them (Lemma 4).
		paths, err := f.simulate(ctx, k, to)
		if err != nil {
			return err
		}
		// 2. Weigh by log w = r + log dP/dP^h (12), choose c for the acceptance rate, keep with probability α (14).
		batch, err := f.weigh(ctx, paths)
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}
		alpha, logC, err := batch.accept(f.Selector, progress(k, from, to))
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}
		kept := batch.keep(alpha, f.Key.Sub("accept").At(k))
		certificate, dropped, err := f.certify(batch)
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}
		if dropped {
			kept = nil
		}
		f.Buffer.Append(kept)
		// 3. M gradient steps on the objective, for (15) over batches from the buffer.
		loss, err := f.Objective.Fit(ctx, f.Key.Sub("fit").At(k), batch, f.Buffer)
		if err != nil {
			return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
		}

		if f.Observe != nil {
			f.Observe(Event{Iteration: k + 1, Iterations: f.Iterations, Certificate: certificate,
				Acceptance: float64(len(kept)) / float64(len(batch.X)), LogC: Number(logC), Dropped: dropped, Loss: loss,
				NetworkCalls: f.Sampler.Engine.NetworkCalls() - calls, Seconds: time.Since(start).Seconds()})
		}
		if f.Keep != nil {
			if err := f.Keep(k + 1); err != nil {
				return fmt.Errorf("finetune: iteration %d: %w", k+1, err)
			}
		}
	}
	return nil
}

// Segment returns the iterations [from, to) around k between two restarts.
func (f *FineTuning) Segment(k int) (from, to int) {
	to = f.Iterations
	for _, r := range f.Restarts {
		if r <= k {
			from = max(from, r)
		} else {
			to = min(to, r)
		}
	}
	return from, to
}

// progress is what selectors see in iteration k: the share done of the first segment, and 1 after it.
func progress(k, from, to int) float64 {
	if from > 0 {
		return 1
	}
	return float64(k) / float64(to)
}

// Event is what one iteration has to tell. It is the only report of a fine-tuning run: terminal, log and figures read it.
type Event struct {
	Iteration  int `json:"iteration"` // from 1
	Iterations int `json:"iterations"`
	Certificate
	Acceptance float64 `json:"acceptance"` // share of the paths that was kept
	LogC       Number  `json:"log_c"`      // of (14); absent for hard selectors
	// Dropped says that the ESS was below the least that is wanted: nothing of the batch was kept, gradient steps were on what the buffer held, and
	// the certificate is of these paths alone.
	Dropped      bool    `json:"dropped,omitempty"`
	Loss         float64 `json:"loss"` // mean over the iteration's gradient steps
	NetworkCalls int64   `json:"network_calls"`
	Seconds      float64 `json:"seconds"`
}
