package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment/toy"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// toy writes the exact law of a toy as its own metrics see it: the cells of the modes, the exact sets of all seeds, the
// directions of the sliced distance; and the base models at some points.
func (d *dump) toy(ctx context.Context, p *toy.Problem) error {
	if p.Base != "learned" {
		return fmt.Errorf("base is %q, want learned: the libraries fine-tune a network", p.Base)
	}
	if _, err := p.Load(); err != nil {
		return err
	}
	exact := *p
	exact.Base = "exact" // whose target holds the prior
	target, err := exact.Target(ctx, d.lab, "")
	if err != nil {
		return err
	}
	prior, likelihood := target.Base.(diffusion.Mixture).Density, target.Reward.(reward.Mixture).Density
	tilted, logZ, err := prior.Times(likelihood)
	if err != nil {
		return err
	}
	dim := prior.Dim()
	d.settings = map[string]any{"experiment": "toy", "dim": dim, "log_z": logZ, "seed": p.Seed, "seeds": p.Seeds, "samples": p.Samples,
		"network": p.Network, "process": p.Process, "reward": p.Reward, "batch": p.Batch}
	d.steps(p.Process.Table(nil)(0))
	d.doubles("cells", cells(prior, tilted))
	d.doubles("centres", slices.Concat(prior.Means()...), dim)
	if dim == 2 {
		// As metric.SlicedW2 draws them: normal vectors, which it scales to length 1.
		z := make([]float32, p.Directions*dim)
		for i := range p.Directions {
			noise.New(0).Sub("directions").Normal(z[i*dim:(i+1)*dim], uint64(i), 0)
		}
		d.floats("directions", z, dim)
	}
	const points = 256
	x, t := make([]float32, points*dim), make([]float32, points)
	noise.New(0).Sub("points").Normal(x, 0, 0)
	for i := range t {
		t[i] = float32(i+1) / points
	}
	d.floats("check.x", x, dim)
	d.floats("check.t", t)
	for i := range p.Seeds {
		seed := p.Seed + uint64(i)
		d.floats(fmt.Sprintf("exact.%d", seed), tilted.Sample(p.Samples, noise.New(seed).Sub("exact").At(0)), dim)
		name := "base"
		if i > 0 {
			name = fmt.Sprintf("base_seed_%d", seed)
		}
		d.lab.Engine = d.lab.Engine.Fork() // every seed has a base model of its own
		if err := d.load(p, name); err != nil {
			return err
		}
		learned, err := p.Target(ctx, d.lab, "")
		if err != nil {
			return err
		}
		eps, err := d.predict(learned.Base, p.Process.VP, x, t, dim)
		if err != nil {
			return err
		}
		d.floats(fmt.Sprintf("check.eps.%d", seed), eps, dim)
	}
	return nil
}

// cells are the exact probabilities of the cells around the prior's means, as the toy estimates them.
func cells(prior, tilted *gmm.Mixture) []float64 {
	const draws = 2000
	cells := make([]float64, len(prior.Means()))
	for i, w := range tilted.Weights() {
		if w < 1e-12 {
			continue
		}
		x := tilted.Component(i).Sample(draws, noise.New(0).Sub("cells").At(i))
		for c, share := range metric.ModeWeights(x, prior.Dim(), prior.Means()) {
			cells[c] += w * share
		}
	}
	return cells
}

// predict evaluates a base model at samples x [n, shape…] and times t [n].
func (d *dump) predict(base diffusion.Model, p diffusion.Process, x, t []float32, shape ...int) ([]float32, error) {
	program, err := d.lab.Engine.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{diffusion.State{Process: p, X: in[0], T: in[1]}.Evaluate(base).Eps}
	})
	if err != nil {
		return nil, err
	}
	out, err := program.Run(engine.Rows(x, shape...), t)
	if err != nil {
		return nil, err
	}
	eps := make([]float32, len(x))
	return eps, engine.Floats(eps, out[0])
}
