package bench

import (
	"context"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// importance is the importance fine-tuning run of "doob run toy", preset quick, with the samples that are drawn of the
// result. The base model is trained once, before. Each iteration runs all of it, from a new h.
func importance(backend string, args map[string]int) (func() error, error) {
	const (
		width, depth, octaves, scaleWidth = 64, 3, 5, 32
		power, steps, rows                = 2, 50, 512
	)
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	prior, likelihood, err := toyMixtures()
	if err != nil {
		return nil, err
	}
	ctx, key, shape := context.Background(), noise.New(1), []int{2}
	var process diffusion.VP
	base := diffusion.Network{Velocity: nn.MLP{Scope: e.Scope("/base"), In: 2, Out: 2, Width: width, Depth: depth, Octaves: octaves,
		Timed: true}.Init(key, 0, 0)}
	pretraining := diffusion.Pretraining{Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: power}}, Training: nn.Training{Steps: args["pretraining"], Batch: rows, Optimizer: nn.Optimizer{LearningRate: 3e-3, EMA: 0.999}}}
	trainer, err := pretraining.Trainer(e, process, base)
	if err != nil {
		return nil, err
	}
	err = trainer.Run(ctx, pretraining.Steps, pretraining.Inputs(key, process, shape,
		func(data []float32, step int) { copy(data, prior.Sample(rows, key.Sub("data").At(step))) }), nil)
	if err != nil {
		return nil, err
	}
	base.Velocity = base.Velocity.Within(nn.Averages(e))
	r := reward.Mixture{Density: likelihood}

	return func() error {
		e := e.Fork()
		h := htransform.RewardInformed{Reward: r, NN2: htransform.Scale(e.Scope("/h/nn2"), scaleWidth, 0, key),
			NN1: nn.MLP{Scope: e.Scope("/h/nn1"), In: 6, Out: 2, Width: width, Depth: depth, Octaves: octaves, Timed: true}.Init(key, 0, 0)}
		sampler := &diffusion.Sampler{Engine: e, Steps: diffusion.EulerMaruyama{}.Steps(process, diffusion.Times(steps, power)),
			Shape: shape, Base: base, Control: h, Batch: rows}
		training := finetune.Training{Updates: args["updates"], Batch: args["batch"], Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: power}},
			Optimizer: nn.Optimizer{LearningRate: 6e-3, EMA: 0.995}}
		objective, err := finetune.NewSupervised(sampler, h, training, 1e-4)
		if err != nil {
			return err
		}
		run := finetune.FineTuning{Sampler: sampler, Reward: r, Selector: finetune.Relaxed{Rate: finetune.Rate{0.1, 0.3}},
			Objective: objective, Buffer: &finetune.Buffer{Capacity: 4096, Dim: 2}, Iterations: args["iterations"],
			Paths: args["paths"], Key: key}
		if err := run.Run(ctx); err != nil {
			return err
		}
		paths, err := sampler.Run(ctx, key.Sub("samples"), 0, args["samples"], nil)
		if err != nil {
			return err
		}
		weighted, err := finetune.Weigh(ctx, paths, r)
		if err != nil {
			return err
		}
		if d := weighted.Certificate(); math.IsNaN(float64(d.LogZ)) {
			return fmt.Errorf("bench: log Z is not a number; the run diverged")
		}
		return nil
	}, nil
}

// toyMixtures returns the prior and the reward of the toy's presets.
func toyMixtures() (prior, likelihood *gmm.Mixture, err error) {
	var weights []float64
	var means [][]float64
	for i := range 25 {
		weights, means = append(weights, 1), append(means, []float64{float64(i%5 - 2), float64(i/5 - 2)})
	}
	if prior, err = gmm.Isotropic(weights, means, 0.12); err != nil {
		return nil, nil, err
	}
	likelihood, err = gmm.Isotropic([]float64{0.4, 0.3, 0.2, 0.1}, [][]float64{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}}, 0.3)
	return prior, likelihood, err
}
