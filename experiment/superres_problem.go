package experiment

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// learnable is the number of training images that importance fine-tuning measures, at most.
const learnable = 2048

// prepare draws the measurements and makes the likelihood of images given one.
func (r *superResRun) prepare(ctx context.Context) error {
	if err := r.likelihood(ctx); err != nil {
		return err
	}
	var err error
	chosen := batches(r.key.Sub("truth"), r.test.N, r.Measurements)(0)
	for _, i := range chosen {
		r.truth = append(r.truth, r.test.At(i)...)
	}
	if r.measured, err = r.reward.Measure(ctx, r.truth, r.Measurements, r.key.Sub("measurement")); err != nil {
		return err
	}
	n := min(r.train.N, learnable)
	var pictures []float32
	for _, i := range batches(r.key.Sub("learnable"), r.train.N, n)(0) {
		pictures = append(pictures, r.train.At(i)...)
	}
	if r.clean, err = r.reward.Apply(ctx, pictures, n); err != nil {
		return err
	}
	if r.gaussian() {
		r.exact, err = r.posterior(ctx)
		return err
	}
	if r.features, err = newFeatures(r.engine, r.classifier(r.engine, nn.Averaged("/classifier")), r.image(), r.Batch); err != nil {
		return err
	}
	if r.real, err = r.features.of(ctx, r.test.Pixels); err != nil {
		return err
	}
	return nil
}

// likelihood makes the base model and the reward, once the networks are there.
func (r *superResRun) likelihood(ctx context.Context) error {
	if r.gaussian() {
		r.base = diffusion.Mixture{Density: r.Gaussian.law()}
	} else {
		r.base = r.prior(r.engine, nn.Averaged("/base"))
	}
	a, err := reward.NewOperator(r.Operator, r.image())
	if err != nil {
		return err
	}
	if r.reward, err = reward.NewInverse(r.engine, a, r.Sigma, r.image(), r.Batch, nil); err != nil {
		return err
	}
	r.spread, err = r.reward.Norm(ctx, 50, noise.New(0).Sub("norm"))
	return err
}

// control creates an h with parameters below path: (56), which serves any measurement.
func (r *superResRun) control(e *engine.Engine, path string, key noise.Key) (htransform.RewardInformed, error) {
	size := r.H.UNet
	if r.H.Tuned {
		size = r.Network
	}
	nn1 := size.net(e.Scope(path+"/nn1"), 4*r.channels(), r.channels()).Init(key, 0, 0)
	if r.H.Tuned {
		if err := nn.Copy(nn1, r.base.(diffusion.Network).Velocity); err != nil {
			return htransform.RewardInformed{}, err
		}
	}
	return htransform.RewardInformed{Reward: r.reward, NN1: nn1, Tuned: r.H.Tuned,
		NN2:    htransform.Scale(e.Scope(path+"/nn2"), r.H.ScaleWidth, r.H.Start, key),
		Weight: htransform.Likelihood(r.Sigma, r.spread),
		Show:   func(y *graph.Node) *graph.Node { return reward.Backproject(r.reward.Operator, y) }}, nil
}

// sampler simulates with as many steps as the process has, or n of them if n > 0.
func (r *superResRun) sampler(e *engine.Engine, h diffusion.Control, given *diffusion.Condition, n int) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: e, Process: r.Process.Schedule, Steps: r.Process.steps(n), Shape: r.image(), Base: r.base,
		Control: h, Given: given, Batch: r.Batch}
}

// measurement returns measurement i of the test images.
func (r *superResRun) measurement(i int) []float32 {
	d := engine.Size(r.reward.Shape)
	return r.measured[i*d : (i+1)*d]
}

// these are the measurements of the run, from the one on, every one for each so many consecutive paths.
func (r *superResRun) these(from, each int) *diffusion.Condition {
	return &diffusion.Condition{Shape: r.reward.Shape, Draw: func(_ noise.Key, path int, y []float32) { copy(y, r.measurement(from+path/each)) }}
}

// training are measurements of training images, another one for every group of paths; learned from are measurements of the
// samples themselves, with new noise (56).
func (r *superResRun) training() *diffusion.Condition {
	d := engine.Size(r.reward.Shape)
	return &diffusion.Condition{Shape: r.reward.Shape, Of: r.reward.Draw, Draw: func(key noise.Key, path int, y []float32) {
		group := uint64(path / r.Group)
		i := int(key.Sub("image").Uniform(group, 0) * float64(len(r.clean)/d))
		key.Sub("measurement").Normal(y, group, 0)
		for k, v := range r.clean[i*d : (i+1)*d] {
			y[k] = v + float32(r.Sigma)*y[k]*r.reward.Observed[k]
		}
	}}
}

// single is one measurement, to sample and to learn from.
func (r *superResRun) single(i int) *diffusion.Condition {
	one := r.these(i, math.MaxInt)
	one.Of = func(x0, _ *graph.Node) *graph.Node {
		y := graph.ConvertDType(graph.ConstTensor(x0.Graph(), engine.Rows(r.measurement(i), r.reward.Shape...)), x0.DType())
		return graph.BroadcastToDims(y, append([]int{x0.Shape().Dimensions[0]}, r.reward.Shape...)...)
	}
	return one
}

// law is the law of Gaussian data, of images [Side, Side, 1] as flat vectors.
func (f Field) law() *gmm.Mixture {
	n := f.Side * f.Side
	m, err := gmm.New([]float64{1}, [][]float64{make([]float64, n)}, [][][]float64{slices.Collect(slices.Chunk(f.covariance(), n))})
	if err != nil {
		panic(fmt.Sprintf("experiment: covariance of a Gaussian field: %v", err)) // positive definite by construction
	}
	return m
}

// covariance returns that of the data, row-major.
func (f Field) covariance() []float64 {
	n := f.Side * f.Side
	cov := make([]float64, 0, n*n)
	for i := range n {
		for j := range n {
			dx, dy := float64(i%f.Side-j%f.Side), float64(i/f.Side-j/f.Side)
			v := math.Exp(-(dx*dx + dy*dy) / (2 * f.Length * f.Length))
			if i == j {
				v += 1e-3 // squared exponentials are singular to rounding
			}
			cov = append(cov, f.SD*f.SD*v)
		}
	}
	return cov
}

// images draws n samples of the data.
func (f Field) images(n int, key noise.Key) data.Images {
	return data.Images{Pixels: f.law().Sample(n, key), Labels: slices.Repeat([]int{0}, n), N: n, Height: f.Side, Width: f.Side, Channels: 1}
}
