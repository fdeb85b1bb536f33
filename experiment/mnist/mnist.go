// Package mnist is the class-conditional experiment of the paper (section 4.3, C.3, Table 1): a prior over handwritten digits, tilted toward
// single classes and the even and odd digits by the log probability of a classifier. Beyond the paper, it is tilted toward images that take few
// or many bytes as a JPEG: a black box that nothing bounds.
package mnist

import (
	"context"
	"embed"
	"slices"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

//go:embed presets
var presets embed.FS

func init() {
	experiment.Register(experiment.Entry{Name: "mnist", About: "Fine-tune a prior over handwritten digits to single digits, even and odd: Table 1.",
		New: func() experiment.Problem { return &Problem{} }, Presets: presets, Default: "quick"})
}

// Problem is a prior over digits and the probabilities of their classes. Prior and classifiers are those of the first seed.
type Problem struct {
	experiment.Common `yaml:",inline"`
	imaging.Images    `yaml:",inline"`   // mnist
	Classes           []string           `yaml:"tasks,flow"`   // single_0 … single_9, even, odd, compressible, incompressible
	Scale             float64            `yaml:"scale"`        // of the log probability, or of the size in standard deviations of its
	Network           nn.UNet            `yaml:"network,flow"` // of the prior
	H                 imaging.H          `yaml:"h,flow"`
	Classifier        imaging.Classifier `yaml:"classifier,flow"`
	Judge             Judge              `yaml:"judge,flow"`

	images     data.MNIST
	rewards    map[string]reward.Reward // by task
	base       nn.UNet
	trained    *engine.Engine // with the networks
	classifier nn.CNN
	judge      nn.Perceptron
	features   *imaging.Features
	real       map[string][]float32 // features of the test images of a task
	accuracy   struct{ classifier, judge float64 }
}

var shape = []int{28, 28, 1}

const pixels = 28 * 28

// Check implements [experiment.Problem].
func (p *Problem) Check(c *config.Check) {
	p.CheckImages(c, "mnist")
	c.Some("tasks", p.Classes)
	for _, t := range p.Classes {
		c.That(classes(t) != nil || bySize[t] != 0, "tasks has %q, want single_0 … single_9, even, odd, compressible or incompressible", t)
		c.That(bySize[t] == 0 || !p.H.Gradient, "h.gradient is true, want false: the reward of %s has no gradient", t)
	}
	c.That(p.Scale > 0, "scale is %g, want a positive number", p.Scale)
	c.UNet("network", p.Network, 28)
	p.H.Check(c, p.Network, 28)
	p.Classifier.Check(c)
	p.Judge.Check(c)
	c.Training("pretrain", p.Pretrain)
}

// Offers implements [experiment.Problem].
func (p *Problem) Offers() method.Needs {
	if slices.ContainsFunc(p.Classes, func(t string) bool { return bySize[t] != 0 }) {
		return method.Unconditional | method.Learning
	}
	return p.Common.Offers()
}

// Tasks implements [experiment.Problem].
func (p *Problem) Tasks() []string { return p.Classes }

// GroupOf implements [experiment.Problem]: the two columns of Table 1, and the tasks beyond them.
func (*Problem) GroupOf(task string) (name, title string) {
	switch len(classes(task)) {
	case 0:
		return task, task
	case 1:
		return "single", "single"
	}
	return "even_odd", "even/odd"
}

// Load implements [experiment.Problem].
func (p *Problem) Load() (data.Source, error) {
	var err error
	p.images.Train, p.images.Test, err = p.Read("mnist", func(dir string) (train, test data.Images, err error) {
		images, err := data.LoadMNIST(dir)
		return images.Train, images.Test, err
	})
	if err != nil {
		return data.Source{}, err
	}
	return data.Source{Name: p.Data, SHA256: p.images.Train.SHA256()}, nil
}

// Networks implements [experiment.Problem]: the classifier that is the reward, another that judges the samples, and the prior.
func (p *Problem) Networks() []experiment.Network {
	train := p.images.Train
	copied := func(row []float32, i int, _ noise.Key, _, _ int) { copy(row, train.At(i)) }
	prior := p.Prior(func(s *model.Scope) nn.Network { return imaging.Net(p.Network, s, 1, 1) }, shape, p.rows, p.Network)
	return p.WithSelf([]experiment.Network{p.Classifier.Network("classifier", train, shape, 10, copied, p.Classifier), p.Judge.Network("judge", train), prior},
		experiment.OwnFit{Shape: shape, Data: p.rows, Fits: experiment.FitsNN1{Net: p.nn1, Tuned: p.H.Tuned}, Settings: []any{p.H.Tuned, []any{p.H.Size(p.Network)}}, Base: func(trained *engine.Engine) (diffusion.Model, error) {
			return diffusion.Network{Velocity: p.prior(trained)}, nil
		}})
}

// rows returns what fills in n training images for every step.
func (p *Problem) rows(key noise.Key, n int) func(rows []float32, step int) {
	next := data.StepBatches(key.Sub("batches"), p.images.Train.N, n)
	return func(rows []float32, step int) {
		for i, j := range next(step) {
			copy(rows[i*pixels:], p.images.Train.At(j))
		}
	}
}

// prior is the network of the base model, trained on an engine.
func (p *Problem) prior(trained *engine.Engine) nn.UNet {
	return imaging.Net(p.Network, trained.Scope(nn.Averaged("/base")), 1, 1)
}

// nn1 is NN1 of so many inputs in a scope.
func (p *Problem) nn1(s *model.Scope, inputs int) nn.Network {
	return imaging.Net(p.H.Size(p.Network), s, inputs, 1)
}

// Prepare implements [experiment.Problem].
func (p *Problem) Prepare(_ context.Context, l *experiment.Lab) error {
	p.classifier = p.Classifier.In(l.Engine.Scope(nn.Averaged("/classifier")), 1, 10)
	p.judge = p.Judge.In(l.Engine.Scope(nn.Averaged("/judge")))
	p.base, p.trained = p.prior(l.Engine), l.Engine
	p.rewards = map[string]reward.Reward{}
	var err error
	for _, task := range p.Classes {
		if p.rewards[task], err = p.reward(l.Engine, task); err != nil {
			return err
		}
	}
	p.features, err = imaging.NewFeatures(l.Engine, p.classifier, shape, p.Batch)
	return err
}

// Keys implements [experiment.Problem]: within a seed, all tasks and methods share the noise of their samples.
func (p *Problem) Keys(seed uint64, task, _ string) method.Keys {
	key := noise.New(seed).Sub("repetition")
	own := key.Sub(task)
	return method.Keys{Root: key, Start: own.Sub("h"), Loop: own.Sub("importance"), Particles: key.Sub("particles")}
}

// Target implements [experiment.Problem].
func (p *Problem) Target(_ context.Context, _ *experiment.Lab, task string) (*method.Target, error) {
	base, r := p.base, p.rewards[task]
	return &method.Target{Base: diffusion.Network{Velocity: base}, Self: p.Self.On(), Shape: shape, Data: p.rows, Reward: r, Conditions: 1,
		H: func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
			return p.H.New(e, key, htransform.Parts{Base: base, Self: p.Own(p.trained, p.nn1), Reward: r, NN1: p.nn1})
		},
		Trial: func(ctx context.Context, paths int) (method.Trial, error) { return p.trial(ctx, task, paths) }}, nil
}

// trial judges a scale by sample quality, as the paper does for guidance: the Fréchet distance to training images of the task.
func (p *Problem) trial(ctx context.Context, task string, paths int) (method.Trial, error) {
	images, err := p.like(ctx, p.images.Train, task, 1000)
	if err != nil {
		return method.Trial{}, err
	}
	want, err := p.features.Of(ctx, images)
	return method.Trial{Paths: paths, Quality: func(ctx context.Context, x []float32) (float64, error) {
		distance, err := p.features.Distance(ctx, x, want)
		return -distance, err
	}}, err
}
