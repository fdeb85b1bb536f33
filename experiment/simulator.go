package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
)

// simulator does the tasks of a run, with labs that have its networks.
type simulator struct {
	files *fleet.Files
	lab   func(ctx context.Context, o request) (*Lab, error)
	close func() error

	at     stage // whose chains these are: those of one stage at a time are kept
	chains map[chainKey]*chain
}

type chainKey struct {
	method.Chain
	steps string
	base  bool
}

// chain is one that was simulated before.
type chain struct {
	target  *method.Target
	sampler *diffusion.Sampler
	weights string // SHA-256 of those that h has
}

// Simulate implements [fleet.Simulator].
func (s *simulator) Simulate(ctx context.Context, text json.RawMessage, from, n int) (diffusion.Piece, int64, error) {
	var o request
	if err := json.Unmarshal(text, &o); err != nil {
		return diffusion.Piece{}, 0, fmt.Errorf("a request that cannot be read: %w", err)
	}
	c, err := s.chain(ctx, o)
	if err != nil {
		return diffusion.Piece{}, 0, err
	}
	if c.weights != o.Weights {
		if err := s.load(ctx, c, o.Weights); err != nil {
			return diffusion.Piece{}, 0, err
		}
	}
	before := c.target.Engine.NetworkCalls()
	piece, err := c.sampler.Piece(ctx, o.Key, from, n, o.States)
	return piece, c.target.Engine.NetworkCalls() - before, err
}

// Close implements [fleet.Simulator].
func (s *simulator) Close() error { return s.close() }

// chain returns that of a request, as it was or anew.
func (s *simulator) chain(ctx context.Context, o request) (*chain, error) {
	if at := (stage{o.Seed, o.Task, o.Method}); s.at != at || s.chains == nil {
		s.at, s.chains = at, map[chainKey]*chain{}
	}
	key := chainKey{o.Chain, o.Steps, o.Weights == ""}
	if c := s.chains[key]; c != nil {
		return c, nil
	}
	l, err := s.lab(ctx, o)
	if err != nil {
		return nil, err
	}
	_, t, _, err := l.target(ctx, o.Task, o.Method)
	if err != nil {
		return nil, err
	}
	var h diffusion.Control
	if !key.base {
		if h, err = t.H(t.Engine, t.Keys.Start, t.Reward); err != nil {
			return nil, err
		}
	}
	c := &chain{target: t, sampler: t.Chain(h, o.Chain, 0)}
	c.sampler.Steps = nil
	data, err := s.files.Get(ctx, o.Steps, false)
	if err == nil {
		err = json.Unmarshal(data, &c.sampler.Steps)
	}
	if err != nil {
		return nil, fmt.Errorf("steps of the sampler: %w", err)
	}
	s.chains[key] = c
	return c, nil
}

// load gives h its weights.
func (s *simulator) load(ctx context.Context, c *chain, sum string) error {
	tensors, err := s.tensors(ctx, sum, false)
	if err != nil {
		return err
	}
	named := map[string]checkpoint.Tensor{}
	for name, t := range tensors {
		named[strings.TrimPrefix(htransform.Path, "/")+name] = t
	}
	if err := nn.Restore(c.target.Engine, named, htransform.Path); err != nil {
		return fmt.Errorf("weights of h: %w", err)
	}
	c.weights = sum
	return nil
}

// tensors reads a file of the run.
func (s *simulator) tensors(ctx context.Context, sum string, keep bool) (map[string]checkpoint.Tensor, error) {
	data, err := s.files.Get(ctx, sum, keep)
	if err != nil {
		return nil, err
	}
	f, err := checkpoint.Read(bytes.NewReader(data), int64(len(data)))
	return f.Tensors, err
}
