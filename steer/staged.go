package steer

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
)

// Staged is a learned h times one number for each stage of the chain, such as its early, middle and late steps. What a fit leaves of
// sampling noise is not spread evenly over them: it is most of h where the signal has died out.
type Staged struct {
	Control diffusion.Control
	Until   []float64 // times at which stages end, falling: all but the last
	Scales  []float64 // of each stage
}

var _ diffusion.Control = Staged{}

// Noise implements [diffusion.Control].
func (c Staged) Noise(s diffusion.State) *graph.Node {
	like := func(scale float64) *graph.Node { return graph.MulScalar(graph.OnesLike(s.T), scale) }
	scale := like(c.Scales[0])
	for i, until := range c.Until {
		scale = graph.Where(graph.LessThan(s.T, like(until)), like(c.Scales[i+1]), scale)
	}
	return graph.Mul(diffusion.Column(scale, s.X), c.Control.Noise(s))
}

// Stages divides the steps that a control moves into n stages of about as many, and returns the times between them: [Staged.Until].
func Stages(steps []diffusion.Step, n int) (until []float64) {
	var times []float64
	for _, st := range steps {
		if !st.Uncontrolled {
			times = append(times, st.T)
		}
	}
	for i := 1; i < n; i++ {
		if at := i * len(times) / n; at > 0 && at < len(times) {
			until = append(until, (times[at-1]+times[at])/2)
		} else { // fewer steps than stages: some have none
			until = append(until, 0)
		}
	}
	return until
}
