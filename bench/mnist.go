package bench

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// The networks and settings of the MNIST works, on images of side×side.
const (
	side, digit, sharpness = 28, 3, 2 // r = sharpness · log p(digit | x)
	timesPower, weightKL   = 1.5, 0.01
)

var (
	times      = diffusion.TimeLaw{Power: timesPower}
	mnistPrior = nn.UNet{In: 1, Out: 1, Width: 64, Multipliers: []int{1, 1}, Patch: 2, Bottom: 2}
	mnistNN1   = nn.UNet{In: 3, Out: 1, Width: 64, Multipliers: []int{1, 1}, Patch: 2, Bottom: 2}
	mnistCNN   = nn.CNN{In: 1, Out: 10, Width: 16}
	imageShape = []int{side, side, 1}
)

// mnistWorks are what the MNIST programs spend their time on: a step of the prior's training, a step of the fine-tuning,
// and sampling with path weights.
func mnistWorks() []Work {
	const batch, images, steps = 32, 64, 10 // rows as in preset small

	const classifier = 7451776 // operations of mnistCNN on one image; the gradient of the image takes as many
	prior, nn1 := mnistPrior.FLOPs(side, side), mnistNN1.FLOPs(side, side)
	return []Work{
		{Name: "MNIST prior, training step, batch 32", Kind: "mnist_pretrain", Args: map[string]int{"batch": batch, "parameters": 864004},
			Count: 1, Unit: "steps", Flop: batch * 3 * prior, Peers: []string{"nchw", "nhwc", "compile nchw", "compile nhwc"}},
		{Name: "MNIST fine-tuning step (15), batch 32", Kind: "mnist_finetune", Args: map[string]int{"batch": batch, "parameters": 1776211},
			Count: 1, Unit: "steps", Flop: batch * (prior + 2*classifier + 3*nn1), Peers: []string{"nchw", "nhwc", "compile nchw", "compile nhwc"}},
		{Name: "MNIST guided sampling with path weights, 64 images of 10 DDPM steps", Kind: "mnist_sample",
			Args:  map[string]int{"batch": images, "steps": steps, "parameters": 1776211},
			Count: images, Unit: "images", Flop: images * steps * (prior + 2*classifier + nn1),
			Peers: []string{"nchw", "nhwc", "compile nchw", "compile nhwc", "freeze compile nhwc"}},
	}
}

// mnistPretraining is a gradient step of the prior: images, times and noise are drawn, then the trainer's step.
func mnistPretraining(backend string, args map[string]int) (func() error, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	prior := newPrior(e)
	if err := checkParameters(e, args); err != nil {
		return nil, err
	}
	pretraining := diffusion.Pretraining{Denoising: diffusion.Denoising{Velocity: true, Times: times}, Training: nn.Training{Batch: args["batch"], Optimizer: nn.Optimizer{LearningRate: 1.5e-3, EMA: 0.999}}}
	trainer, err := pretraining.Trainer(e, diffusion.VP{}, prior)
	if err != nil {
		return nil, err
	}
	var failed error
	buffer, draw, done := heldImages(), noise.New(2).Rand(), 0
	inputs := pretraining.Inputs(noise.New(1), diffusion.VP{}, imageShape, func(rows []float32, _ int) { failed = buffer.Draw(rows, draw) })
	return func() error {
		_, err := trainer.Step(inputs(done)...)
		done++
		return errors.Join(failed, err)
	}, nil
}

// mnistFineTuning is a gradient step on the loss (15) with the regulariser (17), drawn like those of mnistPretraining.
func mnistFineTuning(backend string, args map[string]int) (func() error, error) {
	sampler, h, err := newGuided(backend, args)
	if err != nil {
		return nil, err
	}
	training := finetune.Training{Updates: 1, Batch: args["batch"], Denoising: diffusion.Denoising{Velocity: true, Times: times}, Optimizer: nn.Optimizer{LearningRate: 1e-3, EMA: 0.99}}
	objective, err := finetune.NewSupervised(sampler, h, training, weightKL)
	if err != nil {
		return nil, err
	}
	ctx, key, buffer, done := context.Background(), noise.New(1), heldImages(), 0
	return func() error {
		done++
		_, err := objective.Fit(ctx, key.At(done), finetune.Weighted{}, buffer)
		return err
	}, nil
}

// mnistSampling simulates a batch of guided paths and their log dP/dP^h.
func mnistSampling(backend string, args map[string]int) (func() error, error) {
	sampler, _, err := newGuided(backend, args)
	if err != nil {
		return nil, err
	}
	ctx, key, done := context.Background(), noise.New(1), 0
	return func() error {
		done++
		paths, err := sampler.Run(ctx, key.At(done), 0, args["batch"], nil)
		if err != nil {
			return err
		}
		for i, ratio := range paths.LogRatio {
			if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
				return fmt.Errorf("bench: log dP/dP^h of path %d is %g", i, ratio)
			}
		}
		return nil
	}, nil
}

func newPrior(e *engine.Engine) diffusion.Network {
	return diffusion.Network{Velocity: mnistPrior.At(e.Scope("/base")).Init(noise.New(1), 0, 0)}
}

// newGuided returns the process that h guides toward a digit, and h, whose parameters are below /h.
func newGuided(backend string, args map[string]int) (*diffusion.Sampler, htransform.Learned, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return nil, nil, err
	}
	key := noise.New(2)
	prior := newPrior(e)
	classifier := mnistCNN.At(e.Scope("/classifier"))
	classifier.Init(key, 1, 0)
	r, err := reward.NewClass(e, classifier, []int{digit}, sharpness, imageShape, args["batch"])
	if err != nil {
		return nil, nil, err
	}
	nn1 := mnistNN1.At(e.Scope("/h/nn1")).Init(key, 0, 0)
	if err := nn.Copy(nn1, prior.Velocity); err != nil {
		return nil, nil, err
	}
	h := htransform.RewardInformed{Reward: r, NN1: nn1, Tuned: true, NN2: htransform.Scale(e.Scope("/h/nn2"), 64, 0, key)}
	steps := diffusion.DDPM{}.Steps(diffusion.VP{}, diffusion.Times(max(1, args["steps"]), timesPower))
	return &diffusion.Sampler{Engine: e, Steps: steps, Shape: imageShape, Base: prior, Control: h, Batch: args["batch"]}, h, checkParameters(e, args)
}

// heldImages are 1024 random images, from which batches are drawn.
func heldImages() *finetune.Buffer {
	b := &finetune.Buffer{Capacity: 1024, Dim: side * side}
	b.Append(random(make([]float32, b.Capacity*b.Dim), 3))
	return b
}

// checkParameters compares the number of parameters of all networks with what the work says. PyTorch's side does the same.
func checkParameters(e *engine.Engine, args map[string]int) error {
	n := 0
	for v := range e.Params.IterVariables() {
		n += v.Shape().Size()
	}
	if n != args["parameters"] {
		return fmt.Errorf("bench: the networks have %d parameters, the work says %d", n, args["parameters"])
	}
	return nil
}
