package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
)

// Chain says which of a target's chains a simulation is of, so that another process, with the same target, can make it too.
type Chain struct {
	Learn  bool `json:"learn,omitempty"`  // paths are conditioned on what is learned from
	Each   int  `json:"each,omitempty"`   // else on the target's conditions, each for so many consecutive paths; none without conditions, or for 0
	Driven bool `json:"driven,omitempty"` // by the base model, with the weights of the control
}

// Start begins what [diffusion.Sampler.Run] does, elsewhere, with the control as it is now. The paths are there when wait returns; meanwhile the control
// may learn, and others may be begun.
type Start = func(ctx context.Context, key noise.Key, from, n int, visit diffusion.Visitor) (wait func(context.Context) (diffusion.Paths, error), err error)

// Chain returns the sampler of a chain with a control, nil for the base model, and n steps; as many as configured for 0.
func (t *Target) Chain(h diffusion.Control, c Chain, n int) *diffusion.Sampler {
	var given *diffusion.Condition
	switch {
	case c.Learn:
		given = t.Learn
	case c.Each > 0 && t.Given != nil:
		given = t.Given(0, c.Each)
	}
	s := t.Sampler(h, given, n)
	if c.Driven {
		s.Drive = diffusion.Uncontrolled{}
	}
	return s
}

// spread is Chain, in other processes where there are any.
func (t *Target) spread(h diffusion.Control, c Chain, n int) *diffusion.Sampler {
	s := t.Chain(h, c, n)
	if t.Spread == nil {
		return s
	}
	if start := t.Spread(s, c); start != nil {
		s.Elsewhere = func(ctx context.Context, key noise.Key, from, n int, visit diffusion.Visitor) (diffusion.Paths, error) {
			wait, err := start(ctx, key, from, n, visit)
			if err != nil {
				return diffusion.Paths{}, err
			}
			return wait(ctx)
		}
	}
	return s
}
