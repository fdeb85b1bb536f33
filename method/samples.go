package method

import (
	"math"

	"github.com/doob-diffusion/doob/finetune"
)

// Samples are what a method has drawn.
type Samples struct {
	X       []float32 // [Count, Members, …], row-major
	From    int       // the first of the target's conditions that they are of
	Count   int       // conditions; 1 where there are none
	Members int       // samples of each
	// Diagnostics are what path weights say of the paths behind the samples; nil for samples that were selected, or have no path.
	Diagnostics *finetune.Diagnostics
	ESS, LogZ   float64   // of path weights, or of the last weights of particles; NaN for none
	Scale       []float64 // as [Fitted] says
	Training    Spent     // by Fit
	Sampling    Spent     // by Sample
}

// Spent is what something has cost: simulated paths, network evaluations on one sample, time.
type Spent struct {
	Paths, Calls int64
	Seconds      float64
}

// Plus adds what something else has cost.
func (s Spent) Plus(o Spent) Spent {
	return Spent{s.Paths + o.Paths, s.Calls + o.Calls, s.Seconds + o.Seconds}
}

// selected are samples of a target whose paths tell nothing.
func (t *Target) selected(x []float32) *Samples {
	return &Samples{X: x, Count: t.Conditions, Members: t.Samples, ESS: math.NaN(), LogZ: math.NaN()}
}
