package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/experiment/superres"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// tuned is the number of training images whose measurements the libraries choose their settings by.
const tuned = 16

// superres writes the truths and measurements of a run, others of training images to tune on, the prior at some diffused
// truths, and what the metrics say of samples that are easy to make.
func (d *dump) superres(ctx context.Context, p *superres.Problem) error {
	if p.Data == "gaussian" {
		return fmt.Errorf("data is gaussian, want flowers102 or digits: the Gaussian prior has no network")
	}
	train, test, err := p.Read("flowers102", func(dir string) (train, test data.Images, err error) {
		flowers, err := data.LoadFlowers(dir)
		return flowers.Train, flowers.Test, err
	})
	if err != nil {
		return err
	}
	if err := d.load(p, "base"); err != nil {
		return err
	}
	image, key, n := []int{test.Height, test.Width, test.Channels}, noise.New(p.Seed), p.Measurements
	a, err := reward.NewOperator(p.Operator, image)
	if err != nil {
		return err
	}
	r, err := reward.NewInverse(d.lab.Engine, a, p.Sigma, image, p.Batch, nil)
	if err != nil {
		return err
	}
	d.settings = map[string]any{"experiment": "superres", "data": p.Data, "image": image, "measurement": r.Shape, "operator": p.Operator,
		"sigma": p.Sigma, "measurements": n, "samples": p.Samples, "process": p.Process, "network": p.Network, "seed": p.Seed}
	// The keys are those of superres.Problem.Prepare: the same images, and the same noise on them.
	truth := pick(test, key.Sub("truth"), n)
	measured, err := r.Measure(ctx, truth, 0, n, key.Sub("measurement"))
	if err != nil {
		return err
	}
	d.floats("truth", truth, image...)
	d.floats("measured", measured, r.Shape...)
	trained := pick(train, key.Sub("peers"), tuned)
	other, err := r.Measure(ctx, trained, 0, tuned, key.Sub("peers"))
	if err != nil {
		return err
	}
	d.floats("tune.truth", trained, image...)
	d.floats("tune.measured", other, r.Shape...)
	if err := d.diffused(p, truth, image); err != nil {
		return err
	}
	return d.judged(ctx, r, truth, measured, n, image)
}

// pick returns n images at random.
func pick(images data.Images, key noise.Key, n int) (x []float32) {
	for _, i := range data.StepBatches(key, images.N, n)(0) {
		x = append(x, images.At(i)...)
	}
	return x
}

// diffused writes the prior's ε at diffused truths, of times from near 0 to 1.
func (d *dump) diffused(p *superres.Problem, truth []float32, image []int) error {
	const points = 8
	dim := engine.Size(image)
	x, t := make([]float32, points*dim), make([]float32, points)
	noise.New(0).Sub("points").Normal(x, 0, 0)
	for i := range t {
		at := float64((i+1)*(i+1)) / (points * points)
		t[i] = float32(at)
		alpha, sigma := p.Process.VP.Alpha(at), p.Process.VP.Sigma(at)
		for k := range dim {
			from := truth[(i*dim+k)%len(truth)] // there may be fewer truths
			x[i*dim+k] = float32(alpha)*from + float32(sigma)*x[i*dim+k]
		}
	}
	base := diffusion.Network{Velocity: imaging.Net(p.Network, d.lab.Engine.Scope(nn.Averaged("/base")), image[2], image[2])}
	eps, err := d.predict(base, p.Process.VP, x, t, image...)
	if err != nil {
		return err
	}
	d.floats("check.x", x, image...)
	d.floats("check.t", t)
	d.floats("check.eps", eps, image...)
	return nil
}

// judged writes truths with noise of sd 0.1 as samples, and the metrics of them.
func (d *dump) judged(ctx context.Context, r *reward.Inverse, truth, measured []float32, n int, image []int) error {
	const members, sd = 8, 0.1
	dim, width := engine.Size(image), engine.Size(r.Shape)
	samples, mean, given := make([]float32, n*members*dim), make([]float32, n*dim), make([]float32, 0, n*members*width)
	noise.New(0).Sub("samples").Normal(samples, 0, 0)
	for i := range n {
		for k := range dim {
			var sum float64
			for j := range members {
				v := &samples[(i*members+j)*dim+k]
				*v = truth[i*dim+k] + sd**v
				sum += float64(*v)
			}
			mean[i*dim+k] = min(1, max(-1, float32(sum/members)))
		}
		for range members {
			given = append(given, measured[i*width:(i+1)*width]...)
		}
	}
	residual, err := r.Residual(ctx, samples, given, n*members)
	if err != nil {
		return err
	}
	own, err := r.Residual(ctx, truth, measured, n)
	if err != nil {
		return err
	}
	average := func(v []float64) float64 { m, _ := metric.MeanSE(v); return m }
	d.floats("check.samples", samples, append([]int{members}, image...)...)
	d.settings["check"] = map[string]float64{"psnr": average(metric.PSNR(mean, truth, dim)), "ssim": average(metric.SSIM(mean, truth, image)),
		"crps": average(metric.CRPS(samples, truth, members, dim)), "spread_skill": metric.SpreadSkill(samples, truth, members, dim),
		"residual": average(residual), "residual_of_truth": average(own)}
	return nil
}
