package superres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/experiment/restore"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// learnable is the number of training images that fine-tuning measures, at most.
const learnable = 2048

// Prepare implements [experiment.Problem]: it draws the measurements and makes the likelihood of images given one.
func (p *Problem) Prepare(ctx context.Context, l *experiment.Lab) error {
	if p.test.N == 0 {
		return errors.New("the measurements of the run are of test images, which are not here")
	}
	if _, err := p.likelihood(ctx, l.Engine); err != nil {
		return err
	}
	var err error
	p.truth = nil
	for _, i := range data.StepBatches(l.Key.Sub("truth"), p.test.N, p.Measurements)(0) {
		p.truth = append(p.truth, p.test.At(i)...)
	}
	if p.measured, err = p.reward.Measure(ctx, p.truth, 0, p.Measurements, l.Key.Sub("measurement")); err != nil {
		return err
	}
	n := min(p.train.N, learnable)
	var pictures []float32
	for _, i := range data.StepBatches(l.Key.Sub("learnable"), p.train.N, n)(0) {
		pictures = append(pictures, p.train.At(i)...)
	}
	if p.clean, err = p.reward.Apply(ctx, pictures, n); err != nil {
		return err
	}
	if p.gaussian() {
		p.exact, err = p.posterior(ctx)
		return err
	}
	classifier := p.Classifier.In(l.Engine.Scope(nn.Averaged("/classifier")), p.channels(), p.kinds())
	p.features, err = imaging.NewFeatures(l.Engine, classifier, p.image(), p.Batch)
	return err
}

// model is the base model, with trained networks on an engine.
func (p *Problem) model(trained *engine.Engine) diffusion.Model {
	if p.gaussian() {
		return diffusion.Mixture{Density: p.Gaussian.law()}
	}
	return diffusion.Network{Velocity: imaging.Net(p.Network, trained.Scope(nn.Averaged("/base")), p.channels(), p.channels())}
}

// likelihood makes the base model and the reward, once the networks are there.
func (p *Problem) likelihood(ctx context.Context, e *engine.Engine) (restore.Measured, error) {
	p.base, p.trained = p.model(e), e
	m, err := restore.NewMeasured(ctx, e, p.Operator, p.Sigma, p.image(), p.Batch)
	p.reward, p.spread = m.Likelihood, m.Spread
	return m, err
}

// Measures implements [restore.Prior]: h is amortised over measurements like those of the run.
func (p *Problem) Measures(ctx context.Context, l *experiment.Lab, operator string, sigma float64) (restore.Measured, error) {
	own := operator == "" || operator == p.Operator && sigma == p.Sigma
	if !own {
		p.Operator, p.Sigma = operator, sigma
	}
	m, err := p.likelihood(ctx, l.Engine)
	m.Amortised = own
	return m, err
}

// measurement returns measurement i of the test images.
func (p *Problem) measurement(i int) []float32 {
	d := engine.Size(p.reward.Shape)
	return p.measured[i*d : (i+1)*d]
}

// these are the measurements of the run, from the one on, every one for each so many consecutive paths.
func (p *Problem) these(from, each int) *diffusion.Condition {
	return &diffusion.Condition{Shape: p.reward.Shape, Draw: func(_ noise.Key, path int, y []float32) { copy(y, p.measurement(from+path/each)) }}
}

// training are measurements of training images, another one for every group of paths; learned from are measurements of the
// samples themselves, with new noise (56).
func (p *Problem) training() *diffusion.Condition {
	d := engine.Size(p.reward.Shape)
	return &diffusion.Condition{Shape: p.reward.Shape, Of: p.reward.Draw, Draw: func(key noise.Key, path int, y []float32) {
		group := uint64(path / p.Group)
		i := int(key.Sub("image").Uniform(group, 0) * float64(len(p.clean)/d))
		key.Sub("measurement").Normal(y, group, 0)
		for k, v := range p.clean[i*d : (i+1)*d] {
			y[k] = v + float32(p.Sigma)*y[k]*p.reward.Observed[k]
		}
	}}
}

// one is one measurement, to sample and to learn from.
func (p *Problem) one(i int) *diffusion.Condition {
	one := p.these(i, math.MaxInt)
	one.Of = func(x0, _ *graph.Node) *graph.Node {
		y := graph.ConvertDType(graph.ConstTensor(x0.Graph(), engine.Rows(p.measurement(i), p.reward.Shape...)), x0.DType())
		return graph.BroadcastToDims(y, append([]int{x0.Shape().Dimensions[0]}, p.reward.Shape...)...)
	}
	return one
}

// trial judges a scale by the PSNR of posterior means, on measurements of training images.
func (p *Problem) trial(ctx context.Context, key noise.Key, paths int) (method.Trial, error) {
	const each = 4
	images := max(1, paths/each)
	var truth []float32
	for _, i := range data.StepBatches(key, p.train.N, images)(0) { // photographs of one kind lie side by side
		truth = append(truth, p.train.At(i)...)
	}
	measured, err := p.reward.Measure(ctx, truth, 0, images, key)
	given := &diffusion.Condition{Shape: p.reward.Shape, Draw: func(_ noise.Key, path int, y []float32) { copy(y, measured[path/each*len(y):]) }}
	return method.Trial{Given: given, Paths: images * each, Quality: func(_ context.Context, x []float32) (float64, error) {
		mean, _ := metric.MeanSE(metric.PSNR(imaging.Clipped(imaging.Means(x, each, p.pixels())), truth, p.pixels()))
		return mean, nil
	}}, err
}

// backproject makes images of measurements, for pictures and as a baseline.
func (p *Problem) backproject(ctx context.Context, e *engine.Engine, y []float32) ([]float32, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{reward.Backproject(p.reward.Operator, in[0])}
	})
	if err != nil {
		return nil, err
	}
	return program.Map(ctx, y, len(y)/engine.Size(p.reward.Shape), p.Batch, p.reward.Shape...)
}

// Field is Gaussian data: images of Side×Side with mean 0 and covariance SD²·exp(−d²/(2·Length²)) at distance d.
type Field struct {
	Side   int     `yaml:"side"`
	Length float64 `yaml:"length"` // pixels
	SD     float64 `yaml:"sd"`
}

// law is the law of Gaussian data, of images [Side, Side, 1] as flat vectors.
func (f Field) law() *gmm.Mixture {
	n := f.Side * f.Side
	m, err := gmm.New([]float64{1}, [][]float64{make([]float64, n)}, [][][]float64{slices.Collect(slices.Chunk(f.covariance(), n))})
	if err != nil {
		panic(fmt.Sprintf("superres: covariance of a Gaussian field: %v", err)) // positive definite by construction
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
