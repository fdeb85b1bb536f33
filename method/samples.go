package method

import (
	"github.com/doob-diffusion/doob/finetune"
)

// Samples are what a method has drawn.
type Samples struct {
	X       []float32 // [Count, Members, …], row-major
	From    int       // the first of the target's conditions that they are of
	Count   int       // conditions; 1 where there are none
	Members int       // samples of each
	// Certificate is what path weights say; nil where there are none. Samples that are selected or resampled have no KL.
	Certificate *finetune.Certificate
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

// selected are samples of a target that were selected from paths, or resampled, by which weights of so many paths of each condition tell log Z.
func (t *Target) selected(x []float32, logW []float64, group int) *Samples {
	c := finetune.Evidence(logW, group)
	return &Samples{X: x, Count: t.Conditions, Members: t.Samples, Certificate: &c}
}
